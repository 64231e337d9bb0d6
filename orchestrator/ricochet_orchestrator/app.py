"""The composition root: chooses the real network, contract and store, and runs chains over them.

What a person can have got wrong is checked before anything is connected: chain, network
description, wallet. Heavy libraries load inside the functions that need them, so that importing
this module, or listing chains, stays quick.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from ricochet_orchestrator import chains, role_models
from ricochet_orchestrator.chain_language import Chain
from ricochet_orchestrator.chains import list_chains
from ricochet_orchestrator.checkpoint import RunRecord, RunStatus
from ricochet_orchestrator.document import Document
from ricochet_orchestrator.parameters import resolved
from ricochet_orchestrator.privacy import Privacy, narrowed, sendable
from ricochet_orchestrator.privacy import load as load_privacy
from ricochet_orchestrator.progress import Event
from ricochet_orchestrator.request import Options, Request, request_for
from ricochet_orchestrator.result import RunResult, RunState
from ricochet_orchestrator.routing import NO_FLAGS, RoutingFlags, files
from ricochet_orchestrator.routing import load as load_routing
from ricochet_protocol.errors import LocalFault, RicochetError, UsageError
from ricochet_protocol.ids import Address, ModelId, address

if TYPE_CHECKING:
    from ricochet_network.peers import PeerNetwork
    from ricochet_orchestrator.api_keys import ApiKey
    from ricochet_orchestrator.estimate import Estimate
    from ricochet_orchestrator.network_reports import NetworkReport
    from ricochet_orchestrator.peer_reports import PeerRow, RouteRow
    from ricochet_orchestrator.setting import Setting
    from ricochet_orchestrator.spending import Grouping, Spending
    from ricochet_protocol.ids import PeerId, Period
    from ricochet_protocol.money import Units
    from ricochet_settlement.deployment import Deployment

__all__ = [
    "Options",
    "RunResult",
    "RunState",
    "Task",
    "enter_run",
    "estimate_run",
    "explain_route",
    "find_spending",
    "list_chains",
    "list_peers",
    "looking",
    "ping_peer",
    "resume_run",
    "run_chain",
    "run_status",
    "serve_api",
    "spent_by_keys",
    "take_up",
    "watch_network",
    "work",
]

STORE_FILE: Final = "runs.db"


class Task(msgspec.Struct, frozen=True):
    """What `chain run` is told; `chain` is one or the name of one.

    `routing` goes before what `routing.yaml` says, `privacy` is added to what `privacy.yaml` says.
    """

    document: Document
    chain: str | Chain
    options: Options = Options()
    routing: RoutingFlags = NO_FLAGS
    privacy: Privacy = Privacy()


def enter_run(home: Path, task: Task) -> RunRecord:
    """Enter a run, to be worked on here or by another process, once all that a person can have got
    wrong is checked. A run of the same request that has not ended is gone on with."""
    document, request, kept = _request(home, task)
    from ricochet_orchestrator.run import enter
    from ricochet_orchestrator.store import Store

    store = Store(home / STORE_FILE)
    try:
        store.keep_values(kept)
        record, _ = enter(store, document, request.chain, request.options, time.time())
    finally:
        store.close()
    return record


def _request(home: Path, task: Task) -> tuple[Document, Request, dict[str, str]]:
    """What a task asks for, checked as far as that goes without a connection: the document as it
    may be sent, the request, and what placeholders stand for."""
    chain = task.chain
    if isinstance(chain, str):
        chain = chains.get(chain, chains.folders(home, Path.cwd()))
    layers = role_models.layers(home, Path.cwd())
    chain = role_models.assigned(chain, task.options.model, layers)
    privacy = load_privacy(home, Path.cwd()).and_also(task.privacy)
    settings = load_routing(files(home, Path.cwd()), task.routing)
    settings = narrowed(settings, privacy.sensitivity)
    values = resolved(chain, task.options.parameters)
    options = msgspec.structs.replace(
        task.options,
        routing=settings,
        parameters=values,
        fallback=None if task.options.model else role_models.fallback(layers),
    )
    if options.notify:
        from ricochet_orchestrator.notifying import check_channels

        check_channels(options.notify)
    _check_home(home)
    document, options, kept = sendable(home, task.document, options, privacy)
    return document, request_for(document, chain, options), kept


async def run_chain(
    home: Path, task: Task, on_event: Callable[[Event], None], stop: asyncio.Event
) -> RunResult:
    """Run a chain over a document and pay for it.

    Setting `stop` pauses the run. Any RicochetError tells what is missing; the same call goes on
    where it ended.
    """
    record = enter_run(home, task)
    return await work(home, record.id, on_event, stop)


async def estimate_run(home: Path, task: Task) -> "Estimate":
    """What a run would take, without a call and without entering it."""
    from ricochet_orchestrator.dry_run import dry_run

    document, request, _ = _request(home, task)
    async with _setting(home, _unheard, request.options) as setting:
        return await dry_run(setting, request, document)


async def resume_run(
    home: Path,
    run_id: str | None,
    on_event: Callable[[Event], None],
    stop: asyncio.Event,
    change: Callable[[Options], Options] = lambda options: options,
) -> RunResult:
    """Go on with a run, the latest one for None; what was given up is tried again."""
    record = take_up(home, run_id, change)
    return await work(home, record.id, on_event, stop)


def take_up(
    home: Path,
    run_id: str | None,
    change: Callable[[Options], Options] = lambda options: options,
) -> RunRecord:
    """Have a run ready to be worked on again, here or by another process."""
    from ricochet_orchestrator.control import Runs

    def changed(request: Request) -> Request:
        return msgspec.structs.replace(request, options=change(request.options))

    with Runs(home) as runs:
        return runs.take_up(run_id, changed)


async def work(
    home: Path, run_id: str, on_event: Callable[[Event], None], stop: asyncio.Event
) -> RunResult:
    """Work on an entered run, as its only process, until it ends for now or for good."""
    from ricochet_orchestrator.control import resume_hint
    from ricochet_orchestrator.event_log import EventLog
    from ricochet_orchestrator.ownership import owning, run_file
    from ricochet_orchestrator.run import work_on

    with owning(home, run_id):
        log = EventLog(run_file(home, run_id, "events.jsonl"), time.time)

        def tell(event: Event) -> None:
            log(event)
            on_event(event)

        try:
            async with _setting(home, tell, _options(home, run_id)) as setting:
                result = await work_on(setting, run_id, stop, resume_hint(run_id))
            if result.status is not RunStatus.PAUSED:
                await _notify(home, run_id, tell)
            return result
        except RicochetError as error:
            _note(home, run_id, error)
            await _notify(home, run_id, tell)
            raise
        finally:
            log.close()


async def _notify(home: Path, run_id: str, tell: Callable[[Event], None]) -> None:
    """Tell whoever asked for it how the run stands."""
    from ricochet_orchestrator.notifying import notify

    await notify(_options(home, run_id).notify, lambda: run_status(home, run_id), tell)


def _options(home: Path, run_id: str) -> Options:
    """How the run is to be done; its process reads the rest from its own store."""
    from ricochet_orchestrator.store import Store

    store = Store(home / STORE_FILE)
    try:
        request = store.request(run_id)
    finally:
        store.close()
    return Options() if request is None else request.options


def _note(home: Path, run_id: str, error: RicochetError) -> None:
    """Leave word in the run's record why nobody works on it, for those who did not see it."""
    from ricochet_orchestrator.progress import printable
    from ricochet_orchestrator.store import Store

    store = Store(home / STORE_FILE)
    try:
        store.stopped(run_id, f"{error.code}: {printable(error.message)}")
    finally:
        store.close()


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
    async with _setting(home, _unheard, options) as setting:
        from ricochet_orchestrator.peer_reports import explain
        from ricochet_orchestrator.route import Need

        return await explain(setting, ModelId(model), Need(prompt_tokens, max_tokens))


async def list_peers(home: Path, offline: bool) -> "tuple[PeerRow, ...]":
    """Peers that are on the network or known from earlier; `offline`: only the latter."""
    from ricochet_orchestrator.peer_reports import remembered, survey

    if not offline:
        async with _setting(home, _unheard, Options()) as setting:
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


async def serve_api(
    home: Path,
    host: str,
    port: int,
    origins: Sequence[str],
    ready: Callable[[str], None],
    stop: asyncio.Event,
) -> None:
    """Serve the subscriber's HTTP API until `stop` is set; `ready` hears its base URL.

    Any RicochetError tells what is missing. One process serves a home.
    """
    from ricochet_orchestrator.api import application, server
    from ricochet_orchestrator.api.service import Service
    from ricochet_orchestrator.api_keys import ApiKeys

    def _enter(document: Document, chain: str, options: Options) -> RunRecord:
        return enter_run(home, Task(document, chain, options))

    # What a person can have got wrong is told before the port opens.
    _check_home(home)
    privacy = load_privacy(home, Path.cwd())
    routing = narrowed(load_routing(files(home, Path.cwd()), NO_FLAGS), privacy.sensitivity)
    options = Options(routing=routing)
    keys = ApiKeys(home)
    keys.list()
    with server.only_one(home), server.bound(host, port) as listener:
        hosts, url = server.names(listener, host)
        service = Service(home, keys, time.time, redacts=privacy.redacts)
        app = application.make_app(service, hosts, frozenset(origins))
        async with server.serving(app, listener) as end_serving:
            ready(url)
            # In a thread: these imports take seconds, in which health is asked already.
            await asyncio.to_thread(_load_network)
            from ricochet_orchestrator.switchboard import Switchboard
            from ricochet_orchestrator.workshop import Workshop

            async with _setting(home, _unheard, options) as setting:
                board = Switchboard(setting)
                workshop = Workshop(home, board, _enter)
                async with board.open(), workshop.open():
                    service.joined(workshop)
                    await stop.wait()
                    service.closing.set()
                    workshop.pause_all()
                    await end_serving()


def _load_network() -> None:
    from importlib import import_module

    for name in (
        "ricochet_network.libp2p_transport",
        "ricochet_orchestrator.workshop",
        "ricochet_settlement.contract",
    ):
        import_module(name)


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


def run_status(home: Path, run_id: str | None = None) -> RunState:
    """How a run stands, the latest one for None; UsageError when there is no such run."""
    from ricochet_orchestrator.control import Runs

    with Runs(home) as runs:
        return runs.state(run_id)


def _check_home(home: Path) -> None:
    """ConfigurationError when the home has joined no network, or has no wallet."""
    from ricochet_settlement import deployment, wallet

    deployment.load(home)
    wallet.address_of(home / "wallet.json")


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


@asynccontextmanager
async def _setting(
    home: Path, tell: Callable[[Event], None], options: Options
) -> "AsyncIterator[Setting]":
    """Everything a run works with, connected; closed in reverse order whatever happens."""
    from random import SystemRandom

    from ricochet_orchestrator.account import Payer
    from ricochet_orchestrator.remembered_count import RememberedCount
    from ricochet_orchestrator.setting import Setting
    from ricochet_orchestrator.store import Store
    from ricochet_protocol.tokens import count_tokens
    from ricochet_settlement import deployment, wallet
    from ricochet_settlement.contract import ContractSettlement
    from ricochet_settlement.hot_key import load_or_create
    from ricochet_settlement.session_key import SESSION_FILE, former_sessions

    network = deployment.load(home)
    subscriber = wallet.address_of(home / "wallet.json")
    session_key = load_or_create(home / SESSION_FILE)
    async with AsyncExitStack() as opened:
        peer_key = opened.enter_context(_peer_key(home))
        store = Store(home / STORE_FILE)
        opened.callback(store.close)
        # The orchestrator only reads the chain, so any key will do for gas it never spends.
        settlement = await ContractSettlement.connect(network, session_key, follow=home)
        opened.push_async_callback(settlement.close)
        bootstrap = (*network.bootstrap, *await settlement.first_peers(SystemRandom()))
        peers = _peers(home, network, peer_key, bootstrap)
        opened.push_async_callback(peers.stop)
        await peers.start()
        yield Setting(
            peers=peers,
            settlement=settlement,
            store=store,
            payer=Payer(subscriber, network.domain, session_key, former_sessions(home)),
            count=RememberedCount(count_tokens),
            seed=options.seed,
            clock=time.time,
            tell=tell,
            private_nodes=options.private_nodes,
            routing=options.routing,
            allow_logging=options.allow_logging,
            context=options.context,
        )


def _peers(
    home: Path, network: "Deployment", peer_key: bytes, bootstrap: tuple[str, ...]
) -> "PeerNetwork":
    from ricochet_network.libp2p_transport import Libp2pTransport
    from ricochet_network.peers import PeerNetwork
    from ricochet_settlement.peer_files import PeerFiles

    return PeerNetwork(
        Libp2pTransport(peer_key),
        peer_key,
        network.domain.network,
        bootstrap,
        store=PeerFiles(home),
        public=network.public,
        members=network.members,
    )


@asynccontextmanager
async def looking(home: Path) -> "AsyncIterator[PeerNetwork]":
    """The network of a home, joined to look at it; needs no wallet and no subscription.

    ConfigurationError without a network, ChainError when first peers cannot be read.
    """
    from random import SystemRandom

    from ricochet_settlement import deployment
    from ricochet_settlement.contract import ContractSettlement
    from ricochet_settlement.hot_key import new_key

    network = deployment.load(home)
    async with AsyncExitStack() as opened:
        peer_key = opened.enter_context(_peer_key(home))
        # Nothing is signed here, so any key will do.
        settlement = await ContractSettlement.connect(network, new_key(), follow=home)
        opened.push_async_callback(settlement.close)
        bootstrap = (*network.bootstrap, *await settlement.first_peers(SystemRandom()))
        peers = _peers(home, network, peer_key, bootstrap)
        opened.push_async_callback(peers.stop)
        await peers.start()
        yield peers


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


@contextmanager
def _peer_key(home: Path) -> Iterator[bytes]:
    """The identity of this home's runs, or a new one for a run beside another: nodes keep one
    connection a peer, so two processes with one identity would cut each other off. It is never
    that of the home's node, whose owner may run chains while it serves."""
    from ricochet_settlement.file_lock import locked
    from ricochet_settlement.hot_key import load_or_create, new_key

    path = home / "subscriber.key"
    with ExitStack() as held:
        try:
            held.enter_context(locked(path, wait=0))
        except LocalFault as error:
            if error.code != "file_busy":
                raise
            yield new_key()
            return
        yield load_or_create(path)


def _unheard(_: Event) -> None:
    """Looking tells of nothing."""


def _operators(private_nodes: Sequence[str]) -> tuple[Address, ...]:
    try:
        return tuple(address(one) for one in private_nodes)
    except ValueError as error:
        raise UsageError(
            "bad_address", f"private node: {error}", "give the account that `node status` shows"
        ) from None
