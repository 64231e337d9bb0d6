"""A project's tasks on disk, `.ricochet/tasks.json`: read in full or refused, changed under a lock.

A change holds the lock from reading to replacing, so two processes at once lose nothing, and the
file takes its place in one step, so it is never half written. What cannot be read is never written
over. At every write it is worked out anew which waiting tasks are ready.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from ricochet_orchestrator.placing import place
from ricochet_orchestrator.tasks.book import Book, Item, NotTasksError, checked
from ricochet_orchestrator.tasks.dependencies import settle
from ricochet_protocol.errors import UsageError
from ricochet_protocol.nesting import is_nested_beyond
from ricochet_settlement.file_lock import locked

FOLDER: Final = ".ricochet"
FILE: Final = "tasks.json"
VERSION: Final = 1
MAX_DEPTH: Final = 128
"""A task file needs six levels; metadata may bring its own."""
MIB: Final = 1024 * 1024
MAX_FILE: Final = 64 * MIB
"""Ten thousand tasks of ordinary size have a tenth of that. No more is written than is read."""


def path_of(project: Path) -> Path:
    """Where a project's tasks are."""
    return project / FOLDER / FILE


def load(project: Path) -> Book:
    """The tasks of a project, none for one without a file; UsageError `tasks_invalid`."""
    path = path_of(project)
    try:
        tree = read_json(path)
    except FileNotFoundError:
        return Book()
    try:
        return _book(tree)
    except NotTasksError as error:
        raise invalid(path, str(error)) from None


@contextmanager
def changing(project: Path) -> Iterator[Book]:
    """The tasks of a project, to be changed; written at the end unless an error is raised."""
    path = path_of(project)
    with locked(path):
        book = load(project)
        before = _written(book)
        yield book
        for tag in book.tags.values():
            settle(tag["tasks"])
        after = _written(book)
        if len(after) > MAX_FILE:
            raise UsageError(
                "tasks_too_large",
                f"{path} would be larger than {MAX_FILE // MIB} MiB.",
                "Nothing was changed. Keep long texts in files, and name those in the task.",
            )
        if after != before:
            place(path, after)


def _book(tree: Any) -> Book:
    if not isinstance(tree, dict) or tree.get("version") != VERSION:
        raise NotTasksError(f"is not a task file of version {VERSION}")
    known = {"version", "current", "tags", "exchanged", "extra"}
    if unknown := sorted(set(tree) - known):
        raise NotTasksError(f"has the unknown field {unknown[0]!r:.60}")
    tags, current = tree.get("tags"), tree.get("current")
    if not (isinstance(tags, dict) and isinstance(current, str) and current in tags):
        raise NotTasksError("`current` is none of its `tags`")
    for name, tag in tags.items():
        if not isinstance(tag, dict):
            raise NotTasksError(f"tag {name!r:.60}: is not an object")
        checked(tag.get("tasks"), f"tag {name!r:.60}")
        if not isinstance(tag.setdefault("metadata", {}), dict):
            raise NotTasksError(f"tag {name!r:.60}: `metadata` is not an object")
    exchanged, extra = tree.get("exchanged", {}), tree.get("extra", {})
    if not (isinstance(exchanged, dict) and isinstance(extra, dict)):
        raise NotTasksError("`exchanged` and `extra` are objects")
    return Book(current, tags, exchanged, extra)


def _written(book: Book) -> bytes:
    return json_bytes(
        {
            "version": VERSION,
            "current": book.current,
            "tags": book.tags,
            "exchanged": book.exchanged,
            "extra": book.extra,
        }
    )


def read_json(path: Path) -> Any:
    """What a JSON file holds; FileNotFoundError, UsageError `tasks_invalid`."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise invalid(path, f"cannot be read: {error.strerror}") from None
    if len(data) > MAX_FILE:
        raise invalid(path, f"is larger than {MAX_FILE // MIB} MiB")
    try:
        text = data.decode("utf-8-sig")
        if is_nested_beyond(text, MAX_DEPTH):
            raise invalid(path, "is nested too deeply")
        return json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)
    except ValueError as error:
        # A JSONDecodeError says where; a half-written file ends in the middle.
        raise invalid(path, f"is not whole JSON: {error}") from None


def json_bytes(tree: Any) -> bytes:
    """A tree as a JSON file; text that UTF-8 has no bytes for (lone surrogates) stays escaped."""
    text = json.dumps(tree, indent=2, ensure_ascii=False)
    try:
        return text.encode() + b"\n"
    except UnicodeEncodeError:
        return json.dumps(tree, indent=2).encode() + b"\n"


def invalid(path: Path, problem: str) -> UsageError:
    """The error for a file that holds no tasks we can work with."""
    return UsageError(
        "tasks_invalid",
        f"{path}: {problem}.",
        "The file was left as it is: mend it, or move it away and import a copy.",
    )


def _once(pairs: list[tuple[str, Any]]) -> Item:
    item = dict(pairs)
    if len(item) < len(pairs):
        raise ValueError("an object has the same key twice")
    return item


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")
