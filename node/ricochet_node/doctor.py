"""Looks at everything a node needs, and says what is wrong and which command mends it.

Each check stands alone and none changes anything: no passphrase is asked, no transaction sent, no
provider called. What depends on a check that failed is left out, so the first finding to mend comes
first. A running node is asked how it is; a stopped one is judged by what its next start will need.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

from ricochet_node import admin, keystore, ledger_file
from ricochet_node import config as node_config
from ricochet_node.config import NodeConfig
from ricochet_node.keystore import Keystore
from ricochet_node.owner import GAS_KEY
from ricochet_node.reachability import IDENTITY_USED_TWICE
from ricochet_node.sharing import check_sharing, standings
from ricochet_protocol.errors import LocalFault, RicochetError
from ricochet_protocol.findings import Finding, failure, kept
from ricochet_protocol.ids import Address
from ricochet_protocol.ports import Settlement
from ricochet_protocol.signing import account_address, peer_of
from ricochet_settlement import hot_key
from ricochet_settlement.contract import ContractSettlement
from ricochet_settlement.deployment import Deployment
from ricochet_settlement.examining import Basis, examine_basis
from ricochet_settlement.holdings import holdings

LEAST_WEI: Final = 2 * 10**15
"""0.002 of the chain's coin: some claims on a rollup, one on a dear chain."""


async def examine(home: Path) -> tuple[Finding, ...]:
    """All findings, in the order in which a person would mend them."""
    basis = await examine_basis(home)
    return (*basis.findings, *await examine_node(home, basis))


async def examine_node(home: Path, basis: Basis) -> tuple[Finding, ...]:
    """What is found of the node alone."""
    found: list[Finding] = []
    config = kept(found, "offers", lambda: node_config.load(home), _offers_text)
    if config is not None:
        found += [_keys(home, config), _reach(config)]
    if basis.deployment is not None and basis.reached:
        found += await _on_chain(home, basis.deployment, basis.account)
    found += await _running(home)
    return tuple(found)


def is_set_up(home: Path) -> bool:
    """Whether the home's owner has begun to be a key owner."""
    return any((home / name).exists() for name in (node_config.FILE_NAME, keystore.FILE_NAME))


def _offers_text(config: NodeConfig) -> str:
    return ", ".join(offer.model for offer in config.offers)


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
        return failure("keys", error)
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


async def _on_chain(home: Path, deployment: Deployment, operator: Address | None) -> list[Finding]:
    found = []
    try:
        if operator is not None:
            async with _connected(deployment) as settlement:
                found.append(await _registration(home, settlement, operator))
        found.append(await _gas(home, deployment))
    except RicochetError as error:
        found.append(failure("gas", error))
    return found


@asynccontextmanager
async def _connected(deployment: Deployment) -> AsyncIterator[Settlement]:
    # A key that signs nothing: only reading is done here.
    settlement = await ContractSettlement.connect(deployment, b"\x01" * 32)
    try:
        yield settlement
    finally:
        await settlement.close()


async def _registration(home: Path, settlement: Settlement, operator: Address) -> Finding:
    record = await settlement.node(operator)
    mine = peer_of(hot_key.load_or_create(home / hot_key.NODE_KEY)) if _has_peer(home) else None
    if record is None or mine is None or record.peer != mine:
        return Finding(
            "registration",
            "warn",
            "the registry does not map your wallet to this node yet, so no client believes it",
            "`ricochet node start` registers it; it asks for the passphrase and costs gas",
        )
    return Finding("registration", "ok", f"{operator} is registered; payout to {record.payout}")


def _has_peer(home: Path) -> bool:
    return (home / hot_key.NODE_KEY).exists()


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
            return [failure("node", error)]
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
    if state["identity_used_at"]:
        places = ", ".join(state["identity_used_at"])
        found.append(
            Finding(
                "identity",
                "fail",
                f"another node uses this node's identity at {places}",
                IDENTITY_USED_TWICE,
            )
        )
    found.append(_dialled(state))
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


def _dialled(state: dict[str, Any]) -> Finding:
    """Whether other peers can dial the running node: they have tried, when it asked them."""
    if state["reached"]:
        return Finding("dialled", "ok", f"another peer has dialled it at {state['reached_at']}")
    if state["reached"] is None:
        return Finding(
            "dialled", "ok", "no other peer has tried to dial it yet; it asks them every minute"
        )
    host = state["seen_at"]
    version = "ip6" if ":" in host else "ip4"
    ports = dict.fromkeys(one.split("/")[4] for one in state["listens"])
    if relays := len(state["relays"]):
        return Finding(
            "dialled",
            "ok",
            f"others cannot dial it at {host} and reach it through {relays} relays: these pass on "
            "what they cannot read, a little later and up to their limits; it needs none once TCP "
            f"port {' and '.join(ports)} is forwarded to this machine",
        )
    places = ", ".join(f'"/{version}/{host}/tcp/{port}"' for port in ports)
    return Finding(
        "dialled",
        "warn",
        f"others cannot dial it: peers that see it at {host} got no answer there, so only those to "
        "whom it has a connection of its own can ask it",
        f"let TCP port {' and '.join(ports)} through this machine's firewall, forward it in the "
        f"router to this machine, and set `announce: [{places}]` in node.yaml; behind a provider's "
        "shared address that is not possible: run the node on a machine with its own",
    )


def _stopped(home: Path) -> Finding:
    if not (home / ledger_file.FILE_NAME).exists():
        return Finding("node", "ok", "has never run; start it with `ricochet node start`")
    return Finding("node", "warn", "not running", "`ricochet node start`")
