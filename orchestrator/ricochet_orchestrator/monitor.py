"""How a run or one of its steps stands at a moment: what a monitor shows, computed from the store
and the event log, so that a terminal, an API and an editor show the same."""

from collections.abc import Iterable

import msgspec

from ricochet_orchestrator.checkpoint import RunStatus, Status, StepRecord
from ricochet_orchestrator.event_log import Logged
from ricochet_orchestrator.progress import Progress, RunStarted
from ricochet_orchestrator.result import RunState
from ricochet_orchestrator.trace import TracedStep
from ricochet_protocol.ids import ModelId
from ricochet_protocol.money import Units


class View(msgspec.Struct, frozen=True):
    """A moment of a run, or of one step when `step` is named.

    `roles` are those at work, or all when none is. `seconds` is the time worked on so far, `left`
    what remains by the pace so far, None while that is not known. `running` are calls that are out.
    """

    run: str
    title: str
    status: str
    models: tuple[ModelId, ...]
    roles: tuple[str, ...]
    done: int
    total: int
    running: int
    seconds: float
    left: float | None
    tokens_in: int
    tokens_out: int
    cost: Units
    cap: Units | None = None
    error: str = ""
    step: str = ""

    @property
    def percent(self) -> int:
        """How much is done; whole only when it is."""
        return 100 * self.done // max(self.total, 1)

    @property
    def moving(self) -> bool:
        """Whether something is going to change by itself."""
        return self.status in (RunStatus.RUNNING.value, RunStatus.PENDING.value)


def run_view(
    state: RunState, events: Iterable[Logged], now: float, cap: Units | None = None
) -> View:
    """A run at the moment `now`; `events` are its log."""
    progress, started = _session(events)
    going = state.run.status is RunStatus.RUNNING and state.owned
    working = max(0.0, now - started) if going and started is not None else 0.0
    out = [step for step in state.steps if step.status is Status.RUNNING] if going else []
    shown = out or state.steps
    return View(
        run=state.run.id,
        title=f"{state.run.chain} over {state.run.document}",
        status=state.run.status.value,
        models=tuple(dict.fromkeys(step.model for step in shown)),
        roles=tuple(dict.fromkeys(step.role for step in shown)),
        done=state.done,
        total=len(state.steps),
        running=len(out),
        seconds=state.run.seconds + working,
        left=progress.seconds_left(working) if going else None,
        tokens_in=state.result.tokens_in,
        tokens_out=state.result.tokens_out,
        cost=state.result.cost,
        cap=cap,
        error=state.run.error,
    )


def step_view(state: RunState, step: StepRecord, answer: TracedStep, now: float) -> View:
    """One step at the moment `now`."""
    going = step.status is Status.RUNNING and state.owned
    waited = max(0.0, now - step.started_at) if going and step.started_at is not None else 0.0
    status = step.status.value
    if step.status is Status.RUNNING and not state.owned:
        status = Status.PAUSED.value
    return View(
        run=state.run.id,
        title=f"{step.name} of {state.run.chain} over {state.run.document}",
        status=status,
        models=(step.model,),
        roles=(step.role,),
        done=int(step.status is Status.COMPLETED),
        total=1,
        running=int(going),
        seconds=answer.seconds or waited,
        left=None,
        tokens_in=answer.tokens_in,
        tokens_out=answer.tokens_out,
        cost=answer.cost,
        error=step.error,
        step=step.id,
    )


def _session(events: Iterable[Logged]) -> tuple[Progress, float | None]:
    """What has happened since a process last took the run up, and when it did."""
    progress, started = Progress(), None
    for logged in events:
        if isinstance(logged.event, RunStarted):
            progress, started = Progress(), logged.at
        progress = progress.after(logged.event)
    return progress, started
