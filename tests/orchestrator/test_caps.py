"""`max_cost` and `max_time` hold, whatever nodes do."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from orchestrator_stage import MAPPED, SHORT, Stage, costs, numbered, on, play

from ricochet_orchestrator.checkpoint import RunStatus
from ricochet_orchestrator.control import Runs
from ricochet_orchestrator.request import Options
from ricochet_orchestrator.step_budget import StepBudgets
from ricochet_protocol.errors import BudgetError, ExitCode
from ricochet_protocol.money import Units
from twins.scripted_node import Fault


def stage_at(home: Path, think: float = 0.0) -> Stage:
    stage = Stage(home)
    for number in range(2):
        stage.node(number, think=think)
    return stage


def test_a_run_stops_before_its_cap_and_goes_on_with_a_higher_one(tmp_path: Path) -> None:
    whole = play(stage_at(tmp_path / "whole"), numbered(8))
    cap = Units(whole.cost // 2)
    stage = stage_at(tmp_path / "capped")
    with pytest.raises(BudgetError) as caught:
        play(stage, numbered(8), options=Options(max_cost=cap))
    assert (caught.value.code, caught.value.exit_code) == ("max_cost", ExitCode.BUDGET)
    assert "resume" in caught.value.hint
    assert 0 < costs(stage.nodes) <= cap
    with Runs(tmp_path / "capped") as runs:
        run = runs.record(None)
        assert run.status is RunStatus.PAUSED
        runs.take_up(run.id, lambda request: request)
    higher = play(stage, numbered(8), options=Options(max_cost=Units(2 * whole.cost)))
    assert higher.run_id == run.id
    assert (higher.status, higher.cost) == (RunStatus.COMPLETED, whole.cost)


@pytest.mark.parametrize("percent", [1, 35, 99])
@pytest.mark.parametrize("fault", [None, Fault.TAKES_THE_ADVANCE, Fault.DIES_AFTER_FIRST_TOKEN])
def test_the_cap_is_not_passed_whatever_a_node_does(
    tmp_path: Path, percent: int, fault: Fault | None
) -> None:
    whole = play(stage_at(tmp_path / "whole"), numbered(5))
    cap = Units(whole.cost * percent // 100)
    stage = stage_at(tmp_path / "capped")
    if fault is not None:
        stage.nodes[0].faults.extend([fault, None, fault])
    with pytest.raises(BudgetError) as caught:
        play(stage, numbered(5), options=Options(max_cost=cap))
    assert caught.value.code == "max_cost"
    assert costs(stage.nodes) <= cap, "what nodes say is due, lost advances included"


def test_what_earlier_processes_lost_counts_against_the_cap(tmp_path: Path) -> None:
    whole = play(stage_at(tmp_path / "whole"), numbered(8)).cost
    cap = Units(whole)
    stage = stage_at(tmp_path / "capped")
    for _ in range(4):
        for node in stage.nodes:
            node.faults.extend([Fault.TAKES_THE_ADVANCE] * 2)
        with pytest.raises(BudgetError):
            play(stage, numbered(8), options=Options(max_cost=cap))
        assert costs(stage.nodes) <= cap
    with Runs(tmp_path / "capped") as runs:
        assert runs.record(None).lost > 0


def test_a_run_is_paused_after_its_time(tmp_path: Path) -> None:
    stage = stage_at(tmp_path, think=2.0)

    async def scene() -> None:
        with pytest.raises(BudgetError) as caught:
            await stage.play(numbered(9), options=Options(max_time=5.0))
        assert caught.value.code == "max_time"

    on(stage, scene)
    with Runs(tmp_path) as runs:
        run = runs.record(None)
        assert run.status is RunStatus.PAUSED and 4.9 < run.seconds < 5.3
        done = len(runs.answers(run.id))
        assert 0 < done < 10
    with pytest.raises(BudgetError):
        play(stage, numbered(9), options=Options(max_time=5.0))
    assert play(stage, numbered(9), options=Options(max_time=500.0)).calls == 10


@given(
    st.integers(0, 1000),
    st.lists(st.tuples(st.integers(1, 300), st.floats(0, 1), st.booleans()), max_size=40),
)
def test_spent_and_worst_never_exceed_the_cap(
    cap: int, calls: list[tuple[int, float, bool]]
) -> None:
    budgets = StepBudgets((), Units(cap))
    out: list[tuple[int, int]] = []
    spent = 0
    for worst, share, ends in calls:
        if budgets.open(MAPPED, Units(worst)):
            out.append((worst, int(worst * share)))
        else:
            assert spent + sum(most for most, _ in out) + worst > cap
            assert budgets.exceeded(MAPPED) is not None
        assert spent + sum(most for most, _ in out) <= cap
        if ends and out:
            most, cost = out.pop()
            budgets.close(MAPPED, Units(most), Units(cost))
            spent += cost


def test_without_a_cap_nothing_is_held_back() -> None:
    budgets = StepBudgets(())
    assert all(budgets.open(SHORT.steps[0], Units(10**9)) for _ in range(9))
