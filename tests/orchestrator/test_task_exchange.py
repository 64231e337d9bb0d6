"""Task Master's tasks come in, are changed, and go back without losing anything."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ricochet_orchestrator.tasks import editing, task_file
from ricochet_orchestrator.tasks.exchange import Exchanged, export_tasks, import_tasks
from ricochet_orchestrator.tasks.status import FROM_TASKMASTER, TO_TASKMASTER, TaskStatus
from ricochet_protocol.errors import UsageError

SAMPLE = Path(__file__).parents[1] / "taskmaster" / "tasks.json"
NOTHING = Exchanged((), (), ())


def sample() -> Any:
    return json.loads(SAMPLE.read_text())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / ".taskmaster" / "tasks" / "tasks.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(SAMPLE.read_bytes())
    return path


def statuses(project: Path) -> list[str]:
    return [one["status"] for one in task_file.load(project).tasks()]


def test_a_round_trip_loses_and_adds_nothing(tmp_path: Path, file: Path) -> None:
    told = import_tasks(tmp_path, file)
    assert told.added[:2] == ("master: 1", "master: 2") and len(told.added) == 7
    assert statuses(tmp_path) == ["completed", "running", "pending", "paused", "paused", "failed"]
    other = tmp_path / "elsewhere.json"
    export_tasks(tmp_path, other)
    expected = sample()
    # The table that Ricochet has in this task's metadata tells the exact status.
    expected["master"]["tasks"][1]["metadata"]["ricochet"]["status"] = "running"
    assert json.loads(other.read_text()) == expected
    assert import_tasks(tmp_path, other) == NOTHING
    assert import_tasks(tmp_path, file) == NOTHING


def test_changes_go_over_each_way_and_only_they(tmp_path: Path, file: Path) -> None:
    import_tasks(tmp_path, file)
    with task_file.changing(tmp_path) as book:
        editing.set_status(book.tasks(), ["3"], TaskStatus.FAILED, 0)
        editing.add(book.tasks(), editing.Fields(title="New"), 0)
        editing.delete(book.tasks(), ["6"])
    there = sample()
    there["master"]["tasks"][0]["title"] = "Renamed there"
    there["master"]["tasks"].append({"id": 9, "title": "Theirs", "status": "pending"})
    file.write_text(json.dumps(there))
    told = export_tasks(tmp_path, file)
    assert told == Exchanged(("master: 7",), ("master: 3",), ("master: 6",))
    after = json.loads(file.read_text())["master"]["tasks"]
    assert [one["title"] for one in after][:1] == ["Renamed there"]
    assert [str(one["id"]) for one in after] == ["1", "2", "3", "PROJ-4", "5", "9", "7"]
    assert after[2]["status"] == "blocked" and after[2]["customKey"] == [1, {"deep": None}]
    assert import_tasks(tmp_path, file) == Exchanged(("master: 9",), ("master: 1",), ())
    assert export_tasks(tmp_path, file) == NOTHING


def test_a_task_changed_in_two_places_is_told_and_settled(tmp_path: Path, file: Path) -> None:
    import_tasks(tmp_path, file)
    with task_file.changing(tmp_path) as book:
        editing.edit(book.tasks(), "3", editing.Fields(title="Ours"), 0)
    there = sample()
    there["master"]["tasks"][2]["title"] = "Theirs"
    file.write_text(json.dumps(there))
    native = task_file.path_of(tmp_path)
    before = native.read_bytes(), file.read_bytes()
    for exchange in (import_tasks, export_tasks):
        with pytest.raises(UsageError) as caught:
            exchange(tmp_path, file)
        assert caught.value.code == "tasks_conflict" and "master: 3" in caught.value.message
        assert (native.read_bytes(), file.read_bytes()) == before
    export_tasks(tmp_path, file, prefer="ours")
    assert json.loads(file.read_text())["master"]["tasks"][2]["title"] == "Ours"
    assert import_tasks(tmp_path, file) == NOTHING
    file.write_text(json.dumps(there))
    assert import_tasks(tmp_path, file) == Exchanged((), ("master: 3",), ())
    assert task_file.load(tmp_path).tasks()[2]["title"] == "Theirs"


def test_a_file_that_is_gone_is_written_anew_and_not_taken_for_emptied(
    tmp_path: Path, file: Path
) -> None:
    import_tasks(tmp_path, file)
    file.unlink()
    assert len(export_tasks(tmp_path, file).added) == 7
    assert len(json.loads(file.read_text())["master"]["tasks"]) == 6


def test_the_old_form_without_tags_is_read(tmp_path: Path) -> None:
    old = tmp_path / "tasks.json"
    old.write_text(json.dumps({"tasks": sample()["master"]["tasks"], "meta": {"v": 1}}))
    import_tasks(tmp_path, old)
    assert len(statuses(tmp_path)) == 6
    assert task_file.load(tmp_path).extra == {"meta": {"v": 1}}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t[0].update(status="wip"), "'wip'"),
        (lambda t: t[0]["subtasks"][0].update(status="ready"), "'ready'"),
        (lambda t: t[2].update(id="1"), "twice"),
        (lambda t: t[2].update(id=None), "`id`"),
        (lambda t: t[2].update(id=True), "`id`"),
        (lambda t: t[2].pop("title"), "`title`"),
        (lambda t: t[2].update(dependencies="1"), "`dependencies`"),
        (lambda t: t[2].update(subtasks={}), "`subtasks`"),
        (lambda t: t[2].update(metadata=[]), "`metadata`"),
        (lambda t: t[1]["metadata"].update(ricochet="x"), "ricochet"),
        (lambda t: t.append("x"), "not an object"),
    ],
)
def test_a_file_that_is_not_sound_is_refused_with_the_place(
    tmp_path: Path, file: Path, change: Any, words: str
) -> None:
    there = sample()
    change(there["master"]["tasks"])
    file.write_text(json.dumps(there))
    with pytest.raises(UsageError) as caught:
        import_tasks(tmp_path, file)
    assert caught.value.code == "tasks_invalid" and words in caught.value.message
    assert not task_file.path_of(tmp_path).exists()


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"[]", b"{}", b'{"master": {"tasks": [', b"\xff\xfe", b'{"a": NaN}', b"[" * 100_000),
        b'{"tasks": [], "tasks": []}',
    ],
)
def test_what_is_no_task_file_stays_as_it_is(tmp_path: Path, file: Path, content: bytes) -> None:
    file.write_bytes(content)
    for exchange in (import_tasks, export_tasks):
        with pytest.raises(UsageError) as caught:
            exchange(tmp_path, file)
        assert caught.value.code == "tasks_invalid"
    assert file.read_bytes() == content
    native = task_file.path_of(tmp_path)
    native.parent.mkdir(exist_ok=True)
    native.write_bytes(content)
    with pytest.raises(UsageError) as caught, task_file.changing(tmp_path):
        pass
    assert caught.value.code == "tasks_invalid" and native.read_bytes() == content


def test_statuses_map_one_to_one_but_for_ready_and_review() -> None:
    for status in TaskStatus:
        back = FROM_TASKMASTER[TO_TASKMASTER[status]]
        assert back is (TaskStatus.PENDING if status is TaskStatus.READY else status)
    assert set(FROM_TASKMASTER) - set(TO_TASKMASTER.values()) == {"review"}


IDS = st.one_of(st.integers(1, 9), st.sampled_from(["1", "2.1", "x", "A-7"]))
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)


def items(extra: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {"id": IDS, "title": st.text(max_size=9), "status": st.sampled_from([*FROM_TASKMASTER])},
        optional={
            "dependencies": st.lists(IDS, max_size=3),
            "metadata": st.dictionaries(st.sampled_from("ab"), JSON, max_size=2),
            "unknown": JSON,
            **extra,
        },
    )


def unique(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(inner, max_size=4, unique_by=lambda one: str(one["id"]))


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(tasks=unique(items({"subtasks": unique(items({}))})))
def test_any_sound_file_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, tasks: list[Any]
) -> None:
    project = tmp_path_factory.mktemp("project")
    file, other = project / "in.json", project / "out.json"
    tree = {"master": {"tasks": tasks, "metadata": {}}}
    file.write_text(json.dumps(tree))
    before = copy.deepcopy(tree)
    import_tasks(project, file)
    export_tasks(project, other)
    assert json.loads(other.read_text()) == before
