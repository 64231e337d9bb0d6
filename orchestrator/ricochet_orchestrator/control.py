"""Steering and seeing the runs of a home, from whatever process: commands, an API, an editor.

Nothing here works on a run. What is wanted of one is written into the store, where the process that
works on it finds it; when none does, the change is made here. What comes back is always the state
that the store holds.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from ricochet_orchestrator.answer_history import uses
from ricochet_orchestrator.checkpoint import ENDED, STORE_FILE, Answer, RunRecord, RunStatus, Wish
from ricochet_orchestrator.event_log import read_events
from ricochet_orchestrator.listening import close
from ricochet_orchestrator.monitor import View, run_view, step_view
from ricochet_orchestrator.ownership import owned, owning, run_file
from ricochet_orchestrator.plan import StepId
from ricochet_orchestrator.printing import printable
from ricochet_orchestrator.request import Request
from ricochet_orchestrator.result import RunState, summarize
from ricochet_orchestrator.statistics import Use
from ricochet_orchestrator.store import Store
from ricochet_orchestrator.trace import Trace, trace
from ricochet_protocol.errors import LocalFault, UsageError

OBEY_WAIT: Final = 10.0
"""Seconds in which a working process does what is wanted; it takes 0.2, and longer while it plans
a large document."""
_LOOK: Final = 0.02
_LOOK_BACK: Final = 1000
"""Runs among which the one before another is looked for."""
_SHORTEST_STEP: Final = 6
"""Characters of a step's id that name it."""


class Runs:
    """The runs of one home. Closes its store at the end of the context."""

    def __init__(self, home: Path) -> None:
        """UsageError `no_runs` when nothing has been run here; looking makes nothing."""
        if not (home / STORE_FILE).exists():
            raise _none()
        self._home = home
        self._store = Store(home / STORE_FILE)

    def __enter__(self) -> "Runs":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the store."""
        self._store.close()

    # Seeing.

    @property
    def resealed(self) -> bool:
        """Whether the store was encrypted otherwise since it was opened; open it anew."""
        return self._store.resealed

    def record(self, run_id: str | None) -> RunRecord:
        """A run's record, the latest one's for None; UsageError when there is none.

        A run that nobody works on any more, though its record does not say so, is shown as paused.
        """
        run = self._store.run(run_id)
        if run is None:
            latest = self._store.run(None)
            if run_id is None or latest is None:
                raise _none()
            raise UsageError(
                "run_unknown",
                f"There is no run {run_id!r}.",
                f"The latest run is {latest.id}; `ricochet chain runs` lists them.",
            )
        return self._as_it_is(run)

    def latest(self, limit: int = 20) -> tuple[RunRecord, ...]:
        """The latest runs, latest first."""
        return tuple(self._as_it_is(run) for run in self._store.runs(limit))

    def before(self, run_id: str) -> RunRecord:
        """The latest run before one, of its chain over documents of its name, that has a result.

        UsageError `no_run_before` when there is none among the latest.
        """
        run = self.record(run_id)
        for one in self._store.runs(_LOOK_BACK):
            same = (one.chain, one.document) == (run.chain, run.document)
            shown = one.status in (RunStatus.COMPLETED, RunStatus.PARTIAL)
            if same and shown and one.id != run.id and one.created_at <= run.created_at:
                return one
        raise UsageError(
            "no_run_before",
            f"No run of {run.chain} over {printable(run.document)} before {run.id} has a result.",
            "Name two runs: `ricochet chain runs` lists them.",
        )

    def state(self, run_id: str | None = None) -> RunState:
        """A run with its steps and what it has so far."""
        run = self._store.readable_run(self.record(run_id))
        steps = self._store.steps(run.id)
        result = summarize(run, steps, self._store.readable(run.id), resume_hint(run.id))
        return RunState(run=run, steps=steps, result=result, owned=owned(self._home, run.id))

    def trace(self, run_id: str | None = None) -> Trace:
        """A run with where each of its answers comes from."""
        state = self.state(run_id)
        answers = self._store.readable(state.run.id)
        return trace(state.run, state.result, state.steps, answers)

    def view(self, which: str | None = None) -> View:
        """A moment of a run, or of one of the latest run's steps: its id, or the start of it."""
        if which is None or self._store.run(which) is not None:
            state = self.state(which)
            request = self._store.request(state.run.id)
            cap = None if request is None else request.options.max_cost
            return run_view(state, read_events(self.events(state.run.id)), time.time(), cap)
        latest = self.state(None)
        steps = [step for step in latest.steps if step.id.startswith(which.lower())]
        if len(steps) != 1 or len(which) < _SHORTEST_STEP:
            return run_view(self.state(which), (), time.time())
        traced = next(one for one in self.trace(latest.run.id).steps if one.id == steps[0].id)
        return step_view(latest, steps[0], traced, time.time())

    def uses(self) -> tuple[Use, ...]:
        """Every paid answer, for statistics."""
        return uses(self._store)

    def answers(self, run_id: str) -> dict[StepId, Answer]:
        """The stored answers of a run, by step."""
        return self._store.readable(run_id)

    def owned(self, run_id: str) -> bool:
        """Whether a process works on the run."""
        return owned(self._home, run_id)

    def events(self, run_id: str) -> Path:
        """Where the run's event log is."""
        return run_file(self._home, run_id, "events.jsonl")

    # Steering.

    def pause(self, run_id: str | None = None) -> RunRecord:
        """Stop the run for now; it can be resumed. Nothing happens to one that is not running."""
        return self._stop(run_id, Wish.PAUSE)

    def cancel(self, run_id: str | None = None) -> RunRecord:
        """End the run for good. Its answers stay, and other runs use them."""
        return self._stop(run_id, Wish.CANCEL)

    def take_up(self, run_id: str | None, change: Callable[[Request], Request]) -> RunRecord:
        """Have the run ready to be worked on again, with its request changed.

        Steps that were given up are tried again. UsageError for a run that has ended, LocalFault
        `run_owned` for one that a process works on.
        """
        run = self.record(run_id)
        if run.status in ENDED:
            raise UsageError(
                "run_ended",
                f"Run {run.id} is {run.status}.",
                f"See it: ricochet chain result {run.id}"
                if run.status is RunStatus.COMPLETED
                else "Run the chain again; answers that are stored cost nothing.",
            )
        with owning(self._home, run.id):
            request = self._store.request(run.id)
            self._store.take_up(run.id, None if request is None else change(request))
        return self.record(run.id)

    def _stop(self, run_id: str | None, wish: Wish) -> RunRecord:
        run = self.record(run_id)
        if run.status in ENDED:
            return run
        self._store.set_wish(run.id, wish)
        give_up = time.monotonic() + OBEY_WAIT
        while owned(self._home, run.id):
            now = self._store.run(run.id)
            if now is not None and now.status not in (RunStatus.PENDING, RunStatus.RUNNING):
                return now
            if time.monotonic() > give_up:
                raise LocalFault(
                    "run_busy",
                    f"The process that works on run {run.id} has not answered in "
                    f"{OBEY_WAIT:.0f} s.",
                    "It stops before its next call. See: ricochet chain status",
                )
            time.sleep(_LOOK)
        try:
            with owning(self._home, run.id):
                left = self.record(run.id)
                if left.status not in ENDED:
                    partial = left.status is RunStatus.PARTIAL
                    kept = RunStatus.PARTIAL if partial else RunStatus.PAUSED
                    close(self._store, run.id, kept, left.seconds)
        except LocalFault as error:
            if error.code != "run_owned":
                raise
            # Somebody has taken it up in between, and finds the wish.
        return self.record(run.id)

    def _as_it_is(self, run: RunRecord) -> RunRecord:
        if run.status is not RunStatus.RUNNING or owned(self._home, run.id):
            return run
        # A process that has just ended wrote its last word before it let go of the lock.
        again = self._store.run(run.id) or run
        if again.status is not RunStatus.RUNNING:
            return again
        return msgspec.structs.replace(
            again,
            status=RunStatus.PAUSED,
            error=again.error or "the process that worked on it ended without a word",
        )


def resume_hint(run_id: str) -> str:
    """How to go on with a run."""
    return f"Go on with: ricochet chain resume {run_id}"


def nothing_failed(run: RunRecord) -> UsageError:
    """The error for a run that has nothing to try again, with what can be done with it instead."""
    return UsageError(
        "nothing_failed",
        f"There is nothing to retry: no step of run {run.id} has failed, and it is {run.status}.",
        _instead(run),
    )


def _instead(run: RunRecord) -> str:
    match run.status:
        case RunStatus.COMPLETED:
            return (
                f"See what it has come to: ricochet chain result {run.id}; for other answers, run "
                "the chain with --model, or edit it."
            )
        case RunStatus.CANCELLED:
            return "Run the chain again; answers that are stored cost nothing."
        case RunStatus.RUNNING:
            return f"See it go by: ricochet chain watch {run.id}"
    return f"Go on with it: ricochet chain resume {run.id}"


def latest_runs(home: Path, limit: int) -> tuple[RunRecord, ...]:
    """The latest runs, latest first; none where nothing has been run. Looking makes nothing."""
    if not (home / STORE_FILE).exists():
        return ()
    with Runs(home) as held:
        return held.latest(limit)


def all_uses(home: Path) -> tuple[Use, ...]:
    """Every paid answer of a home, for statistics; none where nothing has been run."""
    if not (home / STORE_FILE).exists():
        return ()
    with Runs(home) as held:
        return held.uses()


def _none() -> UsageError:
    return UsageError(
        "no_runs", "No chain has been run here yet.", "Run one: ricochet chain run FILE"
    )
