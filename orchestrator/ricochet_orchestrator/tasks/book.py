"""What a task file holds, in memory: tags with their tasks, and how one task is found by its id.

Tasks are JSON objects with all the keys they came with. What is used of them has been checked by
`checked`: an id that is a number or a text, a title, a known status, lists where lists belong.
Ids are compared by their text. `7` names a task, `7.2` its subtask 2, unless a task has that id.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Final

import msgspec

from ricochet_orchestrator.tasks.status import TaskStatus
from ricochet_protocol.errors import UsageError

Item = dict[str, Any]
"""A task, a subtask or another JSON object."""
DEFAULT_TAG: Final = "master"
_TEXTS: Final = ("description", "details", "testStrategy", "priority")
NATIVE: Final = frozenset(status.value for status in TaskStatus)


class NotTasksError(ValueError):
    """What is wrong with a file's content, with the place."""


class Place(msgspec.Struct, frozen=True):
    """Where an item is: `ref` names it in its tag; `parent` is the task of a subtask."""

    ref: str
    item: Item
    parent: Item | None = None

    @property
    def status(self) -> TaskStatus:
        """Where it stands."""
        return TaskStatus(self.item["status"])


@dataclass
class Book:
    """`exchanged` has, by file and tag, the digest of each task as last agreed on with that file;
    `extra` what a file held besides."""

    current: str = DEFAULT_TAG
    tags: dict[str, Item] = field(default_factory=lambda: {DEFAULT_TAG: empty_tag()})
    exchanged: dict[str, dict[str, dict[str, str]]] = field(default_factory=dict)
    extra: Item = field(default_factory=dict)

    def tasks(self, tag: str | None = None) -> list[Item]:
        """The tasks of a tag, None for the current one; UsageError `tag_unknown`."""
        name = self.current if tag is None else tag
        if name not in self.tags:
            raise UsageError(
                "tag_unknown",
                f"There is no tag {name!r}.",
                f"Known: {', '.join(self.tags)}. Make one: ricochet tasks tags add NAME",
            )
        tasks: list[Item] = self.tags[name]["tasks"]
        return tasks


def empty_tag() -> Item:
    """A tag without tasks."""
    return {"tasks": [], "metadata": {}}


def key(identifier: int | str) -> str:
    """An id or a dependency as text."""
    return str(identifier).strip()


def subtasks(task: Item) -> list[Item]:
    """A task's subtasks; the list is part of the task only if it has any."""
    return task.get("subtasks") or []


def places(tasks: list[Item]) -> Iterator[Place]:
    """All tasks and subtasks, each task before its own."""
    for task in tasks:
        ref = key(task["id"])
        yield Place(ref, task)
        for one in subtasks(task):
            yield Place(f"{ref}.{key(one['id'])}", one, task)


def find(tasks: list[Item], ref: str) -> Place:
    """The item of that name; UsageError `task_unknown` or `task_ambiguous`."""
    known = list(places(tasks))
    wanted = key(ref)
    found = [one for one in known if one.ref == wanted]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(
            "task_ambiguous",
            f"{len(found)} tasks have the id {wanted!r}.",
            "Give them ids of their own: ricochet tasks deps fix",
        )
    close = get_close_matches(wanted, [one.ref for one in known], n=3)
    hint = f"Did you mean {', '.join(close)}? " if close else ""
    raise UsageError(
        "task_unknown", f"There is no task {wanted!r}.", f"{hint}See `ricochet tasks list`."
    )


def next_id(items: list[Item]) -> int:
    """The number for the next item of a list."""
    numbers = [int(text) for one in items if (text := key(one["id"])).isdecimal()]
    return max(numbers, default=0) + 1


def checked(tasks: Any, where: str, statuses: Collection[str] = NATIVE) -> list[Item]:
    """A list of tasks, once all that is used of it is sound; NotTasksError names the place."""
    if not isinstance(tasks, list):
        raise NotTasksError(f"{where}: `tasks` is not a list")
    for number, task in enumerate(tasks, 1):
        _check(task, f"{where}, task number {number}", statuses)
        name = f"{where}, task {key(task['id'])!r}"
        parts = task.get("subtasks")
        if parts is not None and not isinstance(parts, list):
            raise NotTasksError(f"{name}: `subtasks` is not a list")
        for part, one in enumerate(parts or (), 1):
            _check(one, f"{name}, subtask number {part}", statuses)
    return tasks


def _check(item: Any, where: str, statuses: Collection[str]) -> None:
    if not isinstance(item, dict):
        raise NotTasksError(f"{where}: is not an object")
    if not _is_id(item.get("id")):
        raise NotTasksError(f"{where}: `id` is neither a number nor a text")
    if not isinstance(item.get("title"), str):
        raise NotTasksError(f"{where}: `title` is not a text")
    status = item.setdefault("status", TaskStatus.PENDING.value)
    if not isinstance(status, str) or status not in statuses:
        raise NotTasksError(
            f"{where}: `status` is {status!r:.60}, which is none of {', '.join(sorted(statuses))}"
        )
    needs = item.get("dependencies")
    if needs is not None and not (isinstance(needs, list) and all(map(_is_id, needs))):
        raise NotTasksError(f"{where}: `dependencies` is not a list of ids")
    for name in _TEXTS:
        if not isinstance(item.get(name, ""), str | None):
            raise NotTasksError(f"{where}: `{name}` is not a text")
    metadata = item.get("metadata", {})
    if not isinstance(metadata, dict | None):
        raise NotTasksError(f"{where}: `metadata` is not an object")
    if not isinstance((metadata or {}).get("ricochet", {}), dict):
        raise NotTasksError(f"{where}: `metadata.ricochet` is not an object")


def _is_id(value: Any) -> bool:
    if isinstance(value, str):
        return bool(value.strip())
    return isinstance(value, int) and not isinstance(value, bool)
