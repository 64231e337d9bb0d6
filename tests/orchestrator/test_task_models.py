"""Models rate, break down, find and do tasks, over nodes that answer by a script."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest
from orchestrator_stage import Stage, on

from ricochet_orchestrator.app import RunResult, Task
from ricochet_orchestrator.chain_language import Chain
from ricochet_orchestrator.document import document_from
from ricochet_orchestrator.entering import enter
from ricochet_orchestrator.store import Store
from ricochet_orchestrator.tasks import decomposing, editing, rating_worker, task_file
from ricochet_orchestrator.tasks.asking import AskingError, Runner
from ricochet_orchestrator.tasks.editing import Fields
from ricochet_orchestrator.tasks.running import Outcome, Wanted, run_tasks
from ricochet_protocol.errors import BudgetError, ExitCode, LocalFault, UsageError
from ricochet_protocol.messages import Ask
from ricochet_protocol.money import Units
from ricochet_settlement.file_lock import locked
from twins.scripted_node import OFFER

WIDE = msgspec.structs.replace(OFFER, context=8000)
T = TypeVar("T")
Script = Callable[[Ask], str]


def said(ask: Ask) -> str:
    return ask.turns[0].content


def acted(home: Path, script: Script, scene: Callable[[Runner], Awaitable[T]]) -> tuple[T, Stage]:
    stage = Stage(home)
    stage.node(0, offers=(WIDE,), answer=script)

    async def run(task: Task) -> RunResult:
        assert isinstance(task.chain, Chain)
        return await stage.play(task.document, task.chain, options=task.options)

    return on(stage, lambda: scene(run)), stage


def tasks_of(project: Path) -> list[Any]:
    return task_file.load(project).tasks()


def with_tasks(project: Path, *titles: str) -> None:
    with task_file.changing(project) as book:
        for title in titles:
            editing.add(book.tasks(), Fields(title=title), 0)


def needing(project: Path, ref: str, *needs: str) -> None:
    from ricochet_orchestrator.tasks import dependencies

    with task_file.changing(project) as book:
        for one in needs:
            dependencies.add(book.tasks(), ref, one)


# Complexity.


def test_ratings_go_into_tasks_and_the_report_and_bad_answers_are_asked_again(
    tmp_path: Path,
) -> None:
    with_tasks(tmp_path, "easy", "hard", "hopeless")

    def script(ask: Ask) -> str:
        if "Task 3:" in said(ask):
            return "I cannot say."
        score = 2 if "Task 1:" in said(ask) else 9
        bad = score == 9 and len(ask.turns) == 1
        rating = {"score": 99 if bad else score, "subtasks": 4, "prompt": "p", "reasoning": "r"}
        return f"```json\n{json.dumps(rating)}\n```"

    done, stage = acted(
        tmp_path, script, lambda run: decomposing.analyze(tmp_path, tmp_path, run, 0)
    )
    assert set(done.changed) == {"1", "2"} and set(done.failed) == {"3"}
    assert "JSON" in done.failed["3"] and stage.calls == 6
    assert [one.get("complexity") for one in tasks_of(tmp_path)] == [2, 9, None]
    report = json.loads(decomposing.report_file(tmp_path, "master").read_text())
    assert report["meta"]["tasksAnalyzed"] == 2 and report["meta"]["totalTasks"] == 3
    assert report["complexityAnalysis"][1] == {
        "taskId": 2,
        "taskTitle": "hard",
        "complexityScore": 9,
        "recommendedSubtasks": 4,
        "expansionPrompt": "p",
        "reasoning": "r",
    }


def test_a_process_that_rates_goes_on_with_the_run_that_was_entered_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_tasks(tmp_path, "hard")
    stage = Stage(tmp_path)
    rating = {"score": 9, "subtasks": 4, "prompt": "p", "reasoning": "r"}
    stage.node(0, offers=(WIDE,), answer=lambda _: json.dumps(rating))
    wanted = decomposing.analysis(tmp_path, "master", (), None)
    assert isinstance(wanted.chain, Chain)
    store = Store(tmp_path / "runs.db")
    entered, _ = enter(store, wanted.document, wanted.chain, wanted.options, 0)
    store.close()
    worked: list[str] = []

    async def run(_: Path, task: Task, *__: Any) -> RunResult:
        assert isinstance(task.chain, Chain)
        result = await stage.play(task.document, task.chain, options=task.options)
        worked.append(result.run_id)
        return result

    monkeypatch.setattr(rating_worker, "run_chain", run)
    order = rating_worker.Order(tmp_path, "master", (), None)
    code = on(stage, lambda: rating_worker.rate(tmp_path, order, asyncio.Event()))
    assert (code, worked) == (ExitCode.OK, [entered.id])
    assert tasks_of(tmp_path)[0]["complexity"] == 9


# Expansion.


def part(title: str, *needs: int) -> Any:
    return {"title": title, "description": "d", "details": "", "dependencies": [*needs]}


def test_tasks_are_broken_down_and_circles_are_refused(tmp_path: Path) -> None:
    with_tasks(tmp_path, "good", "round", "plain")
    with task_file.changing(tmp_path) as book:
        for one in book.tasks()[:2]:
            one |= {"complexity": 8, "recommendedSubtasks": 3}
    asked: list[str] = []

    def script(ask: Ask) -> str:
        asked.append(said(ask))
        circle = "Task 2:" in said(ask)
        parts = [part("a", 2 if circle else 9), part("b", 1)]
        return json.dumps({"subtasks": parts})

    done, _ = acted(tmp_path, script, lambda run: decomposing.expand(tmp_path, tmp_path, run, 0))
    assert done.changed == {"1": [1, 2]} and "wait for each other" in done.failed["2"]
    assert all("Number of subtasks: 3." in one for one in asked) and len(asked) == 2
    subtasks = tasks_of(tmp_path)[0]["subtasks"]
    assert [one["dependencies"] for one in subtasks] == [[], [1]]
    assert [one["status"] for one in subtasks] == ["ready", "pending"]
    more, _ = acted(
        tmp_path,
        script,
        lambda run: decomposing.expand(tmp_path, tmp_path, run, 0, refs=["1"], count=5),
    )
    assert more.changed == {"1": [3, 4]}
    assert tasks_of(tmp_path)[0]["subtasks"][3]["dependencies"] == [3]
    with pytest.raises(UsageError) as caught:
        acted(
            tmp_path, script, lambda run: decomposing.expand(tmp_path, tmp_path, run, 0, refs=["9"])
        )
    assert caught.value.code == "task_unknown"


# Documents.


def test_every_section_of_a_document_is_read_and_its_tasks_are_kept_once(tmp_path: Path) -> None:
    sections = "\n\n\n".join(
        f"Requirement {number}. " + "The system does many things. " * 150 for number in range(9)
    )

    def script(ask: Ask) -> str:
        numbers = re.findall(r"Requirement (\d+)", said(ask))
        tasks = [
            {**part(f"Do {number}", *([1] if n else [])), "priority": "high"}
            for n, number in enumerate(numbers)
        ]
        return json.dumps({"tasks": [*tasks, {**part("Test  IT"), "priority": "low"}]})

    document = document_from("prd.txt", sections)
    done, stage = acted(
        tmp_path, script, lambda run: decomposing.parse(tmp_path, tmp_path, run, 0, document)
    )
    titles = [one["title"] for one in tasks_of(tmp_path)]
    assert stage.calls > 1 and titles.count("Test  IT") == 1
    assert [one for one in titles if one.startswith("Do")] == [f"Do {n}" for n in range(9)]
    assert len(done.changed) == 10


def test_a_section_without_an_answer_adds_nothing(tmp_path: Path) -> None:
    script: Script = lambda ask: "no"  # noqa: E731 - a constant
    with pytest.raises(AskingError) as caught:
        acted(
            tmp_path,
            script,
            lambda run: decomposing.parse(tmp_path, tmp_path, run, 0, document_from("a", "Text.")),
        )
    assert caught.value.code == "parse_incomplete" and caught.value.exit_code is ExitCode.PARTIAL
    assert tasks_of(tmp_path) == []


# Running.


def worker(ask: Ask) -> str:
    return f"Result of {re.match(r'Task (.*?):', said(ask))[1]}"  # type: ignore[index] # always


def ran(project: Path, script: Script = worker, **wanted: Any) -> tuple[Outcome, Stage]:
    return acted(
        project, script, lambda run: run_tasks(project, project, run, Wanted(**wanted), lambda: 0.0)
    )


def test_ready_tasks_are_done_round_after_round_with_what_they_build_on(tmp_path: Path) -> None:
    with_tasks(tmp_path, "one", "two", "both", "whole")
    with task_file.changing(tmp_path) as book:
        for title in ("left", "right"):
            editing.add(book.tasks(), Fields(title=title), 0, parent="4")
    needing(tmp_path, "3", "1", "2")
    asked: list[str] = []

    def script(ask: Ask) -> str:
        asked.append(said(ask))
        return worker(ask)

    outcome, stage = ran(tmp_path, script)
    assert sorted(outcome.completed) == ["1", "2", "3", "4.1", "4.2"] and not outcome.failed
    assert outcome.exit_code is ExitCode.OK and outcome.cost > 0 and stage.calls == 5
    assert {one["status"] for one in tasks_of(tmp_path)} == {"completed"}
    (both,) = [one for one in asked if one.startswith("Task 3:")]
    assert "Result of task 1, one:\n\nResult of 1" in both and "Result of 2" in both
    kept = tasks_of(tmp_path)[2]["metadata"]["ricochet"]
    assert (tmp_path / kept["result"]).read_text() == "Result of 3\n"
    assert kept["metrics"]["tokens_output"] > 0 and kept["model"] == OFFER.id
    assert "taken" not in kept


def test_what_fails_is_told_and_keeps_others_waiting(tmp_path: Path) -> None:
    with_tasks(tmp_path, "fine", "huge", "after")
    with task_file.changing(tmp_path) as book:
        editing.edit(book.tasks(), "2", Fields(details="word " * 20_000), 0)
    needing(tmp_path, "3", "2")
    outcome, _ = ran(tmp_path)
    assert outcome.completed == ("1",) and outcome.left == ("3",)
    assert "window" in outcome.failed["2"] and outcome.exit_code is ExitCode.PARTIAL
    assert [one["status"] for one in tasks_of(tmp_path)] == ["completed", "failed", "pending"]


def test_a_limit_and_names_choose(tmp_path: Path) -> None:
    with_tasks(tmp_path, "a", "b", "c")
    assert ran(tmp_path, limit=1)[0].completed == ("1",)
    assert ran(tmp_path, refs=("3",))[0].completed == ("3",)
    assert [one["status"] for one in tasks_of(tmp_path)] == ["completed", "ready", "completed"]


def test_a_budget_is_never_passed(tmp_path: Path) -> None:
    with_tasks(tmp_path, "a", "b")
    needing(tmp_path, "2", "1")
    with pytest.raises(BudgetError):
        ran(tmp_path, budget=Units(1))
    assert [one["status"] for one in tasks_of(tmp_path)] == ["ready", "pending"]
    assert ran(tmp_path, budget=Units(10**6))[0].completed == ("1", "2")


def test_an_interrupted_run_goes_on_and_pays_for_no_answer_twice(tmp_path: Path) -> None:
    with_tasks(tmp_path, "a", "b")
    stage = Stage(tmp_path)
    stage.node(0, offers=(WIDE,), answer=worker)

    async def cut_off(task: Task) -> RunResult:
        assert isinstance(task.chain, Chain)
        await stage.play(task.document, task.chain, options=task.options)
        raise asyncio.CancelledError

    async def scene() -> None:
        with pytest.raises(asyncio.CancelledError):
            await run_tasks(tmp_path, tmp_path, cut_off, Wanted(), lambda: 0.0)

    on(stage, scene)
    assert {one["status"] for one in tasks_of(tmp_path)} == {"ready"} and stage.calls == 2
    outcome, again = ran(tmp_path)
    assert outcome.completed == ("1", "2") and again.calls == 0 and outcome.cost == 0


def test_what_a_killed_run_took_is_given_back(tmp_path: Path) -> None:
    with_tasks(tmp_path, "a", "mine")
    with task_file.changing(tmp_path) as book:
        editing.own(book.tasks()[0])["taken"] = True
        for one in book.tasks():
            one["status"] = "running"
    assert ran(tmp_path)[0].completed == ("1",)
    assert tasks_of(tmp_path)[1]["status"] == "running", "what a person works on is left alone"


def test_one_process_at_a_time_runs_tasks(tmp_path: Path) -> None:
    with_tasks(tmp_path, "a")
    with (
        locked(tmp_path / ".ricochet" / "tasks.run"),
        pytest.raises(LocalFault) as caught,
    ):
        ran(tmp_path)
    assert caught.value.code == "file_busy"


def test_a_file_that_an_imported_task_names_is_never_sent(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("key material")
    with_tasks(tmp_path, "theirs", "mine")
    needing(tmp_path, "2", "1")
    with task_file.changing(tmp_path) as book:
        book.tasks()[0] |= {"status": "completed", "complexity": "high"}
        editing.own(book.tasks()[0])["result"] = str(tmp_path / "secret")
    asked: list[str] = []

    def script(ask: Ask) -> str:
        asked.append(said(ask))
        return "done"

    assert ran(tmp_path, script)[0].completed == ("2",)
    assert len(asked) == 1 and "key material" not in asked[0]


@pytest.mark.parametrize("name", ["../../x", ".", "a/b", "\ud800", "x" * 300])
def test_a_result_stays_in_its_folder_whatever_the_id(tmp_path: Path, name: str) -> None:
    with task_file.changing(tmp_path) as book:
        book.tasks().append({"id": name, "title": "t", "status": "pending"})
    outcome, _ = ran(tmp_path, lambda ask: "done")
    assert outcome.completed == (name,)
    kept = tasks_of(tmp_path)[0]["metadata"]["ricochet"]["result"]
    file = (tmp_path / kept).resolve()
    assert file.read_text() == "done\n"
    assert file.parent == tmp_path / ".ricochet" / "results" / "master"
