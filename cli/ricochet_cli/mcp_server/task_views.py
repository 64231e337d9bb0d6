"""A project's tasks as tools show them."""

from typing import Any

from ricochet_cli.mcp_server.outputs import TaskDetailsOut, TaskOut, ViewOut
from ricochet_orchestrator.tasks.book import Place, subtasks
from ricochet_orchestrator.tasks.choosing import priority_of
from ricochet_orchestrator.tasks.dependencies import needs_of
from ricochet_orchestrator.tasks.editing import seen
from ricochet_orchestrator.tasks.status import TaskStatus
from ricochet_orchestrator.tasks.views import line

_DONE = TaskStatus.COMPLETED.value


def task_out(place: Place, waits: tuple[str, ...]) -> TaskOut:
    """A task in a list."""
    parts = subtasks(place.item) if place.parent is None else []
    complexity = place.item.get("complexity")
    return TaskOut(
        id=place.ref,
        title=line(place.item["title"]),
        status=place.status.value,
        priority=priority_of(place),
        complexity=complexity if isinstance(complexity, int) else None,
        dependencies=list(needs_of(place)),
        waits_for=list(waits),
        subtasks=len(parts),
        subtasks_completed=sum(one["status"] == _DONE for one in parts),
    )


def task_line(out: TaskOut) -> str:
    """The same on a line."""
    waits = f", waits for {', '.join(out['waits_for'])}" if out["waits_for"] else ""
    parts = f", subtasks {out['subtasks_completed']}/{out['subtasks']}" if out["subtasks"] else ""
    rating = f", complexity {out['complexity']}" if out["complexity"] is not None else ""
    return f"{out['id']} {out['status']} ({out['priority']}{rating}{waits}{parts}): {out['title']}"


def details_out(place: Place, waits: tuple[str, ...]) -> TaskDetailsOut:
    """A task with its texts."""

    def text(name: str) -> str:
        value = place.item.get(name)
        return value if isinstance(value, str) else ""

    return TaskDetailsOut(
        **task_out(place, waits),
        description=text("description"),
        details=text("details"),
        test_strategy=text("testStrategy"),
    )


def details_text(out: TaskDetailsOut) -> str:
    """The same for the chat."""
    parts = [task_line(out)]
    parts += [
        f"{name}: {value}"
        for name, value in (
            ("description", out["description"]),
            ("details", out["details"]),
            ("is done when", out["test_strategy"]),
        )
        if value
    ]
    return "\n".join(parts)


def task_view(place: Place) -> ViewOut:
    """A task that models do, as a moment of it."""
    kept = seen(place.item)
    metrics: Any = kept.get("metrics") or {}
    model = kept.get("model") or kept.get("wanted_model")
    done = place.status is TaskStatus.COMPLETED
    failure = kept.get("failure")
    return ViewOut(
        run=None,
        step=None,
        task=place.ref,
        title=line(place.item["title"]),
        status=place.status.value,
        models=[str(model)] if model else [],
        roles=[str(kept.get("role", "main"))],
        done=int(done),
        total=1,
        percent=100 * done,
        seconds=_number(metrics, "duration_ms") / 1000,
        left=None,
        tokens_in=_number(metrics, "tokens_input"),
        tokens_out=_number(metrics, "tokens_output"),
        cost=_number(metrics, "cost"),
        error=_text(failure),
    )


def task_text(out: ViewOut) -> str:
    """The same for the chat."""
    models = ", ".join(out["models"]) or "no model yet"
    lines = [
        f"Task {out['task']}: {out['title']}",
        f"{out['status']}, {models} ({', '.join(out['roles'])}), {out['seconds']:.1f} s, "
        f"{out['tokens_in']:,} tokens in, {out['tokens_out']:,} out",
    ]
    return "\n".join([*lines, *filter(None, [out["error"]])])


def _number(metrics: Any, name: str) -> int:
    value = metrics.get(name) if isinstance(metrics, dict) else None
    return value if isinstance(value, int) else 0


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
