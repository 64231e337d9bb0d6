"""Tasks of a project: changes, order, what comes next, and writers that lose nothing."""

import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ricochet_orchestrator.tasks import dependencies, editing, tags, task_file
from ricochet_orchestrator.tasks.book import Book, Item, places
from ricochet_orchestrator.tasks.choosing import next_task
from ricochet_orchestrator.tasks.editing import Fields
from ricochet_orchestrator.tasks.status import TaskStatus
from ricochet_protocol.errors import UsageError


def task(number: int | str, *needs: int | str, **fields: Any) -> Item:
    item = {"id": number, "title": f"t{number}", "status": "pending", "dependencies": [*needs]}
    return item | fields


def refusal(call: Any, *arguments: Any) -> str:
    with pytest.raises(UsageError) as caught:
        call(*arguments)
    assert caught.value.hint
    return caught.value.code


def test_a_task_is_ready_once_all_it_waits_for_is_completed() -> None:
    tasks = [task(1), task(2, 1), task(3, "2", 1)]
    dependencies.settle(tasks)
    assert [one["status"] for one in tasks] == ["ready", "pending", "pending"]
    editing.set_status(tasks, ["1"], TaskStatus.COMPLETED, 0)
    dependencies.settle(tasks)
    assert [one["status"] for one in tasks] == ["completed", "ready", "pending"]
    assert dependencies.unmet(tasks)["3"] == ("2",)


def test_a_completed_task_completes_its_subtasks() -> None:
    tasks = [task(1, subtasks=[task(1), task(2, status="completed")])]
    assert editing.set_status(tasks, ["1"], TaskStatus.COMPLETED, 0) == ["1", "1.1"]
    assert editing.set_status(tasks, ["1"], TaskStatus.PAUSED, 0) == ["1"]


def test_circles_twins_and_what_is_missing_are_found_and_mended() -> None:
    tasks = [task(1, 3), task(2, 1, 1), task(3, 2, 3, 9), task("2"), task(4, subtasks=[task(1, 8)])]
    kinds = sorted(one.kind for one in dependencies.problems(tasks))
    assert kinds == ["duplicate", "missing", "missing", "self"]
    del tasks[3]
    kinds = sorted(one.kind for one in dependencies.problems(tasks))
    assert kinds == ["cycle", "missing", "missing", "repeated", "self"]
    assert {one.kind for one in dependencies.fix(tasks)} == set(kinds)
    assert not dependencies.problems(tasks)
    left = [one["dependencies"] for one in tasks[:3]]
    assert sum(map(len, left)) == 2, "of the circle only what closes it is taken away"


def test_twins_get_ids_of_their_own() -> None:
    tasks = [task(1), task("1"), task(2, subtasks=[task(1), task(1)])]
    assert refusal(editing.delete, tasks, ["1"]) == "task_ambiguous"
    assert len(dependencies.fix(tasks)) == 2
    assert [one.ref for one in places(tasks)] == ["1", "3", "2", "2.1", "2.2"]


def test_dependencies_are_added_and_removed_with_a_check() -> None:
    tasks = [task(1), task(2), task(3, subtasks=[task(1), task(2)])]
    dependencies.add(tasks, "2", "1")
    dependencies.add(tasks, "3.2", "3.1")
    assert tasks[1]["dependencies"] == [1] and tasks[2]["subtasks"][1]["dependencies"] == [1]
    assert refusal(dependencies.add, tasks, "1", "2") == "dependency_cycle"
    assert refusal(dependencies.add, tasks, "2", "1") == "dependency_exists"
    assert refusal(dependencies.add, tasks, "2", "7") == "task_unknown"
    assert refusal(dependencies.add, tasks, "3.1", "2") == "dependency_ambiguous"
    assert refusal(dependencies.remove, tasks, "1", "2") == "dependency_unknown"
    dependencies.remove(tasks, "3.2", "3.1")
    assert tasks[2]["subtasks"][1]["dependencies"] == []


@given(st.dictionaries(st.sampled_from("abcdef"), st.lists(st.sampled_from("abcdefg"))))
def test_a_circle_is_found_exactly_when_there_is_one(graph: dict[str, list[str]]) -> None:
    circle = dependencies.cycle_in({name: tuple(needs) for name, needs in graph.items()})
    left = {name: set(needs) & set(graph) for name, needs in graph.items()}
    while free := [name for name, needs in left.items() if not needs & set(left)]:
        for name in free:
            del left[name]
    assert bool(circle) is bool(left)
    assert all(b in graph[a] for a, b in pairwise(circle))


def test_a_long_chain_of_tasks_is_no_problem() -> None:
    tasks = [task(1), *(task(number, number - 1) for number in range(2, 3000))]
    assert not dependencies.problems(tasks)
    tasks[0]["dependencies"] = [2999]
    assert dependencies.problems(tasks)[0].kind == "cycle"


def test_the_next_task_is_chosen_as_task_master_does() -> None:
    tasks = [
        task(1, status="completed"),
        task(10, 1, priority="high"),
        task(9, priority="high"),
        task(2, priority="low"),
        task(3, 2, priority="critical"),
    ]

    def chosen() -> str:
        found = next_task(tasks)
        return "" if found is None else found.ref

    assert chosen() == "9", "priority, then the fewest dependencies"
    tasks[2]["dependencies"] = [1]
    assert chosen() == "9", "then the lower number, not the lower text"
    tasks[3] |= {"status": "running", "subtasks": [task(1, 2), task(2)]}
    assert chosen() == "2.2", "a subtask of what runs goes first"
    for one in tasks:
        one["status"] = "cancelled"
    assert chosen() == ""


def test_moving_takes_dependencies_along() -> None:
    tasks = [task(1), task(2, 1, subtasks=[task(1), task(2, 1)]), task(3, 2, "2.1"), task(4, 3)]
    assert editing.move(tasks, "2", "20") == "20"
    assert tasks[1]["dependencies"] == [20, "20.1"]
    assert tasks[-1]["id"] == 20 and tasks[-1]["subtasks"][1]["dependencies"] == [1]
    editing.move(tasks, "20.1", "5")
    assert next(one for one in tasks if one["id"] == 20)["subtasks"][0]["dependencies"] == [5]
    editing.move(tasks, "4", "1.1")
    assert tasks[0]["subtasks"] == [task(1, 3, title="t4")]
    assert not dependencies.problems(tasks)
    assert refusal(editing.move, tasks, "3", "5") == "place_taken"
    assert refusal(editing.move, tasks, "1", "3.1") == "subtask_of_subtask"
    assert refusal(editing.move, tasks, "3", "1.1.1") == "subtask_of_subtask"
    assert refusal(editing.move, tasks, "3", "8.1") == "task_unknown"


def test_deleting_frees_what_waited() -> None:
    tasks = [task(1), task(2, 1, subtasks=[task(1)]), task(3, "2.1", 1)]
    assert editing.delete(tasks, ["2", "1"]) == ["3"]
    assert tasks == [task(3)]
    assert refusal(editing.delete, tasks, ["1"]) == "task_unknown"


def test_fields_are_checked() -> None:
    tasks: list[Item] = []
    assert editing.add(tasks, Fields(title="a", role="critic"), 1_700_000_000) == "1"
    assert editing.add(tasks, Fields(title="b"), 0, parent="1") == "1.1"
    assert tasks[0]["updatedAt"] == "2023-11-14T22:13:20.000Z"
    assert tasks[0]["metadata"] == {"ricochet": {"role": "critic"}}
    assert refusal(editing.add, tasks, Fields(title=" "), 0) == "title_missing"
    assert refusal(editing.add, tasks, Fields(title="a", priority="now"), 0) == "priority_unknown"
    assert refusal(editing.add, tasks, Fields(title="a"), 0, "1.1") == "subtask_of_subtask"
    assert refusal(editing.edit, tasks, "1", Fields(), 0) == "nothing_to_edit"
    huge = Fields(details="x" * (editing.MAX_TEXT + 1))
    assert refusal(editing.edit, tasks, "1", huge, 0) == "text_too_long"


def test_tags_hold_tasks_apart() -> None:
    book = Book()
    editing.add(book.tasks(), Fields(title="a"), 0)
    tags.add(book, "copy", copy_of="master")
    editing.edit(book.tasks("copy"), "1", Fields(title="b"), 0)
    assert book.tasks()[0]["title"] == "a"
    tags.use(book, "copy")
    assert refusal(tags.delete, book, "copy") == "tag_in_use"
    tags.rename(book, "copy", "other")
    assert (book.current, list(book.tags)) == ("other", ["master", "other"])
    assert tags.delete(book, "master") == 1
    assert refusal(tags.add, book, "other") == "tag_exists"
    assert refusal(tags.add, book, "\x1b[1m") == "tag_invalid"
    assert refusal(tags.use, book, "none") == "tag_unknown"


def test_two_processes_at_once_lose_nothing(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib\n"
        "from ricochet_orchestrator.tasks import editing, task_file\n"
        "for number in range(25):\n"
        "    with task_file.changing(pathlib.Path(sys.argv[1])) as book:\n"
        "        title = editing.Fields(title=f'{sys.argv[2]} {number}')\n"
        "        editing.add(book.tasks(), title, 0)\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), name]) for name in "ab"]
    assert [one.wait(60) for one in writers] == [0, 0]
    tasks = task_file.load(tmp_path).tasks()
    assert {one["title"] for one in tasks} == {f"{n} {i}" for n in "ab" for i in range(25)}
    assert len({one["id"] for one in tasks}) == 50


def test_a_change_that_fails_leaves_the_file(tmp_path: Path) -> None:
    with task_file.changing(tmp_path) as book:
        editing.add(book.tasks(), Fields(title="a \ud800 lone"), 0)
    before = task_file.path_of(tmp_path).read_bytes()
    with pytest.raises(RuntimeError), task_file.changing(tmp_path) as book:
        editing.delete(book.tasks(), ["1"])
        raise RuntimeError
    assert task_file.path_of(tmp_path).read_bytes() == before
    assert task_file.load(tmp_path).tasks()[0]["title"] == "a \ud800 lone"
