"""Tasks as they are shown: a choice of them, and each in the form in which runs show steps.

Titles come from anywhere: what a terminal would obey, or what breaks a row, is taken out on the way
to people. Programs get every text as it is.
"""

from typing import Literal

from ricochet_orchestrator.printing import printable
from ricochet_orchestrator.tasks.book import Item, Place, places
from ricochet_orchestrator.tasks.dependencies import needs_of, unmet
from ricochet_orchestrator.tasks.editing import seen
from ricochet_orchestrator.tasks.status import WAITING, TaskStatus

View = Literal["all", "ready", "blocked"]


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
