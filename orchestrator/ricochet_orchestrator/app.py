"""The composition root: chooses the real network, contract and store, and runs chains over them.

What a person can have got wrong is checked before anything is connected: chain, network
description, wallet. Heavy libraries load inside the functions that need them, so that importing
this module, or listing chains, stays quick.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ricochet_orchestrator import chains, role_models
from ricochet_orchestrator.chain_language import Chain
from ricochet_orchestrator.chains import list_chains
from ricochet_orchestrator.checkpoint import STORE_FILE, RunRecord, RunStatus
from ricochet_orchestrator.document import Document
from ricochet_orchestrator.joining import joined
from ricochet_orchestrator.parameters import resolved
from ricochet_orchestrator.privacy import Privacy, narrowed, sendable
from ricochet_orchestrator.privacy import load as load_privacy
from ricochet_orchestrator.progress import Event
from ricochet_orchestrator.request import Options, Request, request_for
from ricochet_orchestrator.result import RunResult, RunState
from ricochet_orchestrator.routing import NO_FLAGS, RoutingFlags, files
from ricochet_orchestrator.routing import load as load_routing
from ricochet_protocol.errors import RicochetError

if TYPE_CHECKING:
    from ricochet_orchestrator.estimate import Estimate

__all__ = [
    "Options",
    "RunResult",
    "RunState",
    "Task",
    "enter_run",
    "estimate_run",
    "list_chains",
    "resume_run",
    "run_chain",
    "run_status",
    "serve_api",
    "take_up",
    "work",
]


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
    from ricochet_orchestrator.entering import enter
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
    async with joined(home, _unheard, request.options) as setting:
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
            async with joined(home, tell, _options(home, run_id)) as setting:
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

            async with joined(home, _unheard, options) as setting:
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


def _unheard(_: Event) -> None:
    """Looking tells of nothing."""
