"""Our own gateway: the real `ricochet node start`, on a development chain of its own.

The node offers the double as `direct`, by a key of a provider that needs none, as `vaulted`, by one
whose secret only the vault holds, and as `spread`, by several such keys. Its owner's local door is
what is measured.
"""

import contextlib
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml

from gateways.load import Target
from gateways.peers import answers
from gateways.processes import SIDE, process
from ricochet_cli.demo.people import Person, person
from ricochet_node.config import write_offer
from ricochet_node.door_tokens import DoorTokens
from ricochet_node.keystore import Keystore
from ricochet_node.offer import Source, new_offer, with_source
from ricochet_protocol.money import Units
from ricochet_protocol.signing import account_address
from ricochet_settlement.deploy import deploy
from ricochet_settlement.deployment import save
from ricochet_settlement.devchain.accounts import dev_key
from ricochet_settlement.faucet import WEI_PER_ETHER, give
from ricochet_settlement.hot_key import load_or_create

SECRET: Final = "sk-benchmark-0123456789abcdef"
SPREAD: Final = {f"key{n}": f"{SECRET}-{n}" for n in range(7)}
"""Keys that one offer has together, and their secrets."""
START_SECONDS: Final = 60
RICOCHET: Final = (sys.executable, "-m", "ricochet_cli")


@dataclass(frozen=True)
class Home:
    """A key owner who has configured all and registered nothing yet."""

    owner: Person
    port: int
    token: str

    def target(self, model: str) -> Target:
        url = f"http://127.0.0.1:{self.port}/v1/chat/completions"
        return Target(url, model, {"Authorization": f"Bearer {self.token}"})


@dataclass(frozen=True)
class Running:
    """A node that has answered once; `first` is seconds from its start to that answer."""

    pid: int
    first: float


@contextlib.contextmanager
def chain(folder: Path) -> Iterator[str]:
    """A development chain; its RPC address."""
    arguments = (*RICOCHET, "dev", "chain", "--state", str(folder / "chain.db"), "--port", "0")
    with process(arguments, folder / "chain.log", SIDE) as child:
        assert child.stdout is not None
        yield child.stdout.readline().strip()


async def home(folder: Path, rpc: str, upstream: str) -> Home:
    """A wallet, money for gas, two kinds of keys, offers and a door."""
    owner = person("owner", folder / "owner")
    deployment = await deploy(rpc, dev_key(0), treasury=owner.account)
    for account in (owner.account, account_address(load_or_create(owner.home / "session.key"))):
        await give(deployment, account, wei=WEI_PER_ETHER, units=Units(0))
    save(owner.home, deployment)
    store = Keystore(owner.home / "keys.json")
    store.add(owner.passphrase, "open", "local", upstream, "")
    store.add(owner.passphrase, "sealed", "openai-compatible", upstream, SECRET)
    for key, secret in SPREAD.items():
        store.add(owner.passphrase, key, "openai-compatible", upstream, secret)
    for model, key in (("direct", "open"), ("vaulted", "sealed"), ("spread", next(iter(SPREAD)))):
        offer = new_offer(
            model=model,
            upstream_model="fake",
            key=key,
            context=100_000,
            price_in="0.10",
            price_out="0.40",
            slots=256,
        )
        for other in SPREAD if model == "spread" else ():
            offer = with_source(offer, Source(other, "fake"))
        write_offer(owner.home, offer)
    port = free_port()
    config = owner.home / "node.yaml"
    document = yaml.safe_load(config.read_text("utf-8"))
    document["door"] = f"127.0.0.1:{port}"
    document["keys"] = {"sealed": {"prices": {"fake": {"in": "0.25", "out": "2.00"}}}}
    config.write_text(yaml.safe_dump(document), "utf-8")
    return Home(owner, port, DoorTokens(owner.home).new("benchmark", time.time()))


@contextlib.contextmanager
def node(one: Home, core: int) -> Iterator[Running]:
    """The node, as a process with its vault."""
    start = time.perf_counter()
    log = one.owner.home / "node.log"
    environment = one.owner.environment()
    with process((*RICOCHET, "node", "start"), log, core, environment) as child:
        while not answers(one.target("vaulted")):
            if child.poll() is not None or time.perf_counter() > start + START_SECONDS:
                raise RuntimeError(f"the node does not answer: see {log}")
            time.sleep(0.005)
        first = time.perf_counter() - start
        assert child.stdout is not None
        child.stdout.readline()  # its address: it has joined the network
        yield Running(child.pid, first)


def free_port() -> int:
    """A port of loopback that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
