"""How a stored run is shown: a box for people, the same as JSON for programs."""

from collections import Counter

from ricochet_cli.console import table
from ricochet_cli.language import t, tn, told
from ricochet_cli.progress_view import short
from ricochet_orchestrator.checkpoint import Status, StepRecord
from ricochet_orchestrator.progress import printable
from ricochet_orchestrator.result import RunState
from ricochet_protocol.money import dollars

_WIDTH = 60
_BAR = 30


def status_document(state: RunState) -> dict[str, object]:
    """What `chain status --json` prints."""
    result = state.result
    return {
        "run": {
            "id": result.run_id,
            "status": result.status.value,
            "chain": state.run.chain,
            "document": state.run.document,
            "model": state.run.model,
            "steps": result.steps,
            "done": state.done,
            "calls": result.calls,
            "tokens_in": result.tokens_in,
            "tokens_out": result.tokens_out,
            "cost": result.cost,
            "seconds": round(result.seconds, 3),
        },
        "steps": [
            {
                "id": step.id,
                "name": step.name,
                "role": step.role,
                "model": step.model,
                "status": step.status.value,
                "peer": step.peer,
                "attempts": step.attempts,
                "error": step.error or None,
            }
            for step in state.steps
        ],
        "output": result.output,
    }


def status_text(state: RunState) -> str:
    """The same for a person."""
    result = state.result
    total = max(result.steps, 1)
    full = _BAR * state.done // total
    lines = [
        t("Run:      {run_id}, {status}", run_id=result.run_id, status=told(result.status.value)),
        t(
            "Chain:    {chain} over {document}",
            chain=state.run.chain,
            document=printable(state.run.document),
        ),
        t("Model:    {model}", model=state.run.model),
        t(
            "Progress: [{bar}] {done}/{steps}",
            bar="▓" * full + "-" * (_BAR - full),
            done=state.done,
            steps=result.steps,
        ),
        t("Time:     {seconds:.1f} s", seconds=result.seconds),
        t(
            "Tokens:   {tokens_in:,} in / {tokens_out:,} out, {calls}",
            tokens_in=result.tokens_in,
            tokens_out=result.tokens_out,
            calls=tn("{count} call", "{count} calls", result.calls),
        ),
        t("Cost:     {cost}", cost=dollars(result.cost)),
    ]
    width = max(_WIDTH, *(len(line) for line in lines))
    box = [f"│ {line.ljust(width)} │" for line in lines]
    edge = "─" * (width + 2)
    return "\n".join(
        [f"┌{edge}┐", *box, f"└{edge}┘", _stages(state.steps), *_troubles(state.steps)]
    )


def _stages(steps: tuple[StepRecord, ...]) -> str:
    """One row for each step of the chain, with how many of its calls stand where."""
    names = dict.fromkeys((step.name, step.role) for step in steps)
    rows = []
    for name, role in names:
        counts = Counter(step.status for step in steps if step.name == name)
        done = counts.pop(Status.COMPLETED, 0)
        others = ", ".join(f"{count} {told(status.value)}" for status, count in counts.items())
        rows.append((name, role, f"{done}/{done + counts.total()}", others or "-"))
    return table(("step", "role", "done", "others"), rows)


def _troubles(steps: tuple[StepRecord, ...]) -> list[str]:
    return [
        t(
            "{name} {id} at {peer}: {error}",
            name=step.name,
            id=step.id[:8],
            peer=short(step.peer) if step.peer else t("no peer"),
            error=step.error,
        )
        for step in steps
        if step.status is Status.FAILED and step.error
    ]
