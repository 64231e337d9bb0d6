"""Push and pull: tasks of a tag against issues of a repository, by what changed on which side.

What changed on one side goes over to the other. What changed on both is a conflict: it is named and
left alone, unless `prefer` settles it. Links are on disk before and after each call that makes or
changes an issue, so a cut costs at most the one comparison. Subtasks travel in their task's issue.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from ricochet_orchestrator.forges import rendering
from ricochet_orchestrator.forges.links import (
    Link,
    LinkFile,
    digest,
    exchanging,
    link_all,
    link_of,
)
from ricochet_orchestrator.forges.port import Forge, Issue, Text
from ricochet_orchestrator.tasks import task_file
from ricochet_orchestrator.tasks.book import Book, Item, find, key, next_id
from ricochet_orchestrator.tasks.editing import own
from ricochet_protocol.errors import ExitCode, RicochetError, UsageError

Prefer = Literal["ours", "theirs"]


class Told(msgspec.Struct):
    """What a push or pull did, by task; `why` says what stands against those that were left."""

    repository: str
    created: list[str] = []
    updated: list[str] = []
    same: list[str] = []
    conflicts: list[str] = []
    left: dict[str, str] = {}
    urls: dict[str, str] = {}

    @property
    def exit_code(self) -> ExitCode:
        """Partial when a task was left as it is."""
        return ExitCode.PARTIAL if self.conflicts or self.left else ExitCode.OK


class _Work(msgspec.Struct):
    """One exchange under way."""

    project: Path
    forge: Forge
    tag: str
    links: dict[str, Link]
    keep: Callable[[], None]
    prefer: Prefer | None
    told: Told

    def text(self, ref: str, item: Item, link: str) -> Text:
        return rendering.text_of(ref, item, link, tells_cancelled=self.forge.tells_cancelled)


def push(
    project: Path,
    forge: Forge,
    tag: str | None = None,
    refs: Sequence[str] = (),
    prefer: Prefer | None = None,
) -> Told:
    """Make and change issues as tasks say; RicochetError of the forge, what was done is kept."""
    with exchanging(project) as (file, keep):
        work = _begun(project, forge, tag, refs, prefer, file, keep)
        for ref, item, link in _wanted(task_file.load(project), work.tag, refs):
            _push_one(work, ref, item, link)
    return work.told


def pull(
    project: Path,
    forge: Forge,
    tag: str | None = None,
    prefer: Prefer | None = None,
    *,
    new: bool = False,
) -> Told:
    """Change tasks as their issues say; `new`: open issues without a task become tasks."""
    with exchanging(project) as (file, keep):
        work = _begun(project, forge, tag, None, prefer, file, keep)
        book = task_file.load(project)
        for ref, item, link in _wanted(book, work.tag, ()):
            if link in work.links and work.links[link].number:
                _pull_one(work, ref, item, link)
        if new:
            _pull_new(work)
    return work.told


def _begun(
    project: Path,
    forge: Forge,
    tag: str | None,
    refs: Sequence[str] | None,
    prefer: Prefer | None,
    file: LinkFile,
    keep: Callable[[], None],
) -> _Work:
    """Links for what is to be pushed (`refs` None: for nothing), before the first call."""
    links = file.of(forge.address, forge.repository)
    with task_file.changing(project) as book:
        name = book.current if tag is None else tag
        tasks = book.tasks(name)
        chosen = frozenset(_task(tasks, ref) for ref in refs or ())
        if refs is not None:
            link_all(book, name, chosen or None, links)
        for item in tasks:
            known = links.get(link_of(item) or "")
            if known is not None:
                known.tag = name
    file.last[forge.name] = forge.repository
    keep()
    return _Work(project, forge, name, links, keep, prefer, Told(forge.repository))


def _task(tasks: list[Item], ref: str) -> str:
    place = find(tasks, ref)
    if place.parent is not None:
        raise UsageError(
            "subtask_alone", f"{place.ref} is a subtask.", "It goes with its task: give that id."
        )
    return place.ref


def _wanted(book: Book, tag: str, refs: Sequence[str]) -> list[tuple[str, Item, str]]:
    chosen = {_task(book.tasks(tag), ref) for ref in refs}
    found = []
    for item in book.tasks(tag):
        ref, link = key(item["id"]), link_of(item)
        if link is not None and (not chosen or ref in chosen):
            found.append((ref, item, link))
    return found


def _push_one(work: _Work, ref: str, item: Item, link: str) -> None:
    wanted, known = work.text(ref, item, link), work.links.get(link)
    if len(wanted.body) > work.forge.most_characters:
        work.told.left[ref] = (
            f"its text has {len(wanted.body):,} characters, of at most "
            f"{work.forge.most_characters:,} there; move some into files"
        )
        return
    if known is None or not known.number:
        _create(work, ref, link, wanted, known)
        return
    if known.here == digest(wanted):
        work.told.same.append(ref)
        return
    there = work.forge.get(known.number)
    if there is None:
        if work.prefer == "ours":
            _create(work, ref, link, wanted, None)
        else:
            work.told.left[ref] = f"issue #{known.number} is gone; --ours makes another"
        return
    if digest(there.text) not in (known.there, digest(wanted)) and work.prefer != "ours":
        _conflict(work, ref, there)
        return
    done = there if there.text == wanted else work.forge.update(known.number, wanted)
    _agree(work, link, wanted, done)
    work.told.updated.append(ref)
    work.told.urls[ref] = done.url


def _create(work: _Work, ref: str, link: str, wanted: Text, known: Link | None) -> None:
    made: Issue | None = None
    if known is not None:  # begun before, and its answer never came
        mark = rendering.link_mark(link)
        made = next((i for i in work.forge.issues(closed_too=True) if mark in i.text.body), None)
    else:
        work.links[link] = Link(work.tag)
        work.keep()
    if made is None:
        made = work.forge.create(wanted)
    elif made.text != wanted:
        made = work.forge.update(made.number, wanted)
    _agree(work, link, wanted, made)
    work.told.created.append(ref)
    work.told.urls[ref] = made.url


def _pull_one(work: _Work, ref: str, item: Item, link: str) -> None:
    known = work.links[link]
    there = work.forge.get(known.number)
    if there is None:
        work.told.left[ref] = f"issue #{known.number} is gone; the task stays as it is"
        return
    if digest(there.text) == known.there:
        work.told.same.append(ref)
        return
    here = work.text(ref, item, link)
    if digest(here) not in (known.here, digest(there.text)) and work.prefer != "theirs":
        _conflict(work, ref, there)
        return
    try:
        with task_file.changing(work.project) as book:
            now = next((t for t in book.tasks(work.tag) if link_of(t) == link), None)
            if now is None or work.text(ref, now, link) != here:
                work.told.left[ref] = "it was changed here meanwhile; run the same command again"
                return
            rendering.apply(
                now, there.text, time.time(), tells_cancelled=work.forge.tells_cancelled
            )
            agreed = work.text(ref, now, link)
    except UsageError as error:  # of what the issue says, such as a title of blanks
        work.told.left[ref] = error.message
        return
    _agree(work, link, agreed, there)
    work.told.updated.append(ref)
    work.told.urls[ref] = there.url


def _pull_new(work: _Work) -> None:
    linked = {one.number for one in work.links.values()}
    for issue in work.forge.issues(closed_too=False):
        if issue.number in linked:
            continue
        try:
            with task_file.changing(work.project) as book:
                tasks = book.tasks(work.tag)
                item = rendering.new_item(issue.text, next_id(tasks))
                rendering.apply(
                    item, issue.text, time.time(), tells_cancelled=work.forge.tells_cancelled
                )
                tasks.append(item)
                link_all(book, work.tag, frozenset({key(item["id"])}), work.links)
        except RicochetError as error:
            work.told.left[f"#{issue.number}"] = error.message
            continue
        ref, link = key(item["id"]), own(item)["link"]
        work.links[link] = Link(work.tag, issue.number)
        _agree(work, link, work.text(ref, item, link), issue)
        work.told.created.append(ref)
        work.told.urls[ref] = issue.url


def _conflict(work: _Work, ref: str, there: Issue) -> None:
    work.told.conflicts.append(ref)
    work.told.urls[ref] = there.url


def _agree(work: _Work, link: str, here: Text, there: Issue) -> None:
    entry = work.links[link]
    entry.number, entry.url = there.number, there.url
    entry.here, entry.there = digest(here), digest(there.text)
    work.keep()
