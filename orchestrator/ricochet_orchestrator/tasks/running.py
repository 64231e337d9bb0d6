"""`tasks run`: ready tasks go to models by role, round after round, until none is ready.

What is worked on are leaves: subtasks, and tasks without any; a task is completed with its last
subtask. A round is one run for each role and model over all that is ready, so peers share it; its
prompts hold the results that a task builds on. Who was stopped or killed runs it again: answers are
found by content, so none is paid twice. One process at a time runs a project's tasks.
"""

import hashlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import quote

import msgspec

from ricochet_orchestrator.checkpoint import RunStatus
from ricochet_orchestrator.placing import place
from ricochet_orchestrator.tasks import task_file
from ricochet_orchestrator.tasks.asking import Reply, Runner, ask_each, chain_for, described
from ricochet_orchestrator.tasks.book import Item, Place, find, key, places, subtasks
from ricochet_orchestrator.tasks.choosing import order
from ricochet_orchestrator.tasks.dependencies import needs_of, settle, unmet
from ricochet_orchestrator.tasks.editing import own, seen, stamp
from ricochet_orchestrator.tasks.status import TaskStatus
from ricochet_protocol.errors import BudgetError, ExitCode, UsageError
from ricochet_protocol.money import Units
from ricochet_settlement.file_lock import locked

RESULTS: Final = "results"
_TAKEN: Final = "taken"
"""Marks a task in `metadata.ricochet` that a `tasks run` works on."""


class Wanted(msgspec.Struct, frozen=True):
    """What to run: `refs` and no others, at most `limit`; `model` for all; `budget` in all."""

    tag: str | None = None
    refs: tuple[str, ...] = ()
    limit: int | None = None
    model: str | None = None
    budget: Units | None = None


class Outcome(msgspec.Struct, frozen=True):
    """What a `tasks run` came to; `failed` says why, `left` are tasks that still wait."""

    completed: tuple[str, ...]
    failed: dict[str, str]
    left: tuple[str, ...]
    calls: int
    cost: Units
    stopped: str = ""

    @property
    def exit_code(self) -> ExitCode:
        """What the command ends with."""
        if self.stopped == "budget":
            return ExitCode.BUDGET
        if self.stopped:
            return ExitCode.INTERRUPTED
        return ExitCode.PARTIAL if self.failed else ExitCode.OK


class _Sum:
    """What has become of things so far."""

    def __init__(self) -> None:
        self.completed: list[str] = []
        self.failed: dict[str, str] = {}
        self.calls = 0
        self.cost = 0
        self.stopped = ""

    @property
    def count(self) -> int:
        return len(self.completed) + len(self.failed)


async def run_tasks(
    project: Path,
    home: Path,
    run: Runner,
    wanted: Wanted,
    clock: Callable[[], float] = time.time,
) -> Outcome:
    """Work until no wanted task is ready, or the budget is used up. Any RicochetError.

    LocalFault `file_busy` when another process runs this project's tasks.
    """
    tag = wanted.tag or task_file.load(project).current
    done = _Sum()
    with locked(project / task_file.FOLDER / "tasks.run", wait=0):
        _release(project, tag)
        try:
            while not done.stopped and (group := _taken(project, tag, wanted, done, clock())):
                await _round(project, home, tag, group, wanted, done, run, clock)
        finally:
            _release(project, tag)
    tasks = task_file.load(project).tasks(tag)
    left = [p.ref for p in _leaves(tasks, wanted.refs) if p.status.value in ("pending", "ready")]
    return Outcome(
        tuple(done.completed), done.failed, tuple(left), done.calls, Units(done.cost), done.stopped
    )


def _release(project: Path, tag: str) -> None:
    """Give back what a run took and did not finish."""
    with task_file.changing(project) as book:
        for one in places(book.tasks(tag)):
            if seen(one.item).get(_TAKEN):
                del own(one.item)[_TAKEN]
                if one.status is TaskStatus.RUNNING:
                    one.item["status"] = TaskStatus.PENDING.value


def _leaves(tasks: list[Item], refs: Sequence[str]) -> list[Place]:
    """What is worked on: of the items named, or of all."""
    roots = {find(tasks, ref).ref for ref in refs}
    return [
        one
        for one in places(tasks)
        if (one.parent is not None or not subtasks(one.item))
        and (not roots or one.ref in roots or _parent_ref(one) in roots)
    ]


def _parent_ref(place: Place) -> str:
    return "" if place.parent is None else key(place.parent["id"])


def _taken(project: Path, tag: str, wanted: Wanted, done: _Sum, now: float) -> list[Place]:
    """Mark the next group, all of one role and model, as running."""
    with task_file.changing(project) as book:
        tasks = book.tasks(tag)
        settle(tasks)
        waits = unmet(tasks)
        able = [
            one
            for one in _leaves(tasks, wanted.refs)
            if one.status is TaskStatus.READY
            and not waits.get(_parent_ref(one))
            and (one.parent is None or one.parent["status"] in _OPEN)
        ]
        able.sort(key=order)
        if wanted.limit is not None:
            able = able[: max(0, wanted.limit - done.count)]
        group = [one for one in able if _who(one, wanted) == _who(able[0], wanted)]
        for one in group:
            one.item["status"] = TaskStatus.RUNNING.value
            own(one.item).update({_TAKEN: True, "started_at": stamp(now)})
            own(one.item).pop("failure", None)
    return group


_OPEN: Final = frozenset({"pending", "ready", "running"})


def _who(place: Place, wanted: Wanted) -> tuple[str, str | None]:
    kept = seen(place.item)
    inherited = seen(place.parent) if place.parent is not None else {}
    role = kept.get("role") or inherited.get("role") or "main"
    model = wanted.model or kept.get("wanted_model") or inherited.get("wanted_model")
    return str(role), None if model is None else str(model)


async def _round(
    project: Path,
    home: Path,
    tag: str,
    group: list[Place],
    wanted: Wanted,
    done: _Sum,
    run: Runner,
    clock: Callable[[], float],
) -> None:
    chain = chain_for("task-work", *_who(group[0], wanted))
    tasks = task_file.load(project).tasks(tag)
    texts = [(one.ref, _prompt(project, tag, tasks, one)) for one in group]
    cap = None if wanted.budget is None else Units(wanted.budget - done.cost)
    if cap is not None and cap <= 0:
        done.stopped = "budget"
        return
    try:
        result, replies = await ask_each(home, chain, texts, cap, run)
    except UsageError as error:
        if error.code != "window_too_small":
            raise
        # One text that no window holds must not keep the others from being done.
        if len(group) > 1:
            for one in group:
                if not done.stopped:
                    await _round(project, home, tag, [one], wanted, done, run, clock)
            return
        _settle(project, tag, group, [Reply(None, error.message)], done, clock())
        return
    except BudgetError:
        if wanted.budget is None or not done.count:
            raise
        done.stopped = "budget"
        return
    done.calls += result.calls
    done.cost += result.cost
    if result.status is not RunStatus.COMPLETED and result.status is not RunStatus.PARTIAL:
        done.stopped = result.status.value
    ended = [
        (one, reply)
        for one, reply in zip(group, replies, strict=True)
        if reply.text is not None or not done.stopped
    ]
    _settle(project, tag, [one for one, _ in ended], [reply for _, reply in ended], done, clock())


def _prompt(project: Path, tag: str, tasks: list[Item], place: Place) -> str:
    """A task with the results it builds on.

    Where a result is follows from the task: a file named in an imported task is never read, since
    what a prompt holds leaves the machine.
    """
    text = described(place)
    known = {one.ref: one for one in places(tasks)}
    for ref in needs_of(place):
        file = project / result_path(tag, ref)
        if ref in known and seen(known[ref].item).get("result") and file.is_file():
            text += f"\n\nResult of task {ref}, {known[ref].item['title']}:\n\n"
            text += file.read_text("utf-8", "replace")
    return text


def _settle(
    project: Path,
    tag: str,
    group: Sequence[Place],
    replies: Sequence[Reply],
    done: _Sum,
    now: float,
) -> None:
    """Store results and move statuses; a task that was deleted meanwhile keeps its result file."""
    for one, reply in zip(group, replies, strict=True):
        if reply.text is not None:
            place(project / result_path(tag, one.ref), reply.text.encode() + b"\n")
    with task_file.changing(project) as book:
        tasks = book.tasks(tag)
        known = {one.ref: one for one in places(tasks)}
        for one, reply in zip(group, replies, strict=True):
            if one.ref in known:
                _enter(known[one.ref].item, tag, one.ref, reply, now)
            if reply.text is None:
                done.failed[one.ref] = reply.failure
            else:
                done.completed.append(one.ref)
        for task in tasks:
            inside = {part["status"] for part in subtasks(task)}
            if task["status"] in _OPEN and inside and inside <= {"completed", "cancelled"}:
                task["status"] = TaskStatus.COMPLETED.value
                task["updatedAt"] = stamp(now)


def _enter(item: Item, tag: str, ref: str, reply: Reply, now: float) -> None:
    kept = own(item)
    kept.pop(_TAKEN, None)
    item["updatedAt"] = stamp(now)
    if reply.text is None:
        item["status"] = TaskStatus.FAILED.value
        kept["failure"] = reply.failure
        return
    item["status"] = TaskStatus.COMPLETED.value
    kept |= {
        "model": reply.model,
        "result": str(result_path(tag, ref)),
        "completed_at": stamp(now),
        "metrics": {
            "tokens_input": reply.tokens_in,
            "tokens_output": reply.tokens_out,
            "duration_ms": reply.duration_ms,
            "cost": reply.cost,
            "cut": reply.cut,
        },
    }


def result_path(tag: str, ref: str) -> Path:
    """Where a result is, from the project on; ids and tags are anybody's, so they are quoted."""
    return Path(task_file.FOLDER) / RESULTS / _file_name(tag) / f"{_file_name(ref)}.md"


def _file_name(text: str) -> str:
    """A name of one file, of at most 100 characters, different for different texts."""
    name = quote(text.encode("utf-8", "surrogatepass"), safe="")
    if len(name) > 100:
        digest = hashlib.sha256(name.encode()).hexdigest()[:16]
        name = f"{name[:80]}-{digest}"
    return "%2E" + name[1:] if name.startswith(".") else name
