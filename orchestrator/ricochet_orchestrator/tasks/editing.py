"""Changes of tasks: add, edit, delete, move, and the status; each leaves dependencies sound.

Functions change the tasks they are given; whoever calls them writes the file, or does not.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from ricochet_orchestrator.tasks.book import Item, Place, find, key, next_id, places, subtasks
from ricochet_orchestrator.tasks.dependencies import add as add_dependency
from ricochet_orchestrator.tasks.dependencies import needs_of, refuse_circle, written
from ricochet_orchestrator.tasks.status import PRIORITIES, TaskStatus
from ricochet_protocol.errors import UsageError

MAX_TEXT = 4 * 1024 * 1024
"""Characters of one field: a book's worth; more is a mistake."""


class Fields(msgspec.Struct, frozen=True):
    """What is said of a task; None: nothing. `role` and `model` are who does it in `tasks run`."""

    title: str | None = None
    description: str | None = None
    details: str | None = None
    test_strategy: str | None = None
    priority: str | None = None
    role: str | None = None
    model: str | None = None

    def apply(self, item: Item, now: float) -> None:
        """Set what is said; UsageError for what cannot be."""
        said = {
            "title": self.title,
            "description": self.description,
            "details": self.details,
            "testStrategy": self.test_strategy,
            "priority": self.priority,
        }
        for name, value in said.items():
            if value is not None:
                _check(name, value)
                item[name] = value
        for name, value in (("role", self.role), ("wanted_model", self.model)):
            if value is not None:
                own(item)[name] = value
        item["updatedAt"] = stamp(now)


def stamp(now: float) -> str:
    """Unix seconds as Task Master writes moments."""
    text = datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def own(item: Item) -> Item:
    """What Ricochet keeps with an item: `metadata.ricochet`."""
    if item.get("metadata") is None:
        item["metadata"] = {}
    kept: Item = item["metadata"].setdefault("ricochet", {})
    return kept


def seen(item: Item) -> Mapping[str, Any]:
    """The same to read, without making it."""
    kept: Mapping[str, Any] = (item.get("metadata") or {}).get("ricochet") or {}
    return kept


def add(
    tasks: list[Item],
    fields: Fields,
    now: float,
    parent: str | None = None,
    needs: Sequence[str] = (),
) -> str:
    """Add a task, or a subtask of `parent`; its name. UsageError."""
    if fields.title is None:
        raise UsageError("title_missing", "A task has a title.", "ricochet tasks add TITLE")
    item: Item = {
        "id": 0,
        "title": "",
        # Task Master reads no file in which a task has a blank description.
        "description": fields.title,
        "status": TaskStatus.PENDING.value,
        "dependencies": [],
    }
    if parent is None:
        siblings, prefix = tasks, ""
        item |= {"priority": "medium", "details": "", "testStrategy": "", "subtasks": []}
    else:
        place = find(tasks, parent)
        if place.parent is not None:
            raise UsageError(
                "subtask_of_subtask",
                f"{place.ref} is a subtask itself.",
                "Subtasks are one level deep: give the task's id.",
            )
        if place.item.get("subtasks") is None:
            place.item["subtasks"] = []
        siblings, prefix = place.item["subtasks"], f"{place.ref}."
        item |= {"details": ""}
    item["id"] = next_id(siblings)
    fields.apply(item, now)
    siblings.append(item)
    ref = f"{prefix}{item['id']}"
    for one in needs:
        add_dependency(tasks, ref, one)
    return ref


def edit(tasks: list[Item], ref: str, fields: Fields, now: float) -> str:
    """Change fields of an item; its name. UsageError when nothing is said."""
    place = find(tasks, ref)
    if fields == Fields():
        raise UsageError("nothing_to_edit", "No field was given.", "See --help for the fields.")
    fields.apply(place.item, now)
    return place.ref


def set_status(tasks: list[Item], refs: Sequence[str], status: TaskStatus, now: float) -> list[str]:
    """Set items' status, with a completed task its subtasks' too; the names of all that changed."""
    changed: list[str] = []
    for ref in refs:
        place = find(tasks, ref)
        children = subtasks(place.item) if place.parent is None else []
        group = [place, *(Place(f"{place.ref}.{key(one['id'])}", one) for one in children)]
        for one in group if status is TaskStatus.COMPLETED else group[:1]:
            if one.status is not status:
                one.item["status"] = status.value
                one.item["updatedAt"] = stamp(now)
                changed.append(one.ref)
    return changed


def delete(tasks: list[Item], refs: Sequence[str]) -> list[str]:
    """Delete items, and dependencies on them; the names of what no longer waits for them."""
    doomed = [find(tasks, ref) for ref in refs]
    gone = {one.ref for one in doomed}
    gone |= {f"{one.ref}.{key(sub['id'])}" for one in doomed for sub in subtasks(one.item)}
    freed = _forget(tasks, gone)
    for one in doomed:
        siblings = tasks if one.parent is None else one.parent["subtasks"]
        siblings[:] = [item for item in siblings if item is not one.item]
    return [ref for ref in freed if ref not in gone]


def move(tasks: list[Item], ref: str, target: str) -> str:
    """Give an item another place: `7` for a task, `7.2` for a subtask of task 7; its new name.

    Dependencies follow. UsageError when the place is taken, or a task with subtasks would become
    one.
    """
    place, wanted = find(tasks, ref), key(target)
    if any(one.ref == wanted for one in places(tasks)):
        raise UsageError(
            "place_taken", f"There is a task {wanted} already.", "Choose an id that is free."
        )
    parent_ref, dotted, last = wanted.rpartition(".")
    parent = find(tasks, parent_ref) if dotted else None
    if parent is not None and (
        parent.parent is not None or subtasks(place.item) or parent.item is place.item
    ):
        raise UsageError(
            "subtask_of_subtask",
            f"{place.ref} cannot become {wanted}.",
            "Subtasks are one level deep, and have no subtasks.",
        )
    names = {place.ref: wanted}
    names |= {
        f"{place.ref}.{key(one['id'])}": f"{wanted}.{key(one['id'])}"
        for one in subtasks(place.item)
    }
    needs = {id(one.item): needs_of(one) for one in places(tasks)}
    siblings = tasks if place.parent is None else place.parent["subtasks"]
    siblings[:] = [item for item in siblings if item is not place.item]
    place.item["id"] = int(last) if last.isdecimal() else last
    if parent is None:
        tasks.append(place.item)
    else:
        parent.item["subtasks"] = [*subtasks(parent.item), place.item]
    for one in places(tasks):
        before = needs[id(one.item)]
        if one.item is place.item or any(need in names for need in before):
            one.item["dependencies"] = [written(one, names.get(n, n)) for n in before]
    refuse_circle(tasks)
    return wanted


def _forget(tasks: list[Item], gone: set[str]) -> list[str]:
    """Take dependencies on these away; the names of those that had one."""
    freed = []
    for place in list(places(tasks)):
        needs = needs_of(place)
        if gone.intersection(needs):
            both = zip(place.item["dependencies"], needs, strict=True)
            place.item["dependencies"] = [one for one, need in both if need not in gone]
            freed.append(place.ref)
    return freed


def _check(name: str, value: str) -> None:
    if len(value) > MAX_TEXT:
        raise UsageError(
            "text_too_long",
            f"{name} has {len(value):,} characters, of at most {MAX_TEXT:,}.",
            "Put it into a file and name the file.",
        )
    if name in ("title", "description") and not value.strip():
        raise UsageError(f"{name}_missing", f"A {name} has a character that shows.", "See --help.")
    if name == "priority" and value not in PRIORITIES:
        raise UsageError(
            "priority_unknown", f"{value!r} is no priority.", f"Known: {', '.join(PRIORITIES)}."
        )
