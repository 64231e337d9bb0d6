"""A run's result with its trace, as Markdown or JSON; `report_page` has HTML.

First what a person asked for, then what it rests on and how it came about. Text of models and names
of files are other people's: they are quoted so that they stay text in every form.
"""

import json
import re
from typing import Any, Final

import msgspec

from ricochet_orchestrator.progress import printable
from ricochet_orchestrator.result import passages_of
from ricochet_orchestrator.trace import Trace, TracedStep, place_document, ranges
from ricochet_protocol.money import dollars

_MARKDOWN: Final = re.compile(r"([\\`*_{}\[\]<>|#!~])")


def as_json(trace: Trace) -> str:
    """All of the trace as one JSON object; amounts in units of the token."""
    run, result = trace.run, trace.result
    document: dict[str, Any] = {
        "run": {
            "id": run.id,
            "status": run.status.value,
            "chain": run.chain,
            "document": run.document,
            "document_digest": run.digest or None,
            "model": run.model,
            "created_at": run.created_at,
            "seconds": round(run.seconds, 3),
            "calls": result.calls,
            "tokens_in": result.tokens_in,
            "tokens_out": result.tokens_out,
            "cost": result.cost,
        },
        "output": result.output,
        "outputs": list(trace.outputs),
        "segments": [
            place_document(number, origin, passages_of(run, origin))
            for number, origin in enumerate(trace.origins, start=1)
        ],
        "steps": [_step_document(step) for step in trace.steps],
    }
    return json.dumps(document, indent=2, ensure_ascii=False)


def as_markdown(trace: Trace) -> str:
    """The result, its sources, and a table of the steps."""
    run, result = trace.run, trace.result
    lines = [
        f"# {quoted(run.chain)}: {quoted(run.document)}",
        "",
        result.output or f"*No result: the run is {run.status.value}.*",
        "",
        "## How it came about",
        "",
        f"Run `{run.id}`, {run.status.value}: {result.calls} calls, "
        f"{result.tokens_in:,} tokens in, {result.tokens_out:,} out, "
        f"{dollars(result.cost)}, {run.seconds:.1f} s.",
        "",
        "| step | role | model | peer | reads | rests on segments | tokens | cost |",
        "|---|---|---|---|---|---|---|---|",
        *(_row(step) for step in trace.steps),
        "",
        "## Segments",
        "",
        *(f"{number}. {quoted(where)}" for number, where in enumerate(trace.places, start=1)),
    ]
    return "\n".join(lines) + "\n"


def quoted(text: str) -> str:
    """Other people's text on one line of Markdown, as text."""
    return _MARKDOWN.sub(r"\\\1", " ".join(printable(text).split()))


def reads(step: TracedStep) -> str:
    """What a step was shown, for a person."""
    parts = [f"segments {ranges(step.segments)}"] if step.segments else []
    parts += [f"{len(step.inputs)} answers"] if step.inputs else []
    return " and ".join(parts) or "nothing"


def _row(step: TracedStep) -> str:
    peer = "-" if step.peer is None else f"…{step.peer[-6:]}"
    cells = (
        f"{quoted(step.name)} `{step.id[:8]}`",
        quoted(step.role),
        quoted(step.model),
        peer if step.status.value == "completed" else step.status.value,
        reads(step),
        ranges(step.rests_on) or "-",
        f"{step.tokens_in:,} → {step.tokens_out:,}",
        dollars(step.cost) if step.paid or step.peer is None else "paid by an earlier run",
    )
    return "| " + " | ".join(cells) + " |"


def _step_document(step: TracedStep) -> dict[str, Any]:
    values: dict[str, Any] = msgspec.to_builtins(step)
    # Numbers of segments count from 1 wherever people and documents see them.
    for name in ("segments", "rests_on"):
        values[name] = [number + 1 for number in values[name]]
    return values
