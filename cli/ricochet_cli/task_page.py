"""How tasks look in a terminal: the table of `tasks list`, and one task as a page.

Labels are told in the reader's language. Statuses, priorities and roles stay as they are in the
file, since that is how commands take them.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from ricochet_cli.console import table
from ricochet_cli.language import t
from ricochet_orchestrator.printing import printable
from ricochet_orchestrator.tasks.book import Item, Place, find, key, subtasks
from ricochet_orchestrator.tasks.choosing import priority_of
from ricochet_orchestrator.tasks.dependencies import needs_of, unmet
from ricochet_orchestrator.tasks.editing import seen
from ricochet_orchestrator.tasks.status import TaskStatus
from ricochet_orchestrator.tasks.views import line

TITLE_WIDTH: Final = 60


def listing(found: Sequence[Place], waits: Mapping[str, tuple[str, ...]]) -> str:
    """The table of `tasks list`; `waits` names what each task waits for."""
    rows = [_row(place, waits[place.ref]) for place in found]
    return table(("id", "status", "priority", "subtasks", "waits for", "title"), rows)


def _row(place: Place, waits: tuple[str, ...]) -> tuple[str, ...]:
    done = [one["status"] == TaskStatus.COMPLETED.value for one in subtasks(place.item)]
    return (
        line(place.ref, 16),
        place.status.value,
        priority_of(place),
        f"{sum(done)}/{len(done)}" if done and place.parent is None else "",
        line(", ".join(waits), 24),
        ("  " if place.parent is not None else "") + line(place.item["title"], TITLE_WIDTH),
    )


def page(tasks: list[Item], ref: str, project: Path) -> str:
    """A task with all it has; UsageError when there is none of that id."""
    place = find(tasks, ref)
    item = place.item
    facts = [(name, value) for name, value in _facts(tasks, place, project) if value]
    width = max(len(name) for name, _ in facts) + 2
    lines = [f"{line(place.ref)}  {line(item['title'])}"]
    lines += [f"  {name:<{width}}{line(str(value))}" for name, value in facts]
    texts = {
        "description": t("description:"),
        "details": t("details:"),
        "testStrategy": t("how to test it:"),
    }
    for name, label in texts.items():
        if item.get(name):
            lines += ["", label, printable(str(item[name]))]
    if place.parent is None and subtasks(item):
        lines += ["", t("subtasks:")]
        lines += [_subtask_line(place, one) for one in subtasks(item)]
    return "\n".join(lines)


def _facts(tasks: list[Item], place: Place, project: Path) -> list[tuple[str, Any]]:
    kept = seen(place.item)
    result = kept.get("result")
    return [
        (t("status"), place.status.value),
        (t("priority"), priority_of(place)),
        (t("depends on"), ", ".join(needs_of(place))),
        (t("waits for"), ", ".join(unmet(tasks)[place.ref])),
        (t("complexity"), place.item.get("complexity")),
        (t("role"), kept.get("role")),
        (t("model"), kept.get("model") or kept.get("wanted_model")),
        (t("result"), result and str(project / str(result))),
        (t("failure"), kept.get("failure")),
    ]


def _subtask_line(place: Place, one: Item) -> str:
    ref = f"{place.ref}.{key(one['id'])}"
    return f"  {line(ref):<8}{one['status']:<11}{line(one['title'])}"
