"""Runs and their steps as tools show them: text for the chat, and values for programs."""

from collections import Counter
from typing import TYPE_CHECKING, Final

from ricochet_cli.mcp_server.outputs import (
    CitationOut,
    PassageOut,
    ResultOut,
    RunOut,
    RunStatusOut,
    StageOut,
    TroubleOut,
    ViewOut,
)
from ricochet_orchestrator.checkpoint import RunRecord, Status
from ricochet_orchestrator.result import RunState

if TYPE_CHECKING:
    from ricochet_orchestrator.monitor import View

MAX_TROUBLES: Final = 10


def run_out(run: RunRecord) -> RunOut:
    """A run's record."""
    return RunOut(
        id=run.id,
        status=run.status.value,
        chain=run.chain,
        document=run.document,
        model=run.model or None,
        seconds=round(run.seconds, 3),
        created_at=run.created_at,
        error=run.error or None,
    )


def status_out(state: RunState) -> RunStatusOut:
    """Where a run stands; calls are counted, of those given up the first are told."""
    failed = [step for step in state.steps if step.status is Status.FAILED]
    stages = [
        StageOut(
            name=name,
            role=role,
            calls=dict(Counter(one.status.value for one in state.steps if one.name == name)),
        )
        for name, role in dict.fromkeys((step.name, step.role) for step in state.steps)
    ]
    result = state.result
    return RunStatusOut(
        run=run_out(state.run),
        done=state.done,
        steps=result.steps,
        calls=result.calls,
        tokens_in=result.tokens_in,
        tokens_out=result.tokens_out,
        cost=result.cost,
        stages=stages,
        troubles=[
            TroubleOut(step=one.id[:12], name=one.name, error=one.error)
            for one in failed[:MAX_TROUBLES]
        ],
        hint=result.hint,
    )


def status_text(out: RunStatusOut) -> str:
    """The same for the chat."""
    lines = [
        f"Run {out['run']['id']} is {out['run']['status']}: {out['done']}/{out['steps']} steps"
    ]
    for stage in out["stages"]:
        counts = ", ".join(f"{count} {status}" for status, count in stage["calls"].items())
        lines.append(f"{stage['name']} ({stage['role']}): {counts}")
    lines += [f"{one['name']} {one['step']}: {one['error']}" for one in out["troubles"]]
    return "\n".join([*lines, *filter(None, [out["run"]["error"], out["hint"]])])


def result_out(state: RunState) -> ResultOut:
    """What a run has come to."""
    result = state.result
    return ResultOut(
        run=run_out(state.run),
        output=result.output,
        citations=[
            CitationOut(
                number=one.number,
                file=one.origin.part,
                start=one.origin.start,
                end=one.origin.end,
                places=list(one.origin.places),
                passages=[
                    PassageOut(start=part.start, end=part.end, places=list(part.places))
                    for part in one.passages
                ],
            )
            for one in result.citations
        ],
        calls=result.calls,
        tokens_in=result.tokens_in,
        tokens_out=result.tokens_out,
        cost=result.cost,
        hint=result.hint,
    )


def result_text(out: ResultOut) -> str:
    """The result with its sources, or why there is none."""
    run = out["run"]
    sources = [_source(one) for one in out["citations"]]
    nothing = f"No result yet: run {run['id']} is {run['status']}. {out['hint']}"
    return "\n".join([out["output"] or nothing, *sources])


def _source(cited: CitationOut) -> str:
    places = cited["passages"] or [cited]
    ranges = "; ".join(f"{one['start']:,} to {one['end']:,}" for one in places)
    return f"[{cited['number']}] {cited['file']}, characters {ranges}"


def view_out(view: "View") -> ViewOut:
    """A moment of a run, or of one of its steps."""
    return ViewOut(
        run=view.run,
        step=view.step or None,
        task=None,
        title=view.title,
        status=view.status,
        models=list(view.models),
        roles=list(view.roles),
        done=view.done,
        total=view.total,
        percent=view.percent,
        seconds=round(view.seconds, 1),
        left=None if view.left is None else round(view.left, 1),
        tokens_in=view.tokens_in,
        tokens_out=view.tokens_out,
        cost=view.cost,
        error=view.error or None,
    )


def progress_line(view: "View") -> str:
    """The same on a line, for a notification of progress."""
    roles = ", ".join(view.roles) or "-"
    left = "" if view.left is None else f", about {view.left:.0f} s left"
    return f"{view.status}, {view.percent}%: {roles}{left}"
