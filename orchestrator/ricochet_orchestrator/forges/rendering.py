"""A task as an issue's text, and back.

    DESCRIPTION
    <!-- ricochet:details -->
    ## Details … <!-- ricochet:tests --> ## Test strategy … <!-- ricochet:subtasks --> ## Subtasks
    - [x] 7.1 TITLE
    <!-- ricochet:link WORD -->

Marks are read, headings are for people. A text that holds a mark itself gets a space into it. What
a person wrote outside of marks is the description. `apply(item, text_of(item))` changes nothing.
"""

import re
from typing import Final

from ricochet_orchestrator.forges.port import State, Text
from ricochet_orchestrator.tasks.book import Item, key, subtasks
from ricochet_orchestrator.tasks.editing import Fields, stamp
from ricochet_orchestrator.tasks.status import TaskStatus

_SECTIONS: Final = (
    ("details", "details", "## Details"),
    ("tests", "testStrategy", "## Test strategy"),
    ("subtasks", "", "## Subtasks"),
)
_MARK: Final = re.compile(r"^<!-- ricochet:(details|tests|subtasks|link [0-9a-f]{16}) -->$", re.M)
_OPEN: Final = "<!-- ricochet:"
_BOX: Final = re.compile(r"^\s*[-*] \[([ xX])\] (\S+) ", re.M)
_DONE: Final = {
    TaskStatus.COMPLETED: "completed",
    TaskStatus.CANCELLED: "cancelled",
}


def link_mark(link: str) -> str:
    """The line of an issue that says which task it is of."""
    return f"{_OPEN}link {link} -->"


def text_of(ref: str, item: Item, link: str, *, tells_cancelled: bool) -> Text:
    """The issue of a task."""
    parts = [_quoted(item.get("description") or "")]
    for mark, field, heading in _SECTIONS:
        body = _boxes(ref, item) if mark == "subtasks" else _quoted(item.get(field) or "")
        if body:
            parts.append(f"{_OPEN}{mark} -->\n{heading}\n\n{body}")
    parts.append(link_mark(link))
    return Text(
        title=" ".join(item["title"].split()),
        body="\n\n".join(part for part in parts if part),
        state=state_of(item, tells_cancelled=tells_cancelled),
    )


def state_of(item: Item, *, tells_cancelled: bool) -> State:
    """Open, completed or cancelled; where a forge cannot tell the last two apart, completed."""
    status = TaskStatus(item["status"])
    if status is TaskStatus.CANCELLED and tells_cancelled:
        return "cancelled"
    return "completed" if status in _DONE else "open"


def apply(item: Item, text: Text, now: float, *, tells_cancelled: bool) -> None:
    """Change a task to what its issue says; UsageError for a title that a task cannot have."""
    said = _sections(text.body)
    fields = Fields(
        title=text.title if text.title != " ".join(item["title"].split()) else None,
        # A task has a description that shows: Task Master reads no file without.
        description=_unless_same(item, "description", said[""], text.title),
        details=_unless_same(item, "details", said["details"]),
        test_strategy=_unless_same(item, "testStrategy", said["tests"]),
    )
    if fields != Fields():
        fields.apply(item, now)
    if state_of(item, tells_cancelled=tells_cancelled) != text.state:
        item["status"] = _status(text.state).value
        item["updatedAt"] = stamp(now)
    _tick(item, said["subtasks"], now)


def new_item(text: Text, number: int) -> Item:
    """A task for an issue that had none."""
    item: Item = {
        "id": number,
        "title": text.title,
        "description": text.title,
        "status": TaskStatus.PENDING.value,
        "dependencies": [],
        "priority": "medium",
        "details": "",
        "testStrategy": "",
        "subtasks": [],
    }
    return item


def _unless_same(item: Item, field: str, said: str, if_blank: str = "") -> str | None:
    return None if _quoted(item.get(field) or "") == said else said or if_blank


def _status(state: State) -> TaskStatus:
    return {
        "open": TaskStatus.PENDING,
        "completed": TaskStatus.COMPLETED,
        "cancelled": TaskStatus.CANCELLED,
    }[state]


def _quoted(text: str) -> str:
    return text.replace("\r\n", "\n").strip().replace(_OPEN, "<!-- ricochet :")


def _boxes(ref: str, item: Item) -> str:
    lines = []
    for one in subtasks(item):
        box = "x" if one["status"] == TaskStatus.COMPLETED.value else " "
        title = _quoted(" ".join(one["title"].split()))
        lines.append(f"- [{box}] {ref}.{key(one['id'])} {title}")
    return "\n".join(lines)


def _tick(item: Item, body: str, now: float) -> None:
    """Subtasks whose box was ticked are completed, those whose box was emptied pending again."""
    ticked = {name.rpartition(".")[2]: box != " " for box, name in _BOX.findall(body)}
    for one in subtasks(item):
        done = one["status"] == TaskStatus.COMPLETED.value
        wanted = ticked.get(key(one["id"]), done)
        if wanted != done:
            status = TaskStatus.COMPLETED if wanted else TaskStatus.PENDING
            one["status"] = status.value
            one["updatedAt"] = stamp(now)


def _sections(body: str) -> dict[str, str]:
    """The text of each section by its mark, "" for what stands before the first."""
    found = {"": "", "details": "", "tests": "", "subtasks": ""}
    pieces = _MARK.split(body.replace("\r\n", "\n"))
    found[""] = pieces[0].strip()
    headings = {mark: heading for mark, _, heading in _SECTIONS}
    for mark, text in zip(pieces[1::2], pieces[2::2], strict=True):
        if mark in headings:
            found[mark] = text.strip().removeprefix(headings[mark]).strip()
        elif text.strip():  # written below the last mark by a person
            found[""] = f"{found['']}\n\n{text.strip()}".strip()
    return found
