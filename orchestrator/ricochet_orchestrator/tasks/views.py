"""Tasks for people and programs: rows of a list, and a task in the form in which runs show steps.

Titles come from anywhere: what a terminal would obey, or what breaks a row, is taken out on the way
to people. Programs get every text as it is.
"""

from pathlib import Path
from typing import Any, Literal

from ricochet_orchestrator.printing import printable
from ricochet_orchestrator.tasks.book import Item, Place, find, key, places, subtasks
from ricochet_orchestrator.tasks.choosing import priority_of
from ricochet_orchestrator.tasks.dependencies import needs_of, unmet
from ricochet_orchestrator.tasks.editing import seen
from ricochet_orchestrator.tasks.status import WAITING, TaskStatus

View = Literal["all", "ready", "blocked"]
ROW_TITLE = 60


def listed(
    tasks: list[Item],
    status: TaskStatus | None = None,
    view: View = "all",
    with_subtasks: bool = False,
) -> list[Place]:
    """Tasks (and subtasks) of a status; `ready` and `blocked` are those that wait, by what for."""
    waits = unmet(tasks)
    return [
        place
        for place in places(tasks)
        if (with_subtasks or place.parent is None)
        and (status is None or place.status is status)
        and (
            view == "all"
            or (place.status in WAITING and bool(waits[place.ref]) is (view == "blocked"))
        )
    ]


def line(text: str, width: int | None = None) -> str:
    """Text from anywhere as one line of a table."""
    flat = " ".join(printable(text).split())
    return flat if width is None or len(flat) <= width else flat[: width - 1] + "…"


def row(place: Place, waits: tuple[str, ...]) -> tuple[str, ...]:
    """A line of `tasks list`."""
    done = [one["status"] == TaskStatus.COMPLETED.value for one in subtasks(place.item)]
    return (
        line(place.ref, 16),
        place.status.value,
        priority_of(place),
        f"{sum(done)}/{len(done)}" if done and place.parent is None else "",
        line(", ".join(waits), 24),
        ("  " if place.parent is not None else "") + line(place.item["title"], ROW_TITLE),
    )


ROW_HEADERS = ("id", "status", "priority", "subtasks", "waits for", "title")


def document(place: Place) -> Item:
    """A task for programs: DESIGN's form of a step, with all that the task has under `task`."""
    kept = seen(place.item)
    result = kept.get("result")
    return {
        "id": place.ref,
        "type": "model_execution",
        "title": place.item["title"],
        "description": place.item.get("description") or "",
        "status": place.status.value,
        "dependencies": list(needs_of(place)),
        "model": {
            "provider": "ricochet",
            "name": kept.get("model") or kept.get("wanted_model"),
            "role": kept.get("role", "main"),
            "parameters": {},
        },
        "input": {"type": "text", "source": f"task-{place.ref}", "segment": None},
        "output": {"type": "text", "destination": result},
        "metrics": kept.get("metrics"),
        "created_at": kept.get("created_at"),
        "started_at": kept.get("started_at"),
        "completed_at": kept.get("completed_at"),
        "task": place.item,
    }


def text(tasks: list[Item], ref: str, project: Path) -> str:
    """A task as a page for a terminal."""
    place = find(tasks, ref)
    item, kept = place.item, seen(place.item)
    waits = unmet(tasks)
    facts: list[tuple[str, Any]] = [
        ("status", place.status.value),
        ("priority", priority_of(place)),
        ("depends on", ", ".join(needs_of(place))),
        ("waits for", ", ".join(waits[place.ref])),
        ("complexity", item.get("complexity")),
        ("role", kept.get("role")),
        ("model", kept.get("model") or kept.get("wanted_model")),
        ("result", kept.get("result") and str(project / str(kept["result"]))),
        ("failure", kept.get("failure")),
    ]
    lines = [f"{line(place.ref)}  {line(item['title'])}"]
    lines += [f"  {name:<11}{line(str(value))}" for name, value in facts if value not in (None, "")]
    for name in ("description", "details", "testStrategy"):
        if item.get(name):
            lines += ["", f"{name}:", printable(str(item[name]))]
    if place.parent is None and subtasks(item):
        lines += ["", "subtasks:"]
        lines += [_subtask_line(place, one) for one in subtasks(item)]
    return "\n".join(lines)


def _subtask_line(place: Place, one: Item) -> str:
    ref = f"{place.ref}.{key(one['id'])}"
    return f"  {line(ref):<8}{one['status']:<11}{line(one['title'])}"
