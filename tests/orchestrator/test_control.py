"""Runs that are steered and watched from elsewhere than the process that works on them."""

import asyncio
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from killed_run import PARAGRAPHS, begin, stage_of
from orchestrator_stage import SHORT, Stage, numbered, on, play

from live import until
from ricochet_orchestrator.chain_language import Chain
from ricochet_orchestrator.checkpoint import RunStatus, Status, Wish
from ricochet_orchestrator.control import Runs
from ricochet_orchestrator.document import document_of
from ricochet_orchestrator.entering import enter
from ricochet_orchestrator.ownership import owned, owning
from ricochet_orchestrator.progress import StepFinished, StepStarted
from ricochet_orchestrator.request import Options
from ricochet_orchestrator.store import Store
from ricochet_protocol.errors import LocalFault, UsageError
from twins.scripted_node import Fault


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    made = Stage(tmp_path)
    for number in range(2):
        made.node(number, think=1.0)
    return made


def entered(stage: Stage, paragraphs: int = 4, options: Options | None = None) -> str:
    store = Store(stage.home / "runs.db")
    run, _ = enter(store, numbered(paragraphs), SHORT, options or Options(), stage.settlement.now)
    store.close()
    return run.id


def wish(stage: Stage, run_id: str, wanted: Wish) -> None:
    """As another process says it."""
    store = Store(stage.home / "runs.db")
    store.set_wish(run_id, wanted)
    store.close()


@pytest.mark.parametrize(
    ("wanted", "status"),
    [(Wish.PAUSE, RunStatus.PAUSED), (Wish.CANCEL, RunStatus.CANCELLED)],
)
def test_a_wish_takes_effect_within_200_ms_and_no_call_is_started_after_it(
    stage: Stage, wanted: Wish, status: RunStatus
) -> None:
    run_id = entered(stage, 8)
    for node in stage.nodes:
        node.always = Fault.GOES_SILENT

    async def scene() -> None:
        loop = asyncio.get_running_loop()
        work = asyncio.create_task(stage.work(run_id))
        await asyncio.sleep(5)
        asked = sum(node.asks for node in stage.nodes)
        assert asked > 0
        wish(stage, run_id, wanted)
        begin = loop.time()
        result = await work
        assert loop.time() - begin <= 0.2
        assert result.status is status
        assert sum(node.asks for node in stage.nodes) == asked

    on(stage, scene)


def test_a_wish_before_the_first_call_is_heard(stage: Stage) -> None:
    run_id = entered(stage)
    wish(stage, run_id, Wish.CANCEL)
    result = on(stage, lambda: stage.work(run_id))
    assert (result.status, stage.calls, result.hint) == (RunStatus.CANCELLED, 0, "")
    with Runs(stage.home) as runs:
        assert {step.status for step in runs.state().steps} == {Status.CANCELLED}


def test_a_cancelled_run_keeps_its_answers_for_the_next(stage: Stage) -> None:
    def cancel(event: object) -> None:
        if isinstance(event, StepFinished):
            wish(stage, run_id, Wish.CANCEL)

    run_id = entered(stage)
    stage.on_event = cancel
    first = on(stage, lambda: stage.work(run_id))
    assert first.status is RunStatus.CANCELLED and 0 < first.calls < 5
    with Runs(stage.home) as runs:
        assert len(runs.answers(run_id)) == first.calls
        with pytest.raises(UsageError) as caught:
            runs.take_up(run_id, lambda request: request)
        assert caught.value.code == "run_ended"
        assert runs.pause(run_id).status is RunStatus.CANCELLED, "nothing more happens to it"
    stage.on_event = lambda _: None
    second = play(stage, numbered(4))
    assert second.run_id != run_id
    assert (second.status, second.calls) == (RunStatus.COMPLETED, 5 - first.calls)


def test_a_run_goes_on_without_its_document(stage: Stage) -> None:
    stop = asyncio.Event()
    stage.on_event = lambda event: stop.set() if isinstance(event, StepFinished) else None
    first = play(stage, numbered(6), stop=stop)
    stage.on_event = lambda _: None
    with Runs(stage.home) as runs:
        assert runs.take_up(None, lambda request: request).id == first.run_id
    second = on(stage, lambda: stage.work(first.run_id))
    assert (second.status, second.calls) == (RunStatus.COMPLETED, 7)
    whole = Stage(stage.home / "other")
    whole.node(0)
    assert play(whole, numbered(6)).output == second.output


def test_the_same_request_is_the_same_run_until_it_ends(stage: Stage) -> None:
    first = entered(stage)
    assert entered(stage) == first
    assert entered(stage, options=Options(max_time=9.0)) == first, "options are no other run"
    assert entered(stage, paragraphs=5) != first
    with Runs(stage.home) as runs:
        assert runs.cancel(first).status is RunStatus.CANCELLED
        assert [run.status for run in runs.latest()] == [RunStatus.PENDING, RunStatus.CANCELLED]
    assert entered(stage) != first


def test_what_was_given_up_is_tried_again(stage: Stage) -> None:
    for node in stage.nodes:
        node.always = Fault.BLANK
    first = play(stage, numbered(1))
    assert first.status is RunStatus.PARTIAL
    with Runs(stage.home) as runs:
        assert runs.pause().status is RunStatus.PARTIAL
        assert Status.FAILED in {step.status for step in runs.state().steps}
        run = runs.take_up(None, lambda request: request)
        assert run.status is RunStatus.PENDING
        assert {step.status for step in runs.state().steps} == {Status.PENDING}
    for node in stage.nodes:
        node.always = None
    assert on(stage, lambda: stage.work(run.id)).status is RunStatus.COMPLETED


def test_the_run_before_another_is_of_its_chain_and_document_and_has_a_result(
    stage: Stage,
) -> None:
    def again(paragraphs: int, name: str = "document", chain: Chain = SHORT) -> str:
        document = document_of(name, numbered(paragraphs).parts)
        stage.settlement.now += 1
        return play(stage, document, chain).run_id

    first = again(1)
    again(1, name="other")
    again(1, chain=msgspec.structs.replace(SHORT, name="longer"))
    with Runs(stage.home) as runs:
        stage.settlement.now += 1
        entered(stage)
        last = again(2)
        assert runs.before(last).id == first
        with pytest.raises(UsageError) as none:
            runs.before(first)
    assert none.value.code == "no_run_before"


def test_a_run_of_an_older_version_asks_for_its_document(stage: Stage) -> None:
    run_id = entered(stage)
    store = Store(stage.home / "runs.db")
    with store._transaction() as session:
        session.connection().exec_driver_sql("UPDATE runs SET request = NULL")
    store.close()
    with pytest.raises(UsageError) as caught:
        on(stage, lambda: stage.work(run_id))
    assert caught.value.code == "run_too_old" and "chain run FILE" in caught.value.hint


def test_only_one_process_works_on_a_run(tmp_path: Path) -> None:
    with owning(tmp_path, "one"), owning(tmp_path, "two"):
        assert owned(tmp_path, "one")
        with pytest.raises(LocalFault) as caught, owning(tmp_path, "one"):
            pass
        assert caught.value.code == "run_owned" and "watch one" in caught.value.hint
    assert not owned(tmp_path, "one") and not owned(tmp_path, "never")


def test_a_home_without_runs_stays_untouched(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        Runs(tmp_path)
    assert caught.value.code == "no_runs" and list(tmp_path.iterdir()) == []


@contextmanager
def working(home: Path, log: Path, think: float) -> Iterator[subprocess.Popen[str]]:
    """A process that works on a run; it is killed if it has not ended by then."""
    process = begin(home, log, think)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
    finally:
        process.kill()
        process.communicate(timeout=10)


def test_another_process_is_paused_and_its_run_goes_on_here(tmp_path: Path) -> None:
    log, home = tmp_path / "calls.log", tmp_path / "home"
    with working(home, log, think=0.6) as process, Runs(home) as runs:
        run = runs.record(None)
        assert (run.status, run.worker.split("@")[0]) == (RunStatus.RUNNING, str(process.pid))
        assert runs.state().owned
        with pytest.raises(LocalFault) as caught:
            runs.take_up(run.id, lambda request: request)
        assert caught.value.code == "run_owned"
        assert runs.pause(run.id).status is RunStatus.PAUSED
        process.wait(timeout=20)
        stored = runs.answers(run.id)
        assert 0 < len(stored) < PARAGRAPHS + 1
        runs.take_up(run.id, lambda request: request)
    stage = stage_of(home, log, think=0.0)
    assert on(stage, lambda: stage.work(run.id)).calls == PARAGRAPHS + 1
    assert set(stored).isdisjoint(event.step for event in stage.heard(StepStarted))


def test_a_run_whose_process_was_killed_is_shown_as_paused(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with working(home, tmp_path / "calls.log", think=0.2) as process:
        process.kill()
        process.wait(timeout=10)
        until(lambda: not owned(home, run_of(home)), "the lock to fall")
    with Runs(home) as runs:
        run = runs.record(None)
        assert run.status is RunStatus.PAUSED and "without a word" in run.error
        assert runs.cancel().status is RunStatus.CANCELLED


def run_of(home: Path) -> str:
    with Runs(home) as runs:
        return runs.record(None).id
