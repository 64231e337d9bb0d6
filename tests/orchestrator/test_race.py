"""Rivals for calls whose first token is late: who wins, what it costs, and what stays the same."""

from pathlib import Path

import msgspec
import pytest
from orchestrator_stage import ADVANCE, MAPPED, Stage, numbered, play

from ricochet_orchestrator.chains import Chain
from ricochet_orchestrator.checkpoint import RunStatus
from ricochet_orchestrator.hedge import LEAST, SOONEST, Hedge
from ricochet_orchestrator.progress import FirstToken, StepFinished, StepRetried, StepStarted
from ricochet_orchestrator.result import RunResult
from ricochet_orchestrator.routing import RoutingSettings
from ricochet_orchestrator.store import Store
from ricochet_protocol.ids import ModelId, Period
from twins.scripted_node import Fault, ScriptedNode

MANY = Chain("many", (msgspec.structs.replace(MAPPED, prompt="{text}\nExplain."),))
M = ModelId("m")


def seen(hedge: Hedge, *delays: float) -> Hedge:
    for delay in delays:
        hedge.saw(M, delay)
    return hedge


def test_nothing_is_late_before_enough_was_seen() -> None:
    assert seen(Hedge(0.1), *[1.0] * (LEAST - 1)).late_after(M) is None
    assert seen(Hedge(0.1), *[1.0] * LEAST).late_after(M) == 1.0
    assert Hedge(0.1).on and not Hedge(0.0).on
    assert seen(Hedge(0.1), *[0.01] * LEAST).late_after(M) == SOONEST
    assert seen(Hedge(0.1), *[1.0] * 94, *[9.0] * 6).late_after(M) == 9.0
    assert seen(Hedge(0.1), *[1.0] * 96, *[9.0] * 4).late_after(M) == 1.0


def test_rivals_cost_their_share_at_most() -> None:
    hedge, spent = Hedge(0.05), 0.0
    for cost in (100.0, 70.0, 130.0) * 50:
        hedge.earn(cost)
        spent += cost if hedge.afford(cost) else 0.0
    assert 0 < spent <= 0.05 * 15_000


def slow_late(home: Path, hedge: float) -> tuple[Stage, ScriptedNode, RunResult]:
    """One of three nodes turns slow after a while; the result of a run over it."""
    stage = Stage(home, routing=RoutingSettings(hedge=hedge, strategy="round-robin"))
    nodes = [stage.node(number, think=0.5) for number in range(3)]
    slow = min(nodes, key=lambda node: node.peer)

    def later(event: object) -> None:
        if len(stage.heard(StepFinished)) >= LEAST:
            slow.think = 60.0

    stage.on_event = later
    return stage, slow, play(stage, numbered(LEAST + 8), MANY)


def test_a_rival_answers_where_the_first_token_is_late(tmp_path: Path) -> None:
    stage, slow, result = slow_late(tmp_path / "a", hedge=1.0)
    plain, _, other = slow_late(tmp_path / "b", hedge=0.0)
    assert result.status is other.status is RunStatus.COMPLETED
    assert result.output == other.output, "who answers changes nothing"
    assert result.seconds < other.seconds / 2
    assert len(stage.heard(StepStarted)) > len(plain.heard(StepStarted)) == LEAST + 8
    assert len(stage.heard(StepFinished)) == len(stage.heard(FirstToken)) == LEAST + 8
    store = Store(stage.home / "runs.db")
    peers = {step.peer for step in store.steps(result.run_id)}
    answered = {answer.peer for answer in store.answers(result.run_id).values()}
    assert peers == answered, "a step is noted at the peer that answers it"
    for node in stage.nodes:
        account = store.account(node.operator, Period(1))
        assert account.signed <= account.accepted + 2 * ADVANCE, "two calls at once"
        assert node.open == 0, "the slower call is cut off"
    assert store.account(slow.operator, Period(1)).signed > 0
    store.close()


@pytest.mark.parametrize("fault", [Fault.PROVIDER_FAILS, Fault.GOES_SILENT])
def test_a_rival_that_fails_leaves_the_first_call_alone(tmp_path: Path, fault: Fault) -> None:
    stage = Stage(tmp_path, routing=RoutingSettings(hedge=1.0, strategy="round-robin"))
    nodes = sorted((stage.node(number, think=0.5) for number in range(2)), key=lambda n: n.peer)
    steady, rival = nodes

    def later(event: object) -> None:
        if len(stage.heard(StepFinished)) == LEAST:
            steady.think = 5.0
            rival.always = fault

    stage.on_event = later
    result = play(stage, numbered(LEAST + 1), MANY)
    assert result.status is RunStatus.COMPLETED
    assert len(stage.heard(StepStarted)) == LEAST + 2, "one of them a rival"
    assert len(steady.calls) + len(rival.calls) == LEAST + 1
    assert result.seconds < 20


def test_both_failing_is_a_failure_like_any_other(tmp_path: Path) -> None:
    stage = Stage(tmp_path, routing=RoutingSettings(hedge=1.0, strategy="round-robin"))
    nodes = [stage.node(number, think=0.5) for number in range(2)]

    def later(event: object) -> None:
        if len(stage.heard(StepFinished)) == LEAST and isinstance(event, StepFinished):
            for node in nodes:
                node.think = 5.0
                node.faults.extend([Fault.PROVIDER_FAILS] * 2)

    stage.on_event = later
    result = play(stage, numbered(LEAST + 2), MANY)
    assert result.status is RunStatus.COMPLETED
    assert 1 <= len(stage.heard(StepRetried)) <= 4
    assert {node.open for node in nodes} == {0}
