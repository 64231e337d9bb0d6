"""A process that stops anywhere loses nothing: no completed step is asked again, no cent twice."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from killed_run import PARAGRAPHS, begin, stage_of
from orchestrator_stage import ADVANCE, SUBSCRIBER, Stage, numbered, play
from sqlmodel import Session

from ricochet_orchestrator.call_shape import request_id_of
from ricochet_orchestrator.checkpoint import RunStatus
from ricochet_orchestrator.progress import StepStarted
from ricochet_orchestrator.store import Store
from ricochet_protocol.ids import Period

DOCUMENT = numbered(3)
STEPS = 4


class Crashed(BaseException):
    """The process is gone: nothing after this reaches the disk."""


class CrashingStore(Store):
    """Stops existing at its n-th transaction: before the commit, or right after it."""

    crash_at: int
    after: bool
    seen = 0

    @contextmanager
    def _transaction(self) -> Iterator[Session]:
        with self._crashing(), super()._transaction() as session:
            yield session
            self._before_commit()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._crashing(), super()._writing() as connection:
            yield connection
            self._before_commit()

    @contextmanager
    def _crashing(self) -> Iterator[None]:
        CrashingStore.seen += 1
        if CrashingStore.seen - 1 > self.crash_at:
            raise Crashed
        yield
        if CrashingStore.seen - 1 == self.crash_at:
            raise Crashed

    def _before_commit(self) -> None:
        if CrashingStore.seen - 1 == self.crash_at and not self.after:
            raise Crashed


def two_nodes(home: Path) -> Stage:
    stage = Stage(home)
    stage.node(0)
    stage.node(1)
    return stage


def play_until(stage: Stage, crash_at: int, after: bool) -> int:
    """Run with a store that crashes; how many transactions there were."""
    CrashingStore.seen, CrashingStore.crash_at, CrashingStore.after = 0, crash_at, after
    stage.make_store = CrashingStore
    try:
        play(stage, DOCUMENT)
    except Crashed:
        return CrashingStore.seen
    finally:
        stage.make_store = Store
    return CrashingStore.seen


@pytest.mark.parametrize("part", range(4))
@pytest.mark.parametrize("after", [False, True], ids=["before commit", "after commit"])
@pytest.mark.slow
def test_a_crash_at_any_transaction_costs_no_call_and_no_money(
    tmp_path: Path, after: bool, part: int
) -> None:
    transactions = play_until(two_nodes(tmp_path / "whole"), 10**9, after)
    assert transactions > 20
    for crash_at in range(part, transactions, 4):
        stage = two_nodes(tmp_path / str(crash_at))
        play_until(stage, crash_at, after)
        stage.events.clear()
        done = answered(stage)
        result = play(stage, DOCUMENT)
        assert result.status is RunStatus.COMPLETED
        assert stage.calls == STEPS, f"crash at {crash_at}: a call was made twice"
        assert done.isdisjoint(event.step for event in stage.heard(StepStarted))
        for node in stage.nodes:
            assert stage.paid_fairly(node), f"crash at {crash_at}: a node was not paid fairly"


def answered(stage: Stage) -> set[str]:
    store = Store(stage.home / "runs.db")
    run = store.run(None)
    found = set() if run is None else set(store.answers(run.id))
    store.close()
    return found


@pytest.mark.parametrize("steps", [1, 4])
def test_a_killed_process_resumes_without_asking_a_completed_step_again(
    tmp_path: Path, steps: int
) -> None:
    log = tmp_path / "calls.log"
    home = tmp_path / "home"
    process = begin(home, log)
    assert process.stdout is not None
    told = [process.stdout.readline().strip() for _ in range(steps)]
    process.kill()
    process.wait(timeout=10)
    process.stdout.close()

    before = log.read_text().split()
    stage = stage_of(home, log, think=0.0)
    done = answered(stage)
    assert done.issuperset(told), "what was told is on disk"
    assert len(done) < PARAGRAPHS + 1, "killed in the middle"
    result = play(stage, numbered(PARAGRAPHS))
    assert (result.status, result.calls) == (RunStatus.COMPLETED, PARAGRAPHS + 1)
    again = log.read_text().split()[len(before) :]
    assert {request_id_of(step, SUBSCRIBER) for step in done}.isdisjoint(again)  # type: ignore[arg-type]  # ids as text
    store = Store(home / "runs.db")
    for account in store.accounts(Period(1)):
        assert account.accepted <= account.signed <= account.accepted + ADVANCE
    store.close()
