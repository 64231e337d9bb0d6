"""The node as a program: what keeps it from starting, and its promises through kill -9.

These tests use the real parts: dev chain, contract, libp2p, vault, and the node in its own process.
"""

import asyncio
import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from msgspec.structs import replace as structs_replace
from node_bench import (
    CLIENT_SEED,
    DELEGATE_KEY,
    MODEL,
    PROVIDER_KEY,
    SUBSCRIBER_KEY,
    Bench,
    run,
)

from devchain_process import running_devchain
from doubles.upstream import UpstreamDouble
from ricochet_network.libp2p_transport import Libp2pTransport
from ricochet_network.peers import PeerNetwork
from ricochet_node import owner
from ricochet_node.admin import settle, status
from ricochet_node.app import NodeOptions, _until_stopped, run_node
from ricochet_node.config import write_offer
from ricochet_node.door_tokens import DoorTokens
from ricochet_node.joining import _check_gas
from ricochet_node.keystore import Keystore
from ricochet_node.log import EventLog
from ricochet_node.offer import new_offer
from ricochet_node.passphrase import Passphrase
from ricochet_node.vault_process import VaultProcess
from ricochet_protocol.eip712 import (
    Reservation,
    Session,
    Voucher,
    sign_reservation,
    sign_session,
    sign_voucher,
)
from ricochet_protocol.errors import (
    BudgetError,
    ChainError,
    ConfigurationError,
    ExitCode,
    LocalFault,
    RemoteCode,
    RemoteFault,
    RicochetError,
)
from ricochet_protocol.ids import Address, PeerId, Period, RequestId
from ricochet_protocol.messages import (
    AccountState,
    Answered,
    Ask,
    Hello,
    Pay,
    Reply,
    Request,
    Reserve,
    Turn,
)
from ricochet_protocol.money import Units
from ricochet_protocol.signing import account_address
from ricochet_settlement import deploy, faucet, subscriber, wallet
from ricochet_settlement.deployment import Deployment, save
from ricochet_settlement.devchain.accounts import dev_key
from ricochet_settlement.hot_key import load_or_create

WORDS = "correct horse battery"
SUBSCRIBER = account_address(SUBSCRIBER_KEY)
PAID = 1_000
"""What the subscriber pays ahead, in units; more than his call costs."""
NOWHERE = Deployment(
    rpc="http://127.0.0.1:9",
    chain_id=1,
    contract=Address("0x" + "aa" * 20),
    token=Address("0x" + "bb" * 20),
)


def furnish(home: Path, deployment: Deployment, base_url: str) -> None:
    """A home folder with everything a node needs."""
    save(home, deployment)
    wallet.create(home / "wallet.json", WORDS)
    Keystore(home / "keys.json").add(WORDS, "main", "double", base_url, PROVIDER_KEY)
    write_offer(
        home,
        new_offer(
            model=MODEL,
            upstream_model="real",
            key="main",
            context=1000,
            price_in="1",
            price_out="2",
            slots=2,
        ),
    )


def start(home: Path, passphrase: str = WORDS) -> None:
    """Run a node that is told to stop before it starts: only its checks happen."""

    async def inner() -> None:
        stop = asyncio.Event()
        stop.set()
        options = NodeOptions(home, log=home / "log")
        async with asyncio.timeout(60):
            await run_node(options, Passphrase(passphrase), lambda _: None, stop)

    asyncio.run(inner())


def refused(home: Path, kind: type[RicochetError], code: str) -> RicochetError:
    with pytest.raises(kind) as caught:
        start(home)
    assert caught.value.code == code
    assert caught.value.hint
    return caught.value


def test_each_missing_thing_is_named_in_order(tmp_path: Path) -> None:
    refused(tmp_path, ConfigurationError, "no_network")
    save(tmp_path, NOWHERE)
    refused(tmp_path, ConfigurationError, "no_wallet")
    wallet.create(tmp_path / "wallet.json", WORDS)
    refused(tmp_path, ConfigurationError, "no_offers")
    terms: dict[str, Any] = {
        "model": "m", "upstream_model": "u", "context": 9, "price_in": "1", "price_out": "1",
    }  # fmt: skip
    write_offer(tmp_path, new_offer(key="main", **terms))
    error = refused(tmp_path, ConfigurationError, "no_key")
    assert "ricochet keys add PROVIDER --name main" in error.hint
    store = Keystore(tmp_path / "keys.json")
    store.add(WORDS, "main", "any", "https://api.openai.com/v1", PROVIDER_KEY)
    error = refused(tmp_path, ConfigurationError, "sharing_deny")
    assert "openai" in error.message
    store.remove("main")
    store.add(WORDS, "main", "anthropic", "http://127.0.0.1:9", PROVIDER_KEY)
    write_offer(tmp_path, new_offer(key="main", supports=["seed", "tools"], **terms))
    error = refused(tmp_path, ConfigurationError, "unsupported")
    assert "promises seed," in error.message and "supports" in error.hint
    write_offer(tmp_path, new_offer(key="main", **terms))
    store.remove("main")
    store.add(WORDS, "main", "any", "http://127.0.0.1:9/v1", PROVIDER_KEY)
    with pytest.raises(ConfigurationError) as caught:
        start(tmp_path, "wrong")
    assert caught.value.code == "wrong_passphrase"
    refused(tmp_path, ChainError, "chain_unreachable")
    assert not (tmp_path / "node.run.json").exists()


def test_the_owner_is_served_while_the_node_still_joins(tmp_path: Path) -> None:
    """The chain takes the connection and says nothing: the door has answered long before."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async def scenario() -> None:
        async with (
            UpstreamDouble([PROVIDER_KEY]) as upstream,
            await asyncio.start_server(silent, "127.0.0.1", 0) as mute,
            asyncio.timeout(60),
        ):
            rpc = f"http://127.0.0.1:{mute.sockets[0].getsockname()[1]}"
            furnish(tmp_path, structs_replace(NOWHERE, rpc=rpc), upstream.base_url)
            config = tmp_path / "node.yaml"
            config.write_text(config.read_text() + 'door: "127.0.0.1:0"\n')
            token = DoorTokens(tmp_path).new("test", 0)
            options = NodeOptions(tmp_path, log=tmp_path / "log")
            node = asyncio.create_task(
                run_node(options, Passphrase(WORDS), lambda _: None, asyncio.Event())
            )
            url = await opened_door(tmp_path / "log", node)
            async with aiohttp.ClientSession(
                headers={"Authorization": f"Bearer {token}"}
            ) as client:
                async with client.get(f"{url}/models") as listed:
                    assert [one["id"] for one in (await listed.json())["data"]] == [MODEL]
                asked = {"model": MODEL, "messages": [{"role": "user", "content": "Say it."}]}
                async with client.post(f"{url}/chat/completions", json=asked) as answered:
                    assert answered.status == 200, await answered.text()
            assert not node.done()
            node.cancel()
            with pytest.raises(asyncio.CancelledError):
                await node

    asyncio.run(scenario())
    assert '"event": "started"' not in (tmp_path / "log").read_text()


async def opened_door(log: Path, node: asyncio.Task[None]) -> str:
    """The door's base URL, once the log names it."""
    while not node.done():
        text = await asyncio.to_thread(lambda: log.read_text() if log.exists() else "")
        for line in text.splitlines():
            if (event := json.loads(line))["event"] == "door":
                return str(event["url"])
        await asyncio.sleep(0.01)
    raise AssertionError(node.exception())


def test_a_passphrase_is_held_until_it_is_forgotten() -> None:
    held = Passphrase(WORDS)
    assert held.text() == WORDS
    assert WORDS not in repr(held)
    held.forget()
    held.forget()
    with pytest.raises(RuntimeError):
        held.text()


def test_a_vault_that_dies_ends_the_node(tmp_path: Path) -> None:
    Keystore(tmp_path / "keys.json").add(
        WORDS, "main", "any", "http://127.0.0.1:9/v1", PROVIDER_KEY
    )

    async def scenario(bench: Bench) -> None:
        vault = await VaultProcess.start(tmp_path / "keys.json", WORDS, ["main"])
        log = EventLog(bench.log_text)
        until = asyncio.create_task(_until_stopped(bench.node, vault, asyncio.Event(), log))
        os.kill(vault.pid, signal.SIGKILL)
        with pytest.raises(LocalFault) as caught:
            await until
        assert caught.value.code == "vault_ended"
        # The systemd unit starts it again after any failure but 2 and 3.
        assert caught.value.exit_code == ExitCode.FAILURE
        assert "start the node again" in caught.value.hint
        await vault.stop()

    run(tmp_path, scenario)


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_devchain(tmp_path_factory.mktemp("chain") / "chain.db") as url:
        yield url


async def world(rpc: str, home: Path, base_url: str) -> Deployment:
    """A deployed contract, a furnished and funded home, and a paying subscriber."""
    treasury = Address("0x" + "7e" * 20)
    deployment = await deploy.deploy(rpc, dev_key(0), treasury)
    await asyncio.to_thread(furnish, home, deployment, base_url)
    operator = wallet.address_of(home / "wallet.json")
    gas = account_address(load_or_create(home / "session.key"))
    for account, units in ((operator, 0), (gas, 0), (SUBSCRIBER, 20_000_000)):
        await faucet.give(deployment, account, wei=10**18, units=Units(units))
    delegate = account_address(DELEGATE_KEY)
    await subscriber.subscribe(deployment, SUBSCRIBER_KEY, Units(10_000_000), delegate)
    return deployment


def test_an_empty_gas_account_is_named(chain: str) -> None:
    async def scenario() -> None:
        deployment = await deploy.deploy(chain, dev_key(0), Address("0x" + "7e" * 20))
        account = Address("0x" + "99" * 20)
        with pytest.raises(BudgetError) as caught:
            await _check_gas(deployment, account)
        assert caught.value.code == "no_gas_money"
        assert account in caught.value.hint

    asyncio.run(scenario())


_PROGRAM = """
import asyncio, json, signal, sys
from pathlib import Path
from ricochet_cli.secret_input import passphrase
from ricochet_node.app import NodeOptions, run_node
from ricochet_node.passphrase import Passphrase
async def main():
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    words = Passphrase(passphrase(Path(sys.argv[2])))
    home = Path(sys.argv[1])
    def ready(node):
        print(json.dumps([node.peer, node.operator, node.addresses]), flush=True)
    await run_node(NodeOptions(home, log=home / "node.log"), words, ready, stop)
asyncio.run(main())
"""


_DIES_AFTER_CLAIM = """
import os, signal
from ricochet_settlement.contract import ContractSettlement
claim = ContractSettlement.claim
async def claim_and_die(self, vouchers):
    await claim(self, vouchers)
    os.kill(os.getpid(), signal.SIGKILL)
ContractSettlement.claim = claim_and_die
"""


class NodeProcess:
    """A node in its own process, ready when constructed; `prelude` runs before it."""

    def __init__(self, home: Path, prelude: str = "") -> None:
        (home / "passphrase").write_text(WORDS + "\n")
        self._process = subprocess.Popen(
            [sys.executable, "-c", prelude + _PROGRAM, str(home), str(home / "passphrase")],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self.end(signal.SIGKILL)
            raise AssertionError("the node did not start; its error is above")
        peer, operator, self.addresses = json.loads(line)
        self.peer, self.operator = PeerId(peer), Address(operator)

    @property
    def pid(self) -> int:
        return self._process.pid

    def end(self, how: signal.Signals) -> int:
        self._process.send_signal(how)
        code = self._process.wait(30)
        if self._process.stdout is not None:
            self._process.stdout.close()
        return code


class CommandProcess(NodeProcess):
    """The same by its owner's command, which says on stderr what ended it."""

    def __init__(self, home: Path) -> None:
        (home / "passphrase").write_text(WORDS + "\n")
        self.told = home / "stderr"
        start = ("node", "start", "--home", home, "--passphrase-file", home / "passphrase")
        with self.told.open("ab") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "ricochet_cli", *map(str, start)],
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        assert self._process.stdout is not None
        self.addresses = (self._process.stdout.readline().strip(),)
        self.peer = PeerId(self.addresses[0].rpartition("/")[2])
        self.operator = wallet.address_of(home / "wallet.json")

    def kill_vault(self) -> None:
        lists = Path(f"/proc/{self.pid}/task").glob("*/children")
        (vault,) = (int(child) for text in lists for child in text.read_text().split())
        assert b"ricochet_node.vault" in Path(f"/proc/{vault}/cmdline").read_bytes()
        os.kill(vault, signal.SIGKILL)

    def ended(self) -> int:
        return self._process.wait(60)


def in_memory(pid: int, *secrets: str) -> set[str]:
    """Which of the secrets stand in the writable memory of a process."""
    found = set()
    maps = Path(f"/proc/{pid}/maps").read_text().splitlines()
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for fields in (line.split() for line in maps):
            if not fields[1].startswith("rw") or fields[-1].startswith("[v"):
                continue
            start, end = (int(part, 16) for part in fields[0].split("-"))
            memory.seek(start)
            data = memory.read(end - start)
            found |= {secret for secret in secrets if secret.encode() in data}
    return found


class Client:
    """A subscriber's peer over libp2p."""

    def __init__(self, network: PeerNetwork, deployment: Deployment, node: NodeProcess) -> None:
        self._network, self._domain, self._node = network, deployment.domain, node

    async def reserve_relay(self) -> float:
        """For how many seconds the node would pass on to this peer."""
        return await self._network._transport.reserve(self._node.peer)

    async def send(self, request: Request) -> list[Reply]:
        async with self._network.call(self._node.peer, request) as replies:
            return [reply async for reply in replies]

    async def hello(self) -> AccountState:
        session = Session(SUBSCRIBER, self._network.peer, self._node.peer, 2**40)
        (state,) = await self.send(Hello(sign_session(DELEGATE_KEY, self._domain, session)))
        assert isinstance(state, AccountState)
        return state

    async def reserve(self, total: int) -> None:
        value = Reservation(SUBSCRIBER, self._node.operator, Period(1), Units(total))
        await self.send(Reserve(sign_reservation(DELEGATE_KEY, self._domain, value)))

    async def pay(self, cumulative: int) -> None:
        value = Voucher(SUBSCRIBER, self._node.operator, Period(1), Units(cumulative))
        await self.send(Pay(sign_voucher(DELEGATE_KEY, self._domain, value)))

    async def ask(self, number: int) -> Answered:
        turns = (Turn("user", "tell me a confidential thing"),)
        ask = Ask(RequestId(f"{number:032x}"), Period(1), MODEL, turns, 50, 60)
        answered = (await self.send(ask))[-1]
        assert isinstance(answered, Answered)
        return answered


@asynccontextmanager
async def client_of(deployment: Deployment, node: NodeProcess) -> AsyncIterator[Client]:
    network = PeerNetwork(
        Libp2pTransport(CLIENT_SEED), CLIENT_SEED, deployment.domain.network, node.addresses
    )
    await network.start()
    try:
        yield Client(network, deployment, node)
    finally:
        await network.stop()


@pytest.mark.slow
def test_a_killed_node_keeps_what_it_acknowledged(chain: str, tmp_path: Path) -> None:
    async def before(deployment: Deployment, node: NodeProcess) -> int:
        async with client_of(deployment, node) as client:
            assert (await client.hello()).committed == 0
            assert await client.reserve_relay() > 60, "a node relays unless its owner says no"
            await client.reserve(50_000)
            await client.pay(PAID)
            answered = await client.ask(1)
            due = answered.receipt.receipt.due
            told = await status(tmp_path)
            assert (told["models"][0]["calls"], told["pid"]) == (1, node.pid)
            assert told["peers_known"] >= 1
            # The peer id shows that the search works. The passphrase is forgotten by now, and the
            # key it opens is the vault's alone.
            if sys.platform == "linux":
                secrets = (node.peer, WORDS, PROVIDER_KEY)
                assert await asyncio.to_thread(in_memory, node.pid, *secrets) == {node.peer}
            return due

    async def after(
        upstream: UpstreamDouble, deployment: Deployment, node: NodeProcess, due: int
    ) -> None:
        async with client_of(deployment, node) as client:
            state = await client.hello()
            assert (state.committed, state.due) == (50_000, due)
            assert state.voucher is not None and state.voucher.voucher.cumulative == PAID
            answered = await client.ask(1)
            assert answered.receipt.receipt.due == due
            assert upstream.counts.keys.total() == 1
        # The claim was mined before the node was killed; it is neither lost nor made again.
        assert await settle(tmp_path) == {"claimed": 0, "withdrawn": PAID * 7 // 10}

    async def killed_while_claiming(due: int) -> None:
        with pytest.raises(LocalFault) as caught:
            await settle(tmp_path)
        assert caught.value.code == "node_not_running"
        found = await owner.funds(tmp_path)
        assert found["accounted"] and found["served"] == due
        assert found["withdrawable"] == PAID * 7 // 10
        assert found["withdrawable"] + found["commission"] == PAID

    async def with_the_node_stopped() -> None:
        found = await owner.funds(tmp_path)
        assert found["accounted"] and found["withdrawn"] == PAID * 7 // 10
        assert await owner.claim(tmp_path) == {"claimed": 0}
        assert await owner.withdraw(tmp_path) == {"withdrawn": 0}
        assert await owner.settle(tmp_path) == {"claimed": 0, "withdrawn": 0}

    async def whole() -> None:
        async with asyncio.timeout(100), UpstreamDouble([PROVIDER_KEY]) as upstream:
            deployment = await world(chain, tmp_path, upstream.base_url)
            first = await asyncio.to_thread(NodeProcess, tmp_path, _DIES_AFTER_CLAIM)
            try:
                due = await before(deployment, first)
                await killed_while_claiming(due)
            finally:
                await asyncio.to_thread(first.end, signal.SIGKILL)
            second = await asyncio.to_thread(NodeProcess, tmp_path)
            try:
                await after(upstream, deployment, second, due)
                assert second.peer == first.peer
            finally:
                code = await asyncio.to_thread(second.end, signal.SIGTERM)
            assert code == 0
            assert not (tmp_path / "node.run.json").exists()
            await with_the_node_stopped()

    asyncio.run(whole())
    log = (tmp_path / "node.log").read_text()
    events = [json.loads(line)["event"] for line in log.splitlines()]
    assert events.count("registered") == 1
    assert events.count("started") == 2 and events[-1] == "stopped"
    for secret in (WORDS, PROVIDER_KEY, "confidential"):
        assert secret not in log
    assert stat.S_IMODE((tmp_path / "node.log").stat().st_mode) == 0o600


@pytest.mark.deep
@pytest.mark.skipif(sys.platform != "linux", reason="it finds the vault in /proc")
def test_a_vault_killed_in_mid_call_ends_the_node_and_loses_no_voucher(
    chain: str, tmp_path: Path
) -> None:
    async def killed(upstream: UpstreamDouble, client: Client, node: CommandProcess) -> int:
        await client.hello()
        await client.reserve(50_000)
        await client.pay(PAID)
        due = (await client.ask(1)).receipt.receipt.due
        upstream.fault("stall_after", times=1)
        call = asyncio.create_task(client.ask(2))
        await upstream.until(lambda counts: counts.open == 1)
        node.kill_vault()
        with pytest.raises(RemoteFault) as caught:
            await call
        # Nothing that a client hears names the vault; he asks another node.
        assert caught.value.code in (RemoteCode.UPSTREAM, RemoteCode.DISCONNECTED)
        assert "vault" not in caught.value.message
        await upstream.until(lambda counts: counts.abandoned == 1)
        return due

    async def whole() -> None:
        async with asyncio.timeout(150), UpstreamDouble([PROVIDER_KEY]) as upstream:
            deployment = await world(chain, tmp_path, upstream.base_url)
            first = await asyncio.to_thread(CommandProcess, tmp_path)
            try:
                async with client_of(deployment, first) as client:
                    due = await killed(upstream, client, first)
                code = await asyncio.to_thread(first.ended)
            finally:
                await asyncio.to_thread(first.end, signal.SIGKILL)
            assert code == ExitCode.FAILURE
            told = first.told.read_text()
            assert "error: the vault process has ended" in told
            assert "hint: start the node again" in told
            assert PROVIDER_KEY not in told and WORDS not in told and "Traceback" not in told
            assert not (tmp_path / "node.run.json").exists()
            second = await asyncio.to_thread(CommandProcess, tmp_path)
            try:
                async with client_of(deployment, second) as client:
                    state = await client.hello()
                    assert state.voucher is not None and state.due == due
                    assert state.voucher.voucher.cumulative == PAID
                    await client.ask(2)
                assert (await settle(tmp_path))["claimed"] == PAID
            finally:
                assert await asyncio.to_thread(second.end, signal.SIGTERM) == 0

    asyncio.run(whole())
