"""Exchange of tasks with Task Master's `tasks.json`, both ways, losing nothing of either side.

Both directions are one three-way merge by task: what it is here, what it is there, and what both
were when they last agreed, of which the native file keeps a digest. What changed on one side goes
over to the other; what changed on both is a conflict, told before anything is written. Keys that we
do not know stay in their task; every task of a Task Master file is read again by Task Master.

In its file our exact status stands in `metadata.ricochet.status`, where that table is there. It
counts on the way back only while it maps to the status beside it, which Task Master may have
changed.
"""

import copy
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from ricochet_orchestrator.placing import place
from ricochet_orchestrator.tasks import task_file
from ricochet_orchestrator.tasks.book import (
    DEFAULT_TAG,
    NATIVE,
    Item,
    NotTasksError,
    checked,
    empty_tag,
    key,
    subtasks,
)
from ricochet_orchestrator.tasks.status import FROM_TASKMASTER, TO_TASKMASTER, TaskStatus
from ricochet_protocol.errors import UsageError

FILE: Final = Path(".taskmaster/tasks/tasks.json")
Prefer = Literal["ours", "theirs"]
_WORD: Final = "taskmaster_status"
"""Where an item of ours keeps a word of Task Master's that has no twin."""
_Tags = dict[str, Item]


class Exchanged(msgspec.Struct, frozen=True):
    """What an import or export changed, as `TAG: ID`."""

    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]


class _Sides(msgspec.Struct, frozen=True):
    into: Item
    source: Item
    base: dict[str, str]
    favoured: Literal["into", "source"] | None


def import_tasks(project: Path, file: Path, prefer: Prefer | None = None) -> Exchanged:
    """Take Task Master's tasks over; UsageError for a file that is none, or conflicts."""
    theirs, extra = _read(file)
    favoured: Any = {"ours": "into", "theirs": "source", None: None}[prefer]
    with task_file.changing(project) as book:
        ours = {name: _outward(tag) for name, tag in book.tags.items()}
        base = book.exchanged.setdefault(_name(project, file), {})
        merged, told = _merged(ours, theirs, base, favoured)
        book.tags = {name: _inward(tag) for name, tag in merged.items()}
        book.extra = {**extra, **book.extra}
        _agree(base, merged, theirs)
    return told


def export_tasks(
    project: Path, file: Path, tag: str | None = None, prefer: Prefer | None = None
) -> Exchanged:
    """Write tasks (of one tag, or all) into Task Master's file, merged with what is in it."""
    favoured: Any = {"ours": "source", "theirs": "into", None: None}[prefer]
    with task_file.changing(project) as book:
        if tag is not None:
            book.tasks(tag)
        ours = {n: _outward(one) for n, one in book.tags.items() if tag in (None, n)}
        theirs, extra = _read(file) if file.exists() else ({}, {})
        base = book.exchanged.setdefault(_name(project, file), {})
        merged, told = _merged(theirs, ours, base, favoured)
        tree = {**book.extra, **extra, **merged}
        if not file.exists() or told != Exchanged((), (), ()):
            place(file.resolve(), task_file.json_bytes(tree))
        _agree(base, merged, ours)
    return told


def _read(file: Path) -> tuple[_Tags, Item]:
    """The tags of a Task Master file, and what else is in it; the old form without tags too."""
    try:
        tree = task_file.read_json(file)
    except FileNotFoundError:
        raise UsageError(
            "file_missing", f"{file} does not exist.", "Give Task Master's tasks.json."
        ) from None
    if not isinstance(tree, dict):
        raise task_file.invalid(file, "is not an object")
    if isinstance(tree.get("tasks"), list):
        inside = {name: tree[name] for name in ("tasks", "metadata") if name in tree}
        rest = {name: value for name, value in tree.items() if name not in inside}
        tags = {DEFAULT_TAG: inside}
    else:
        tags = {n: v for n, v in tree.items() if isinstance(v, dict) and "tasks" in v}
        rest = {name: value for name, value in tree.items() if name not in tags}
    if not tags:
        raise task_file.invalid(file, "has neither `tasks` nor a tag with them")
    try:
        for name, tag in tags.items():
            checked(tag["tasks"], f"tag {name!r:.60}", FROM_TASKMASTER.keys())
            _refuse_twins(tag["tasks"], name)
            if not isinstance(tag.setdefault("metadata", {}), dict):
                raise NotTasksError(f"tag {name!r:.60}: `metadata` is not an object")
    except NotTasksError as error:
        raise task_file.invalid(file, str(error)) from None
    return tags, rest


def _refuse_twins(tasks: list[Item], tag: str) -> None:
    for items in (tasks, *map(subtasks, tasks)):
        seen: set[str] = set()
        for item in items:
            if key(item["id"]) in seen:
                raise NotTasksError(f"tag {tag!r:.60}: the id {item['id']!r:.60} occurs twice")
            seen.add(key(item["id"]))


def _merged(
    into: _Tags,
    source: _Tags,
    base: dict[str, dict[str, str]],
    favoured: Literal["into", "source"] | None,
) -> tuple[_Tags, Exchanged]:
    """`into` with what `source` has of news; UsageError `tasks_conflict` with all conflicts."""
    merged: _Tags = {}
    told: dict[str, list[str]] = {"added": [], "changed": [], "removed": [], "conflict": []}
    for name in (*into, *(one for one in source if one not in into)):
        if name not in source:
            merged[name] = into[name]
            continue
        # A tag or a file that is gone was not emptied: what it had is put back.
        old = base.get(name, {}) if name in into else {}
        sides = _Sides(into.get(name, empty_tag()), source[name], old, favoured)
        merged[name], said = _merged_tag(sides)
        for what, ref in said:
            told[what].append(f"{name}: {ref}")
    if told["conflict"]:
        count = len(told["conflict"])
        raise UsageError(
            "tasks_conflict",
            f"Changed on both sides: {', '.join(told['conflict'][:8])}"
            + (f" and {count - 8} more." if count > 8 else "."),
            "Nothing was written. Add --ours or --theirs to say which side counts for these.",
        )
    return merged, Exchanged(*(tuple(told[one]) for one in ("added", "changed", "removed")))


def _merged_tag(sides: _Sides) -> tuple[Item, list[tuple[str, str]]]:
    """The tag as it becomes, and what becomes of which task."""
    into = {key(one["id"]): one for one in sides.into["tasks"]}
    source = {key(one["id"]): one for one in sides.source["tasks"]}
    tasks = []
    told: list[tuple[str, str]] = []
    for ref in (*into, *(one for one in source if one not in into)):
        mine, other = into.get(ref), source.get(ref)
        old = sides.base.get(ref)
        chosen = _chosen(mine, other, old, sides.favoured)
        if chosen == "conflict":
            told.append(("conflict", ref))
        elif chosen == "source":
            what = "added" if mine is None else "removed" if other is None else "changed"
            told.append((what, ref))
        item = other if chosen == "source" else mine
        if item is not None:
            tasks.append(item)
    metadata = {**sides.source.get("metadata", {}), **sides.into.get("metadata", {})}
    return {**sides.source, **sides.into, "tasks": tasks, "metadata": metadata}, told


def _chosen(mine: Item | None, other: Item | None, old: str | None, favoured: str | None) -> str:
    if _digest(mine) == _digest(other):
        return "into"
    if old is None and (mine is None or other is None):
        return "source" if mine is None else "into"
    if old is not None and _digest(mine) == old:
        return "source"
    if old is not None and _digest(other) == old:
        return "into"
    return favoured or "conflict"


def _agree(base: dict[str, dict[str, str]], result: _Tags, other: _Tags) -> None:
    """Remember what both sides have in common now."""
    for name in set(result) & set(other):
        known = base.setdefault(name, {})
        there = {key(one["id"]): one for one in other[name]["tasks"]}
        here = {key(one["id"]): one for one in result[name]["tasks"]}
        for ref in set(known) - set(here) - set(there):
            del known[ref]
        known |= {
            ref: _digest(one)
            for ref, one in here.items()
            if _digest(there.get(ref)) == _digest(one)
        }


def _digest(item: Item | None) -> str:
    """What stands for an item's content; "" for none."""
    if item is None:
        return ""
    text = json.dumps(_plain(item), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _plain(item: Item) -> Item:
    """An item without what is no change: Task Master writes ids as text or as numbers as it likes,
    and adds empty fields and parents; our exact status follows from the rest."""
    plain = {name: value for name, value in item.items() if value not in (None, "", [], {})}
    plain.pop("parentId", None)
    plain["id"] = key(item["id"])
    if "dependencies" in plain:
        plain["dependencies"] = [key(one) for one in plain["dependencies"]]
    if "subtasks" in plain:
        plain["subtasks"] = [_plain(one) for one in plain["subtasks"]]
    kept = (plain.get("metadata") or {}).get("ricochet")
    if kept is not None:
        rest = {name: value for name, value in kept.items() if name != "status"}
        plain["metadata"] = {**plain["metadata"], "ricochet": rest}
    return plain


def _name(project: Path, file: Path) -> str:
    """A file's name in `exchanged`: from the project on, if it is in it."""
    whole = file.absolute()
    root = project.absolute()
    return str(whole.relative_to(root) if whole.is_relative_to(root) else whole)


def _inward(tag: Item) -> Item:
    return _each(tag, _item_inward)


def _outward(tag: Item) -> Item:
    return _each(tag, _item_outward)


def _each(tag: Item, change: Callable[[Item], None]) -> Item:
    changed = copy.deepcopy(tag)
    for task in changed["tasks"]:
        change(task)
        for one in subtasks(task):
            change(one)
    return changed


def _item_inward(item: Item) -> None:
    word = item["status"]
    item["status"] = FROM_TASKMASTER[word].value
    if TO_TASKMASTER[FROM_TASKMASTER[word]] != word:
        item[_WORD] = word
    kept = (item.get("metadata") or {}).get("ricochet")
    exact = None if kept is None else kept.pop("status", None)
    if isinstance(exact, str) and exact in NATIVE and TO_TASKMASTER[TaskStatus(exact)] == word:
        item["status"] = exact


def _item_outward(item: Item) -> None:
    status = TaskStatus(item["status"])
    word = item.pop(_WORD, None)
    fits = FROM_TASKMASTER.get(word or "") is status
    item["status"] = word if fits else TO_TASKMASTER[status]
    kept = (item.get("metadata") or {}).get("ricochet")
    if kept is not None:
        kept["status"] = status.value
