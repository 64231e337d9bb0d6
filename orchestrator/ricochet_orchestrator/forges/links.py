"""Which issue a task is: `.ricochet/issues.json`, by forge, repository and the task's link.

An entry is written before its issue is made (`number` 0), so that an answer that never came makes
no second issue. `here` and `there` are digests of both sides as of their last agreement.
"""

import hashlib
import json
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from ricochet_orchestrator.forges.port import Text
from ricochet_orchestrator.placing import place
from ricochet_orchestrator.tasks.book import Book, Item, key
from ricochet_orchestrator.tasks.editing import own, seen
from ricochet_orchestrator.tasks.task_file import FOLDER
from ricochet_protocol.errors import UsageError
from ricochet_settlement.file_lock import locked

FILE: Final = "issues.json"
MAX_FILE: Final = 16 * 1024 * 1024
WAIT: Final = 5.0
"""Seconds: whoever exchanges holds the lock for as long as that takes, which may be minutes."""


class Link(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """One task's issue; `request` is the number of the request with its result."""

    tag: str
    number: int = 0
    here: str = ""
    there: str = ""
    url: str = ""
    request: int = 0


class Repository(msgspec.Struct, forbid_unknown_fields=True):
    """The links of one repository."""

    links: dict[str, Link] = {}


class LinkFile(msgspec.Struct, forbid_unknown_fields=True):
    """`last` is the repository that a forge's commands mean when they name none."""

    version: int = 1
    last: dict[str, str] = {}
    repositories: dict[str, Repository] = {}

    def __post_init__(self) -> None:
        if self.version != 1:
            raise ValueError("not version 1")

    def of(self, address: str, repository: str) -> dict[str, Link]:
        """The links of a repository, to be changed."""
        return self.repositories.setdefault(f"{address} {repository}", Repository()).links


def path_of(project: Path) -> Path:
    """Where a project's links are."""
    return project / FOLDER / FILE


def read(project: Path) -> LinkFile:
    """The links; UsageError `issues_invalid` for a file that cannot be used."""
    path = path_of(project)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
        if len(data) > MAX_FILE:
            raise ValueError(f"is larger than {MAX_FILE // 1024 // 1024} MiB")
        return msgspec.json.decode(data, type=LinkFile)
    except FileNotFoundError:
        return LinkFile()
    except OSError as error:
        raise _invalid(path, f"cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise _invalid(path, str(error)) from None


@contextmanager
def exchanging(project: Path) -> Iterator[tuple[LinkFile, Callable[[], None]]]:
    """The links under their lock, and what writes them down after each call that made something."""
    path = path_of(project)

    def keep() -> None:
        place(path, msgspec.json.format(msgspec.json.encode(file), indent=1) + b"\n")

    with locked(path, WAIT):
        file = read(project)
        yield file, keep


def digest(text: Text) -> str:
    """What tells two texts apart."""
    data = json.dumps([text.title, text.body, text.state]).encode()
    return hashlib.sha256(data).hexdigest()[:32]


def link_all(book: Book, tag: str, refs: frozenset[str] | None, links: dict[str, Link]) -> None:
    """Give the tasks of a tag links of their own, those of other tags' copies too."""
    elsewhere = {
        seen(item).get("link")
        for name, other in book.tags.items()
        if name != tag
        for item in other["tasks"]
    }
    taken: set[str] = set()
    for item in book.tasks(tag):
        link = link_of(item)
        if refs is not None and key(item["id"]) not in refs:
            continue
        known = links.get(link or "")
        copied = link in elsewhere and (known is None or known.tag != tag)
        if link is None or link in taken or copied:
            link = secrets.token_hex(8)
            own(item)["link"] = link
        taken.add(link)


def link_of(item: Item) -> str | None:
    """A task's link, None without one."""
    link = seen(item).get("link")
    return link if isinstance(link, str) and len(link) == 16 else None


def _invalid(path: Path, problem: str) -> UsageError:
    return UsageError(
        "issues_invalid",
        f"{path}: {problem}.",
        "The file was left as it is: mend it, or take it back from your version control.",
    )
