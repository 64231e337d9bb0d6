"""Models rate tasks, break them into subtasks, and find tasks in documents.

An answer has passed its schema before it gets here, and is checked once more as tasks: what would
be a circle is refused. A file changes only by what there is in full; tasks that were deleted while
models worked are left alone. The report has Task Master's form.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from ricochet_orchestrator.answer_schema import unfenced
from ricochet_orchestrator.app import Options, RunResult, Task
from ricochet_orchestrator.document import Document
from ricochet_orchestrator.placing import place
from ricochet_orchestrator.tasks import task_file
from ricochet_orchestrator.tasks.asking import (
    AskingError,
    Runner,
    ask,
    ask_each,
    chain_for,
    described,
    document_for,
)
from ricochet_orchestrator.tasks.book import Item, Place, find, key, places, subtasks
from ricochet_orchestrator.tasks.dependencies import cycle_in
from ricochet_orchestrator.tasks.editing import stamp
from ricochet_orchestrator.tasks.status import TaskStatus
from ricochet_protocol.errors import UsageError
from ricochet_protocol.money import Units

REPORTS: Final = Path(".taskmaster/reports")
THRESHOLD: Final = 5
"""From this score on a task should be broken down, as in Task Master."""
_RATING: Final = "task-complexity"
_ENDED: Final = frozenset({TaskStatus.COMPLETED, TaskStatus.CANCELLED})


class Done(msgspec.Struct, frozen=True):
    """What became of it: by task what changed, by task what went wrong; tokens and cost."""

    changed: dict[str, Any]
    failed: dict[str, str]
    calls: int
    tokens_in: int
    tokens_out: int
    cost: Units


def report_file(project: Path, tag: str) -> Path:
    """Where Task Master looks for a tag's complexity report."""
    suffix = "" if tag == "master" else f"_{tag}"
    return project / REPORTS / f"task-complexity-report{suffix}.json"


async def analyze(
    project: Path,
    home: Path,
    run: Runner,
    now: float,
    tag: str | None = None,
    refs: Sequence[str] = (),
    cap: Units | None = None,
) -> Done:
    """Rate tasks that are not ended (or those named); write the report and each task's fields."""
    book = task_file.load(project)
    tasks, name = book.tasks(tag), tag or book.current
    chosen = _chosen(tasks, refs)
    result, replies = await ask_each(home, chain_for(_RATING), _texts(chosen), cap, run)
    found: dict[str, Any] = {}
    failed: dict[str, str] = {}
    for one, reply in zip(chosen, replies, strict=True):
        if reply.text is None:
            failed[one.ref] = reply.failure
        else:
            found[one.ref] = _entry(one, json.loads(unfenced(reply.text)))
    if found:
        with task_file.changing(project) as held:
            for current in places(held.tasks(name)):
                if current.parent is None and current.ref in found:
                    _rate(current.item, found[current.ref], now)
        _report(report_file(project, name), found, len(tasks), now)
    return _done(found, failed, result)


def analysis(project: Path, tag: str, refs: Sequence[str], cap: Units | None) -> Task:
    """The run that `analyze` makes for the same tasks, for whoever wants its id beforehand."""
    chosen = _chosen(task_file.load(project).tasks(tag), refs)
    document = document_for(_texts(chosen))
    return Task(document, chain_for(_RATING), Options(max_cost=cap))


def _texts(chosen: Sequence[Place]) -> list[tuple[str, str]]:
    return [(one.ref, described(one)) for one in chosen]


def _entry(place: Place, said: Item) -> Item:
    identifier = place.item["id"]
    return {
        "taskId": identifier,
        "taskTitle": place.item["title"],
        "complexityScore": said["score"],
        "recommendedSubtasks": said["subtasks"],
        "expansionPrompt": said["prompt"],
        "reasoning": said["reasoning"],
    }


def _rate(item: Item, entry: Item, now: float) -> None:
    item["complexity"] = entry["complexityScore"]
    item["recommendedSubtasks"] = entry["recommendedSubtasks"]
    item["expansionPrompt"] = entry["expansionPrompt"]
    item["updatedAt"] = stamp(now)


def _report(path: Path, found: dict[str, Item], total: int, now: float) -> None:
    """Write the report; entries of tasks that were not rated now stay."""
    known: Any = {}
    if path.exists():
        known = task_file.read_json(path)
    old = known.get("complexityAnalysis", []) if isinstance(known, dict) else []
    kept = [one for one in old if isinstance(one, dict) and key(one.get("taskId", "")) not in found]
    analysis = [*kept, *found.values()]
    meta = known.get("meta") if isinstance(known, dict) else None
    report = {
        "meta": {
            "projectName": path.parent.parent.parent.name,
            **(meta if isinstance(meta, dict) else {}),
            "generatedAt": stamp(now),
            "tasksAnalyzed": len(found),
            "totalTasks": total,
            "analysisCount": len(analysis),
            "thresholdScore": THRESHOLD,
            "usedResearch": False,
        },
        "complexityAnalysis": analysis,
    }
    place(path, task_file.json_bytes(report))


async def expand(
    project: Path,
    home: Path,
    run: Runner,
    now: float,
    tag: str | None = None,
    refs: Sequence[str] = (),
    count: int | None = None,
    replace: bool = False,
    cap: Units | None = None,
) -> Done:
    """Break tasks into subtasks: those named, or all rated at the threshold that have none.

    `replace` lets the new subtasks take the place of old ones; else they follow them.
    """
    book = task_file.load(project)
    tasks, name = book.tasks(tag), tag or book.current
    chosen = _chosen(tasks, refs)
    if not refs:
        chosen = [one for one in chosen if not subtasks(one.item) and _rated(one.item) >= THRESHOLD]
    if not chosen:
        raise UsageError(
            "nothing_to_expand",
            f"No task without subtasks is rated {THRESHOLD} or above.",
            "Name tasks, or first: ricochet tasks analyze-complexity",
        )
    texts = [(one.ref, _to_expand(one, count)) for one in chosen]
    result, replies = await ask_each(home, chain_for("task-expansion"), texts, cap, run)
    changed: dict[str, Any] = {}
    failed: dict[str, str] = {}
    with task_file.changing(project) as held:
        current = {one.ref: one for one in places(held.tasks(name))}
        for one, reply in zip(chosen, replies, strict=True):
            if reply.text is None:
                failed[one.ref] = reply.failure
                continue
            parts = json.loads(unfenced(reply.text))["subtasks"]
            if circle := _circle(parts):
                failed[one.ref] = f"its subtasks would wait for each other: {circle}"
            elif one.ref not in current:
                failed[one.ref] = "it was deleted meanwhile"
            else:
                item = current[one.ref].item
                changed[one.ref] = _take(item, parts, replace, now)
    return _done(changed, failed, result)


def _rated(item: Item) -> float:
    score = item.get("complexity")
    return score if isinstance(score, int | float) else 0


def _to_expand(place: Place, count: int | None) -> str:
    wanted = count or place.item.get("recommendedSubtasks")
    lines = [described(place)]
    if place.item.get("expansionPrompt"):
        lines.append(str(place.item["expansionPrompt"]))
    if wanted:
        lines.append(f"Number of subtasks: {wanted}.")
    return "\n\n".join(lines)


def _circle(parts: Sequence[Item]) -> str:
    """A circle among numbered items; dependencies on numbers that are none say nothing."""
    graph = {str(n): tuple(map(str, one["dependencies"])) for n, one in enumerate(parts, 1)}
    return " → ".join(cycle_in(graph))


def _take(task: Item, parts: Sequence[Item], replace: bool, now: float) -> list[int]:
    before = [] if replace else subtasks(task)
    first = max((int(text) for one in before if (text := key(one["id"])).isdecimal()), default=0)
    new = [
        {
            "id": first + number,
            "title": one["title"],
            "description": one["description"].strip() or one["title"],
            "details": one["details"],
            "testStrategy": one.get("testStrategy", ""),
            "status": TaskStatus.PENDING.value,
            "dependencies": _earlier(one, len(parts), first),
        }
        for number, one in enumerate(parts, 1)
    ]
    task["subtasks"] = [*before, *new]
    task["updatedAt"] = stamp(now)
    return [first + number for number in range(1, len(parts) + 1)]


def _earlier(one: Item, count: int, first: int) -> list[int]:
    return sorted({first + number for number in one["dependencies"] if number <= count})


async def parse(
    project: Path,
    home: Path,
    run: Runner,
    now: float,
    document: Document,
    tag: str | None = None,
    cap: Units | None = None,
) -> Done:
    """Add the tasks that a document asks for, section by section, all sections or none.

    A title that occurs again, in the document or among the tasks there are, is the same task.
    """
    name = tag or task_file.load(project).current
    task_file.load(project).tasks(name)
    result, replies = await ask(home, chain_for("task-parse"), document, cap, run)
    missing = [
        f"section {n}: {one.failure}" for n, one in enumerate(replies, 1) if one.text is None
    ]
    if missing or not replies:
        raise AskingError(
            "parse_incomplete",
            f"No usable answer for {len(missing)} of {len(replies)} sections ({missing[:1]}).",
            "Nothing was added. Run the same command again: good answers are kept and not paid "
            "twice; or give the role research a better model.",
        )
    added: dict[str, Any] = {}
    with task_file.changing(project) as held:
        tasks = held.tasks(name)
        for reply in replies:
            _add_section(tasks, json.loads(unfenced(reply.text or ""))["tasks"], added, now)
    return _done(added, {}, result)


def _add_section(tasks: list[Item], found: list[Item], added: dict[str, Any], now: float) -> None:
    by_title = {_same(one["title"]): one for one in tasks}
    items: list[Item] = []
    for one in found:
        item = by_title.get(_same(one["title"]))
        if item is None:
            numbers = [int(text) for t in tasks if (text := key(t["id"])).isdecimal()]
            item = {
                "id": max(numbers, default=0) + 1,
                "title": one["title"],
                "description": one["description"].strip() or one["title"],
                "status": TaskStatus.PENDING.value,
                "dependencies": [],
                "priority": one["priority"],
                "details": one["details"],
                "testStrategy": one.get("testStrategy", ""),
                "subtasks": [],
            }
            tasks.append(item)
            by_title[_same(one["title"])] = item
            added[key(item["id"])] = one["title"]
        items.append(item)
    for one, item in zip(found, items, strict=True):
        if key(item["id"]) in added and not item["dependencies"]:
            earlier = [items[n - 1]["id"] for n in one["dependencies"] if n <= len(items)]
            # Only on what came before: no circle can come of that, whatever a model says.
            order = [id(task) for task in tasks]
            mine = order.index(id(item))
            ids = {key(task["id"]): n for n, task in enumerate(tasks)}
            item["dependencies"] = [e for e in dict.fromkeys(earlier) if ids[key(e)] < mine]


def _same(title: str) -> str:
    return " ".join(title.casefold().split())


def _chosen(tasks: list[Item], refs: Sequence[str]) -> list[Place]:
    """The tasks named, or all that are not ended; UsageError for a subtask or none."""
    chosen = [find(tasks, ref) for ref in dict.fromkeys(refs)]
    for one in chosen:
        if one.parent is not None:
            raise UsageError(
                "not_a_task", f"{one.ref} is a subtask.", "Give the id of a whole task."
            )
    if not refs:
        chosen = [one for one in places(tasks) if one.parent is None and one.status not in _ENDED]
    if not chosen:
        raise UsageError("no_tasks", "There is no open task.", "Add one: ricochet tasks add TITLE")
    return chosen


def _done(changed: dict[str, Any], failed: dict[str, str], result: RunResult) -> Done:
    return Done(changed, failed, result.calls, result.tokens_in, result.tokens_out, result.cost)
