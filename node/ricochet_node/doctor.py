"""Looks at everything a node needs, and says what is wrong and which command mends it.

Each check stands alone and none changes anything: no passphrase is asked, no transaction sent, no
provider called. What depends on a check that failed is left out, so the first finding to mend comes
first. A running node is asked how it is; a stopped one is judged by what its next start will need.
"""

import shutil
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import msgspec

from ricochet_node import admin, keystore, ledger_file
from ricochet_node import config as node_config
from ricochet_node.config import NodeConfig
from ricochet_node.keystore import Keystore
from ricochet_node.owner import GAS_KEY, WALLET
from ricochet_node.sharing import check_sharing, standings
from ricochet_protocol.errors import LocalFault, RicochetError
from ricochet_protocol.ids import Address
from ricochet_protocol.ports import Settlement
from ricochet_protocol.signing import account_address, peer_of
from ricochet_settlement import deployment as deployments
from ricochet_settlement import hot_key, wallet
from ricochet_settlement.contract import ContractSettlement
from ricochet_settlement.deployment import Deployment
from ricochet_settlement.holdings import holdings

LEAST_DISK: Final = 200 * 1024 * 1024
"""Bytes: the ledger keeps up to 256 MB of answers for replay."""
LEAST_WEI: Final = 2 * 10**15
"""0.002 of the chain's coin: some claims on a rollup, one on a dear chain."""
CLOCK_TOLERANCE: Final = 15 * 60
"""Seconds: peers refuse adverts that are further off."""
_PEER_KEY: Final = "peer.key"
_SECRETS: Final = (WALLET, GAS_KEY, _PEER_KEY, keystore.FILE_NAME)

_T = TypeVar("_T")

State = Literal["ok", "warn", "fail"]


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at; `mend` says what to do, "" when nothing is wrong."""

    about: str
    state: State
    message: str
    mend: str = ""


async def examine(home: Path) -> tuple[Finding, ...]:
    """All findings, in the order in which a person would mend them."""
    found = [_disk(home), _secrets(home)]
    deployment = _kept(found, "network", lambda: deployments.load(home), _network_text)
    operator = _kept(found, "wallet", lambda: wallet.address_of(home / WALLET), str)
    config = _kept(found, "offers", lambda: node_config.load(home), _offers_text)
    if config is not None:
        found += [_keys(home, config), _reach(config)]
    if deployment is not None:
        found += await _chain(home, deployment, operator)
    found += await _running(home)
    return tuple(found)


def _kept(
    found: list[Finding], about: str, load: Callable[[], _T], text: Callable[[_T], str]
) -> _T | None:
    try:
        value = load()
    except RicochetError as error:
        found.append(_failure(about, error))
        return None
    found.append(Finding(about, "ok", text(value)))
    return value


def _failure(about: str, error: RicochetError, state: State = "fail") -> Finding:
    return Finding(about, state, error.message, error.hint)


def _network_text(deployment: Deployment) -> str:
    kind = "development network" if deployment.development else "network"
    return f"{kind} on chain {deployment.chain_id}, contract {deployment.contract}"


def _offers_text(config: NodeConfig) -> str:
    return ", ".join(offer.model for offer in config.offers)


def _disk(home: Path) -> Finding:
    place = next(folder for folder in (home, *home.absolute().parents) if folder.exists())
    try:
        free = shutil.disk_usage(place).free
    except OSError as error:
        return Finding("disk", "fail", f"{place}: {error.strerror}", "choose another --home")
    text = f"{free // 1024**2:,} MB free"
    if free < LEAST_DISK:
        return Finding("disk", "fail", text, f"free {LEAST_DISK // 1024**2} MB beside {home}")
    return Finding("disk", "ok", text)


def _secrets(home: Path) -> Finding:
    open_files = [
        name for name in _SECRETS if (home / name).exists() and (home / name).stat().st_mode & 0o077
    ]
    if open_files:
        names = " ".join(str(home / name) for name in open_files)
        return Finding("secrets", "fail", f"others may read {names}", f"chmod 600 {names}")
    return Finding("secrets", "ok", "readable by you only")


def _keys(home: Path, config: NodeConfig) -> Finding:
    try:
        keys = {info.id: info for info in Keystore(home / keystore.FILE_NAME).list()}
        missing = [key for key in config.keys if key not in keys]
        if missing:
            return Finding(
                "keys",
                "fail",
                f"node.yaml names keys that are missing: {', '.join(missing)}",
                f"`ricochet keys add PROVIDER --name {missing[0]}`, or correct node.yaml",
            )
        if not config.guests.private:
            check_sharing(standings(home, [keys[key] for key in config.keys]))
    except RicochetError as error:
        return _failure("keys", error)
    return Finding("keys", "ok", f"{', '.join(config.keys)}: present, and may be shared")


def _reach(config: NodeConfig) -> Finding:
    hosts = [_host(text) for text in config.listen]
    if all(host is not None and host.is_loopback for host in hosts):
        return Finding(
            "reach",
            "warn",
            "the node listens on this machine only: no other machine can use it",
            'to serve others, set `listen: ["/ip4/0.0.0.0/tcp/4001"]` in node.yaml and open that '
            "port in your router and firewall",
        )
    if any(text.endswith("/tcp/0") for text in config.listen):
        return Finding(
            "reach",
            "warn",
            "the node takes another port at each start: a firewall cannot let it through",
            "give `listen` in node.yaml a port, such as /ip4/0.0.0.0/tcp/4001",
        )
    return Finding("reach", "ok", f"listens on {', '.join(config.listen)}")


def _host(multiaddr: str) -> Any:
    try:
        return ip_address(multiaddr.split("/")[2])
    except (IndexError, ValueError):
        return None


async def _chain(home: Path, deployment: Deployment, operator: Address | None) -> list[Finding]:
    try:
        async with _connected(deployment) as settlement:
            found = [await _clock(settlement, deployment)]
            if operator is not None:
                found.append(await _registration(home, settlement, operator))
    except RicochetError as error:
        return [_failure("chain", error)]
    found.insert(0, Finding("chain", "ok", f"{deployment.rpc} answers"))
    try:
        found.append(await _gas(home, deployment))
    except RicochetError as error:
        found.append(_failure("gas", error))
    return found


@asynccontextmanager
async def _connected(deployment: Deployment) -> AsyncIterator[Settlement]:
    # A key that signs nothing: only reading is done here.
    settlement = await ContractSettlement.connect(deployment, b"\x01" * 32)
    try:
        yield settlement
    finally:
        await settlement.close()


async def _clock(settlement: Settlement, deployment: Deployment) -> Finding:
    ahead = round(time.time()) - await settlement.chain_time()
    if deployment.development or abs(ahead) <= CLOCK_TOLERANCE:
        return Finding("clock", "ok", f"{abs(ahead)} s from the chain's last block")
    side = "ahead of" if ahead > 0 else "behind"
    return Finding(
        "clock",
        "fail",
        f"this clock is {abs(ahead) // 60} minutes {side} the chain",
        "set this machine's clock (timedatectl set-ntp true), or choose an rpc that is not stuck",
    )


async def _registration(home: Path, settlement: Settlement, operator: Address) -> Finding:
    record = await settlement.node(operator)
    mine = peer_of(hot_key.load_or_create(home / _PEER_KEY)) if _has_peer(home) else None
    if record is None or mine is None or record.peer != mine:
        return Finding(
            "registration",
            "warn",
            "the registry does not map your wallet to this node yet, so no client believes it",
            "`ricochet node start` registers it; it asks for the passphrase and costs gas",
        )
    return Finding("registration", "ok", f"{operator} is registered; payout to {record.payout}")


def _has_peer(home: Path) -> bool:
    return (home / _PEER_KEY).exists()


async def _gas(home: Path, deployment: Deployment) -> Finding:
    if not (home / GAS_KEY).exists():
        return Finding(
            "gas", "warn", "there is no gas account yet", "`ricochet node start` makes and names it"
        )
    account = account_address(hot_key.load_or_create(home / GAS_KEY))
    wei = (await holdings(deployment, account)).wei
    text = f"gas account {account} holds {wei / 10**18:.6f}"
    mend = f"send a little of the chain's coin to {account}; that key has no other rights"
    if wei == 0:
        return Finding("gas", "fail", text, mend)
    return Finding(
        "gas", "warn" if wei < LEAST_WEI else "ok", text, mend if wei < LEAST_WEI else ""
    )


async def _running(home: Path) -> list[Finding]:
    try:
        state = await admin.status(home)
    except LocalFault as error:
        if (home / admin.FILE_NAME).exists():
            return [_failure("node", error)]
        return [_stopped(home)]
    found = [
        Finding("node", "ok", f"running (pid {state['pid']}), {state['open_calls']} calls open")
    ]
    gone = [model["model"] for model in state["models"] if not model["offered"]]
    if gone:
        found.append(
            Finding(
                "offers",
                "warn",
                f"not offered now: {', '.join(gone)}",
                "a refused key, or the node drains: see `ricochet node status` and its log",
            )
        )
    if state["peers_known"] <= 1:
        found.append(
            Finding(
                "peers",
                "warn",
                "the node knows no other peer",
                "check `bootstrap` in network.json; alone on a new network this is normal",
            )
        )
    return found


def _stopped(home: Path) -> Finding:
    if not (home / ledger_file.FILE_NAME).exists():
        return Finding("node", "ok", "has never run; start it with `ricochet node start`")
    return Finding("node", "warn", "not running", "`ricochet node start`")
