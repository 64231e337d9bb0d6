"""The runs that a server works on, in its own process and over its own connections.

A run is owned here as in any process: by its lock, with its event log, steered by wishes in the
store. All share the setting's peers and node clients. While a run works for an API key that has a
budget, all that is left of the budget is held and is the run's cap; what it did not use is free
again at its end. A run whose callers wait for it pauses when the last of them has gone.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from ricochet_orchestrator.call_record import DAY, Allowance, Call, CallId, CallStatus
from ricochet_orchestrator.chains import AS_MODEL
from ricochet_orchestrator.checkpoint import RunRecord, RunStatus
from ricochet_orchestrator.control import Runs, resume_hint
from ricochet_orchestrator.document import Document
from ricochet_orchestrator.event_log import EventLog
from ricochet_orchestrator.notifying import notify
from ricochet_orchestrator.ownership import owning, run_file
from ricochet_orchestrator.placement import RAISE, over_budget
from ricochet_orchestrator.progress import printable
from ricochet_orchestrator.request import Options
from ricochet_orchestrator.result import RunResult, RunState, summarize
from ricochet_orchestrator.run import work_on
from ricochet_orchestrator.switchboard import Switchboard
from ricochet_protocol.errors import BudgetError, LocalFault, RicochetError
from ricochet_protocol.ids import ModelId
from ricochet_protocol.money import Units

MAX_RUNS: Final = 16
"""Worked on at once: each keeps its document and plan in memory."""

Enter = Callable[[Document, str, Options], RunRecord]
"""Enters a run of the named chain over a document, or finds the one that has not ended."""


@dataclass
class _Work:
    """One run. `detached`: it goes on though nobody waits; `waiting` counts those who do."""

    task: "asyncio.Task[RunResult]"
    stop: asyncio.Event
    detached: bool = False
    waiting: int = 0


@dataclass
class Workshop:
    """Works while `open`."""

    home: Path
    board: Switchboard
    enter: Enter
    _works: dict[str, _Work] = field(default_factory=dict)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """At the end all runs are paused, and awaited."""
        try:
            yield
        finally:
            self.pause_all()
            works = list(self._works.values())
            await asyncio.gather(*(work.task for work in works), return_exceptions=True)

    def pause_all(self) -> None:
        """Have all runs stop for now."""
        for work in self._works.values():
            work.stop.set()

    def start(self, run_id: str, allowance: Allowance) -> None:
        """Work on an entered run, whoever waits."""
        self._started(run_id, allowance).detached = True

    async def finished(self, run_id: str, allowance: Allowance) -> RunResult:
        """Work on an entered run until it ends, for now or for good; any RicochetError."""
        work = self._started(run_id, allowance)
        work.waiting += 1
        try:
            return await asyncio.shield(work.task)
        finally:
            work.waiting -= 1
            if not work.waiting and not work.detached:
                work.stop.set()

    def _started(self, run_id: str, allowance: Allowance) -> _Work:
        work = self._works.get(run_id)
        if work is not None and not work.stop.is_set():
            return work
        if len(self._works) >= MAX_RUNS:
            raise LocalFault(
                "too_many_runs", f"{MAX_RUNS} runs are being worked on.", "Try again later."
            )
        stop = asyncio.Event()
        before = None if work is None else work.task
        task = asyncio.create_task(self._work(run_id, allowance, stop, before))
        work = self._works[run_id] = _Work(task, stop)
        task.add_done_callback(lambda ended: self._ended(run_id, ended))
        return work

    def _ended(self, run_id: str, task: "asyncio.Task[RunResult]") -> None:
        if not task.cancelled():
            task.exception()  # told in the run's record, and to whoever waits
        if self._works[run_id].task is task:
            del self._works[run_id]

    async def _work(
        self,
        run_id: str,
        allowance: Allowance,
        stop: asyncio.Event,
        before: "asyncio.Task[RunResult] | None",
    ) -> RunResult:
        if before is not None:
            await asyncio.wait({before})
        period = (await self.board.dealing()).subscription.period
        now = self.board.setting.clock()
        # One row for each window of a budget.
        text = f"{allowance.key} {run_id} {period} {int(now // DAY)}"
        name = hashlib.sha256(text.encode()).hexdigest()[:32]
        call = Call(CallId(name), allowance, ModelId(AS_MODEL + run_id), run_id, period, now)
        try:
            with (
                owning(self.home, run_id),
                self._charged(run_id, call) as cap,
                self._log(run_id) as log,
            ):
                return await self._worked(run_id, stop, cap, log)
        except RicochetError as error:
            self._stopped(run_id, error)
            raise

    async def _worked(
        self, run_id: str, stop: asyncio.Event, cap: Units | None, log: EventLog
    ) -> RunResult:
        """Work on the run as its options say, and tell those who asked for it how it ended."""
        request = self.board.setting.store.request(run_id)
        options = Options() if request is None else request.options
        setting = replace(
            self.board.setting,
            tell=log,
            seed=options.seed,
            private_nodes=options.private_nodes,
            routing=options.routing,
            allow_logging=options.allow_logging,
            context=options.context,
        )
        try:
            result = await work_on(setting, run_id, stop, resume_hint(run_id), cap)
        except RicochetError as found:
            error = _of_the_key(found, options.max_cost, cap)
            self._stopped(run_id, error)
            await notify(options.notify, lambda: self._state(run_id), log)
            raise error from None
        if result.status is not RunStatus.PAUSED:
            await notify(options.notify, lambda: self._state(run_id), log)
        return result

    def _stopped(self, run_id: str, error: RicochetError) -> None:
        self.board.setting.store.stopped(run_id, f"{error.code}: {printable(error.message)}")

    def _state(self, run_id: str) -> RunState:
        with Runs(self.home) as runs:
            return runs.state(run_id)

    @contextmanager
    def _log(self, run_id: str) -> Iterator[EventLog]:
        log = EventLog(run_file(self.home, run_id, "events.jsonl"), self.board.setting.clock)
        try:
            yield log
        finally:
            log.close()

    @contextmanager
    def _charged(self, run_id: str, call: Call) -> Iterator[Units | None]:
        """Hold what is left of the key's budget, and charge what the run cost; the run's cap."""
        calls = self.board.calls
        spent = self._cost(run_id)
        left = calls.left(call)
        if left == 0:
            raise over_budget(Units(1), Units(0))
        calls.hold(call, left or Units(0), None, None)
        try:
            yield None if left is None else Units(spent + left)
        finally:
            calls.end(call, Units(self._cost(run_id) - spent), CallStatus.COMPLETED)

    def _cost(self, run_id: str) -> Units:
        record = self.board.setting.store.run(run_id)
        answers = self.board.setting.store.answers(run_id)
        return Units(0) if record is None else summarize(record, (), answers).cost


def _of_the_key(error: RicochetError, asked: Units | None, cap: Units | None) -> RicochetError:
    """The error of a run that has come to its cap, when an API key's budget is what capped it.

    Who calls the server can change neither the run's cap nor the key.
    """
    if error.code != "max_cost" or cap is None or (asked is not None and asked <= cap):
        return error
    return BudgetError(
        "key_budget",
        f"The API key's budget is used up. {error.message}",
        "Finished steps are kept: send the same request again once the key's next day or period "
        f"has begun, or once its owner has raised its budget: {RAISE}",
    )
