"""Runs as the API shows them: closed structs, which the OpenAPI description is made from.

Times are Unix seconds, amounts millionths of a dollar. What peers wrote loses control characters.
"""

from typing import Any, Final

import msgspec

from ricochet_orchestrator.checkpoint import Answer, RunRecord, StepRecord
from ricochet_orchestrator.progress import printable
from ricochet_orchestrator.result import RunResult, RunState


class RunAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to run: `document` is its text, `parameters` are the chain's.

    The run never costs more than `max_cost`, nor works longer than `max_time` seconds. `notify` are
    channels that hear of its end: `desktop`, `webhook=URL`.
    """

    document: str
    chain: str = "overview"
    name: str = "document"
    parameters: dict[str, str] = {}
    model: str | None = None
    max_cost: int | None = None
    max_time: float | None = None
    notify: tuple[str, ...] = ()


class RunView(msgspec.Struct, frozen=True):
    """One run. `error` says why nobody works on it, where that is no one's wish."""

    id: str
    status: str
    chain: str
    document: str
    model: str
    created_at: float
    seconds: float
    error: str


class RunDetail(RunView, frozen=True):
    """The same with what it has done so far."""

    steps: int
    done: int
    calls: int
    tokens_in: int
    tokens_out: int
    cost: int


class StepView(msgspec.Struct, frozen=True):
    """One step: its place in the chain, who was asked, what it reads."""

    id: str
    name: str
    role: str
    model: str
    status: str
    attempts: int
    error: str
    peer: str | None
    inputs: tuple[str, ...]
    segments: tuple[int, ...]
    started_at: float | None
    completed_at: float | None


class CheckpointView(msgspec.Struct, frozen=True):
    """One stored answer and what it cost; `run` is the run that paid for it."""

    step: str
    run: str
    text: str
    finish: str
    peer: str
    operator: str
    period: int
    tokens_in: int
    tokens_out: int
    exact: bool
    cost: int
    seconds: float
    completed_at: float


class ResultView(msgspec.Struct, frozen=True):
    """The text of a run, and what it took."""

    id: str
    status: str
    output: str
    calls: int
    tokens_in: int
    tokens_out: int
    cost: int
    seconds: float


class ErrorDetail(msgspec.Struct, frozen=True):
    """What went wrong, and what to do."""

    message: str
    type: str
    param: str | None
    code: str | None


class Error(msgspec.Struct, frozen=True):
    """The body of every failure."""

    error: ErrorDetail


SHOWN: Final = (RunAsked, RunView, RunDetail, StepView, CheckpointView, ResultView, Error)


def schemas() -> dict[str, Any]:
    """JSON schemas of all that is shown, by name, for the description of the API."""
    _, components = msgspec.json.schema_components(
        SHOWN, ref_template="#/components/schemas/{name}"
    )
    return components


def run_view(run: RunRecord) -> RunView:
    """A run in a list."""
    return RunView(**_head(run))


def run_detail(state: RunState) -> RunDetail:
    """A run by itself."""
    result = state.result
    return RunDetail(
        **_head(state.run),
        steps=result.steps,
        done=state.done,
        calls=result.calls,
        tokens_in=result.tokens_in,
        tokens_out=result.tokens_out,
        cost=result.cost,
    )


def step_view(step: StepRecord) -> StepView:
    """A step."""
    return StepView(
        id=step.id,
        name=step.name,
        role=step.role,
        model=step.model,
        status=step.status.value,
        attempts=step.attempts,
        error=printable(step.error),
        peer=step.peer,
        inputs=step.inputs,
        segments=step.segments,
        started_at=step.started_at,
        completed_at=step.completed_at,
    )


def checkpoint_view(answer: Answer) -> CheckpointView:
    """A stored answer."""
    names = CheckpointView.__struct_fields__
    values = {name: getattr(answer, name) for name in names}
    return CheckpointView(**{**values, "text": printable(answer.text)})


def result_view(result: RunResult) -> ResultView:
    """A result."""
    return ResultView(
        id=result.run_id,
        status=result.status.value,
        output=result.output,
        calls=result.calls,
        tokens_in=result.tokens_in,
        tokens_out=result.tokens_out,
        cost=result.cost,
        seconds=round(result.seconds, 3),
    )


def _head(run: RunRecord) -> dict[str, Any]:
    return {
        "id": run.id,
        "status": run.status.value,
        "chain": run.chain,
        "document": printable(run.document),
        "model": run.model,
        "created_at": run.created_at,
        "seconds": round(run.seconds, 3),
        "error": printable(run.error),
    }
