"""What is learnt fades, outlives the run, and binds the next one where a peer asked for a wait."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from orchestrator_stage import Stage, numbered, on, play

from ricochet_orchestrator import opinion_store
from ricochet_orchestrator.checkpoint import RunStatus
from ricochet_orchestrator.dispatch import MAX_TRIES
from ricochet_orchestrator.memory import Memory, recall
from ricochet_orchestrator.opinion import SPEED_HALF_LIFE, Mean, Opinion
from ricochet_orchestrator.progress import StepRetried
from ricochet_orchestrator.result import RunResult
from ricochet_orchestrator.route import Router
from ricochet_orchestrator.store import Store
from ricochet_protocol.errors import RemoteCode
from ricochet_protocol.ids import PeerId
from twins.scripted_node import MODEL, WAIT, Fault

numbers = st.floats(0.0, 1000.0)


@given(st.lists(numbers, min_size=1, max_size=50), st.floats(1.0, 40.0))
def test_a_mean_lies_between_what_was_seen_and_its_weight_is_bounded(
    seen: list[float], memory: float
) -> None:
    mean = Mean()
    for value in seen:
        mean = mean.after(value, memory)
    assert min(seen) - 1e-6 <= mean.value <= max(seen) + 1e-6
    assert mean.weight <= memory


def test_an_estimate_leans_to_what_is_usual_the_less_the_more_is_known() -> None:
    assert Mean().estimate(5.0) == 5.0
    assert Mean(1.0, 1.0).estimate(5.0) == 3.0
    assert Mean(1.0, 9.0).estimate(5.0) == pytest.approx(1.4)


def test_old_opinions_weigh_less() -> None:
    known = Opinion(at=1000.0).served(2.0, 3.0, 50)
    later = known.at_time(1000.0 + SPEED_HALF_LIFE)
    assert later.first_token == Mean(2.0, 0.5)
    assert (later.calls, later.at) == (1, 1000.0 + SPEED_HALF_LIFE)
    assert known.at_time(900.0).first_token == known.first_token, "a clock that was set back"


def test_a_pace_needs_something_to_measure() -> None:
    assert Opinion().served(1.0, 1.01, 500).pace == Mean()
    assert Opinion().served(1.0, 3.0, 100).pace == Mean(50.0, 1.0)


def test_the_next_run_knows_who_served_well(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    node = stage.node(0, think=3.0)
    play(stage, numbered(2))
    store = Store(tmp_path / "runs.db")
    known = opinion_store.opinions(store)[node.peer, MODEL]
    store.close()
    assert (known.calls, known.failures) == (3, 0)
    assert known.first_token.value == pytest.approx(3.0, abs=0.2)
    assert known.at == stage.settlement.now


def test_nothing_is_asked_before_the_wait_is_over_in_the_next_run_either(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    node = stage.node(0)
    node.faults.append(Fault.ASKS_TO_WAIT)

    async def scene() -> RunResult:
        stop = asyncio.Event()
        stage.on_event = lambda event: stop.set() if isinstance(event, StepRetried) else None
        await stage.play(numbered(2), stop=stop)
        stage.on_event = lambda _: None
        return await stage.play(numbered(2))

    result = on(stage, scene)
    assert result.status is RunStatus.COMPLETED
    assert (len(node.waits), node.early) == (1, 0)
    assert result.seconds >= WAIT - 1


def test_a_wait_is_not_shortened_by_the_change_of_clocks(tmp_path: Path) -> None:
    store, peers = Store(tmp_path / "runs.db"), range(200)
    ends = {PeerId(f"peer{number}"): 40.0 + number / 10 for number in peers}
    before = Router(0)
    memory = Memory(store, before, lambda: 1_800_000_001.7, 1.7)
    for peer, end in ends.items():
        before.started(peer)
        before.failed((peer, MODEL), RemoteCode.BUSY, 1.7, end - 1.7)
        memory.note(peer, MODEL, urgent=False, now=1.7)
    memory.keep(1.7)
    after = Router(0)
    recall(store, after, 1_800_000_003.3, 3.3)
    store.close()
    assert all(end <= after.breaker(peer).wait < end + 0.01 for peer, end in ends.items())


def test_a_step_goes_on_to_the_next_peer_while_none_has_begun_to_answer(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    nodes = [stage.node(number) for number in range(MAX_TRIES + 3)]
    for node in nodes[1:]:
        node.always = Fault.PROVIDER_FAILS
    result = play(stage, numbered(1))
    assert result.status is RunStatus.COMPLETED
    assert len(nodes[0].calls) == 2
