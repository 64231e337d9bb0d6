"""What a subscriber sees of network and account beside his runs: routes, peers, spending.

Nothing here enters a run or signs anything.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ricochet_orchestrator.checkpoint import STORE_FILE
from ricochet_orchestrator.joining import joined, looking
from ricochet_orchestrator.progress import Event
from ricochet_orchestrator.request import Options
from ricochet_orchestrator.routing import NO_FLAGS, RoutingFlags, files
from ricochet_orchestrator.routing import load as load_routing
from ricochet_protocol.errors import UsageError
from ricochet_protocol.ids import Address, ModelId, address

if TYPE_CHECKING:
    from ricochet_orchestrator.api_keys import ApiKey
    from ricochet_orchestrator.network_reports import NetworkReport
    from ricochet_orchestrator.peer_reports import PeerRow, RouteRow
    from ricochet_orchestrator.spending import Grouping, Spending
    from ricochet_protocol.ids import PeerId, Period
    from ricochet_protocol.money import Units


async def explain_route(
    home: Path,
    model: str,
    prompt_tokens: int,
    max_tokens: int,
    routing: RoutingFlags = NO_FLAGS,
    private_nodes: Sequence[str] = (),
) -> "tuple[RouteRow, ...]":
    """Every peer that offers the model, best first, and why those that are out are out."""
    options = Options(
        private_nodes=_operators(private_nodes),
        routing=load_routing(files(home, Path.cwd()), routing),
    )
    async with joined(home, _unheard, options) as setting:
        from ricochet_orchestrator.peer_reports import explain
        from ricochet_orchestrator.route import Need

        return await explain(setting, ModelId(model), Need(prompt_tokens, max_tokens))


async def list_peers(home: Path, offline: bool) -> "tuple[PeerRow, ...]":
    """Peers that are on the network or known from earlier; `offline`: only the latter."""
    from ricochet_orchestrator.peer_reports import remembered, survey

    if not offline:
        async with joined(home, _unheard, Options()) as setting:
            return await survey(setting)
    path = home / STORE_FILE
    if not path.exists():
        return ()
    from ricochet_orchestrator.store import Store

    store = Store(path)
    try:
        return remembered(store)
    finally:
        store.close()


async def ping_peer(home: Path, peer: str, count: int) -> "tuple[PeerId, list[float]]":
    """Ping one peer, named by its id or how that begins or ends; seconds of each answer."""
    from ricochet_orchestrator.network_reports import named

    async with looking(home) as peers:
        found = await named(peers, peer)
        return found, [await peers.ping(found) for _ in range(count)]


async def watch_network(
    home: Path, seconds: float, show: Callable[["NetworkReport"], None], *, once: bool
) -> None:
    """Tell what the network looks like from here, once or every `seconds` until cancelled."""
    from ricochet_orchestrator.network_reports import look, settled

    async with looking(home) as peers:
        await settled(peers)
        while True:
            show(await look(peers))
            if once:
                return
            await asyncio.sleep(seconds)


async def find_spending(home: Path, by: "Grouping", period: "Period | None" = None) -> "Spending":
    """What the home's wallet has spent, of one period or all, held against the chain.

    ConfigurationError without wallet or network; ChainError; LocalFault about the store.
    """
    from ricochet_orchestrator.spending import Held, Signed, add_up
    from ricochet_orchestrator.store import Store
    from ricochet_settlement import deployment, wallet
    from ricochet_settlement.standing import standing

    path = home / STORE_FILE
    subscriber = wallet.address_of(home / "wallet.json")
    chain = await standing(deployment.load(home), subscriber)
    held = {
        (one.period, one.node): Held(one.committed, one.claimed)
        for one in chain.nodes
        if period in (None, one.period)
    }
    if not path.exists():
        return add_up((), {}, held, by)
    store = Store(path)
    try:
        answers = [one for one in store.payments() if period in (None, one.period)]
        signed = {
            (one.period, one.node): Signed(one.accepted, one.signed)
            for one in store.accounts(period)
        }
    finally:
        store.close()
    return add_up(answers, signed, held, by)


def spent_by_keys(home: Path) -> "list[tuple[ApiKey, Units]]":
    """The home's API keys, and what each has spent or holds in the latest period, or today."""
    from ricochet_orchestrator.api_keys import ApiKeys
    from ricochet_orchestrator.call_record import allowance_of
    from ricochet_orchestrator.calls import Calls
    from ricochet_orchestrator.store import Store
    from ricochet_protocol.money import Units

    keys = ApiKeys(home).list()
    if not (home / STORE_FILE).exists():
        return [(key, Units(0)) for key in keys]
    store = Store(home / STORE_FILE)
    try:
        calls = Calls(store)
        period, now = calls.latest_period(), time.time()
        return [(key, calls.spent(allowance_of(key), period, now)) for key in keys]
    finally:
        store.close()


def _unheard(_: Event) -> None:
    """Looking tells of nothing."""


def _operators(private_nodes: Sequence[str]) -> tuple[Address, ...]:
    try:
        return tuple(address(one) for one in private_nodes)
    except ValueError as error:
        raise UsageError(
            "bad_address", f"private node: {error}", "give the account that `node status` shows"
        ) from None
