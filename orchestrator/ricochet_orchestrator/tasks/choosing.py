"""Which task comes next: Task Master's rule, so that both programs answer alike.

First subtasks of tasks that are running, then tasks: those that wait or run and wait for nothing
unfinished, by priority, then the fewest dependencies, then the lowest id.
"""

from collections.abc import Iterable
from typing import Any

from ricochet_orchestrator.tasks.book import Item, Place, places
from ricochet_orchestrator.tasks.dependencies import needs_of, unmet
from ricochet_orchestrator.tasks.status import PRIORITIES, WAITING, TaskStatus


def next_task(tasks: list[Item]) -> Place | None:
    """The item to work on next; None when there is none that could be."""
    waits = unmet(tasks)
    able = [
        place
        for place in places(tasks)
        if (place.status in WAITING or place.status is TaskStatus.RUNNING) and not waits[place.ref]
    ]
    inside = [
        one for one in able if one.parent and one.parent["status"] == TaskStatus.RUNNING.value
    ]
    return _first(inside) or _first(one for one in able if one.parent is None)


def priority_of(place: Place) -> str:
    """An item's priority; a subtask without one has its task's."""
    own = place.item.get("priority") or (place.parent or {}).get("priority")
    return own if own in PRIORITIES else "medium"


def order(place: Place) -> tuple[Any, ...]:
    """Sorts what comes first to the front."""
    parts = [
        (0, int(part), "") if part.isdecimal() else (1, 0, part) for part in place.ref.split(".")
    ]
    return PRIORITIES.index(priority_of(place)), len(needs_of(place)), parts


def _first(found: Iterable[Place]) -> Place | None:
    return min(found, key=order, default=None)
