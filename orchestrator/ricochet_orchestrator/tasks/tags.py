"""Tags: named lists of tasks, of which one is the current one."""

import copy

from ricochet_orchestrator.tasks.book import Book, Item, empty_tag
from ricochet_protocol.errors import UsageError

MAX_NAME = 64


def add(book: Book, name: str, copy_of: str | None = None) -> None:
    """Make a tag, empty or with the tasks of another."""
    _refuse_taken(book, name)
    if copy_of is None:
        book.tags[name] = empty_tag()
    else:
        book.tasks(copy_of)
        book.tags[name] = copy.deepcopy(book.tags[copy_of])


def use(book: Book, name: str) -> None:
    """Make a tag the current one."""
    book.tasks(name)
    book.current = name


def delete(book: Book, name: str) -> int:
    """Delete a tag with its tasks; how many those were. The current one cannot be deleted."""
    tasks = book.tasks(name)
    if name == book.current:
        raise UsageError(
            "tag_in_use", f"{name!r} is the current tag.", "First: ricochet tasks tags use OTHER"
        )
    del book.tags[name]
    return len(tasks)


def rename(book: Book, name: str, other: str) -> None:
    """Give a tag another name, in its place."""
    book.tasks(name)
    _refuse_taken(book, other)
    book.tags = {other if one == name else one: tag for one, tag in book.tags.items()}
    if book.current == name:
        book.current = other


def described(book: Book) -> list[Item]:
    """Each tag with what it has."""
    return [
        {
            "name": name,
            "current": name == book.current,
            "tasks": len(tag["tasks"]),
            "completed": sum(one["status"] == "completed" for one in tag["tasks"]),
        }
        for name, tag in book.tags.items()
    ]


def _refuse_taken(book: Book, name: str) -> None:
    if name in book.tags:
        raise UsageError("tag_exists", f"There is a tag {name!r} already.", "Choose another name.")
    if not 0 < len(name) <= MAX_NAME or not name.isprintable() or name != name.strip():
        raise UsageError(
            "tag_invalid",
            "A tag's name is a printable text without spaces around it.",
            f"At most {MAX_NAME} characters.",
        )
