"""A task's result as a pull or merge request: one file on a branch of its own.

The branch follows from the task's link, so a repetition changes the same request.
"""

from pathlib import Path
from urllib.parse import quote

from ricochet_orchestrator.forges.links import exchanging, link_all, link_of
from ricochet_orchestrator.forges.port import Change, Forge, Request
from ricochet_orchestrator.tasks import task_file
from ricochet_orchestrator.tasks.book import find
from ricochet_orchestrator.tasks.running import result_path
from ricochet_orchestrator.tasks.views import line
from ricochet_protocol.errors import UsageError

MOST: int = 1024 * 1024
"""Bytes of a file that GitHub's API takes and gives back as one."""


def propose(
    project: Path,
    forge: Forge,
    ref: str,
    tag: str | None = None,
    path: str | None = None,
    base: str | None = None,
) -> Request:
    """Open a request with the result of a task, or change the one there is; UsageError without a
    result."""
    with exchanging(project) as (file, keep):
        links = file.of(forge.address, forge.repository)
        with task_file.changing(project) as book:
            name = book.current if tag is None else tag
            place = find(book.tasks(name), ref)
            if place.parent is not None:
                raise UsageError(
                    "subtask_alone", f"{place.ref} is a subtask.", "Give its task's id."
                )
            link_all(book, name, frozenset({place.ref}), links)
        content = _result(project, name, place.ref)
        link = link_of(place.item)
        assert link is not None
        known = links.get(link)
        title = line(place.item["title"], 200)
        closes = f"\n\nCloses #{known.number}" if known is not None and known.number else ""
        change = Change(
            branch=f"ricochet/task-{link}",
            path=_path(path or f"ricochet/{quote(name, safe='')}-{quote(place.ref, safe='')}.md"),
            content=content,
            title=f"{place.ref}: {title}",
            body=f"The result of task {place.ref}, made by models on the Ricochet network: read it "
            f"before you merge it.{closes}",
        )
        made = forge.propose(change, base)
        if known is not None:
            known.request = made.number
            keep()
    return made


def _result(project: Path, tag: str, ref: str) -> str:
    file = project / result_path(tag, ref)
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        raise UsageError(
            "no_result", f"Task {ref} has no result yet.", f"Make one: ricochet tasks run {ref}"
        ) from None
    if len(data) > MOST:
        raise UsageError(
            "result_too_large",
            f"{file} has {len(data):,} bytes, of at most {MOST:,}.",
            "Put it into the repository yourself.",
        )
    return data.decode("utf-8", "replace")


def _path(text: str) -> str:
    parts = text.split("/")
    if not text.isprintable() or any(part in ("", ".", "..") for part in parts) or ".git" in parts:
        raise UsageError(
            "bad_path", f"{text[:100]!r} is no path in a repository", "Such as docs/3.md."
        )
    return text
