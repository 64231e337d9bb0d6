"""What a monitor shows of a run, and what all calls add up to."""

import asyncio
import json
import time
from pathlib import Path

import pytest
from orchestrator_stage import SHORT, Stage, numbered, on, play

from ricochet_cli.main import main
from ricochet_cli.monitor_command import draw, line
from ricochet_orchestrator.checkpoint import RunStatus
from ricochet_orchestrator.control import Runs
from ricochet_orchestrator.event_log import Logged
from ricochet_orchestrator.monitor import View, run_view
from ricochet_orchestrator.progress import Event, StepFinished
from ricochet_orchestrator.statistics import GROUPINGS, total, totals
from ricochet_protocol.errors import UsageError
from ricochet_protocol.ids import ModelId
from ricochet_protocol.money import Units


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    made = Stage(tmp_path)
    for number in range(2):
        made.node(number, think=1.0)
    return made


def test_a_running_run_shows_what_is_at_work_and_how_long_it_takes(stage: Stage) -> None:
    logged: list[Logged] = []
    views: list[View] = []

    def hear(event: Event) -> None:
        now = asyncio.get_running_loop().time()
        logged.append(Logged(len(logged) + 1, now, event))
        if isinstance(event, StepFinished):
            with Runs(stage.home) as runs:
                views.append(run_view(runs.state(), logged, now, Units(10**6)))

    stage.on_event = hear
    result = play(stage, numbered(6))
    first, *_, last = views
    assert (first.status, first.total, first.done) == ("running", 7, 1)
    assert first.roles == ("analyzer",) and first.left is not None and first.left > 1
    assert first.moving and first.cap == 10**6
    assert last.percent == 100 and last.cost == result.cost
    with Runs(stage.home) as runs:
        ended = runs.view()
    assert (ended.status, ended.left, ended.moving, ended.running) == ("completed", None, False, 0)
    assert ended.seconds == pytest.approx(result.seconds)
    assert ended.roles == ("analyzer", "integrator")


def test_a_step_has_a_box_of_its_own(stage: Stage) -> None:
    play(stage, numbered(2))
    with Runs(stage.home) as runs:
        step = runs.state().steps[0]
        view = runs.view(step.id[:8])
        assert (view.step, view.status, view.total) == (step.id, "completed", 1)
        assert view.tokens_in > 0 and view.cost > 0 and view.seconds > 0.9
        with pytest.raises(UsageError, match="no run"):
            runs.view("zzzzzzzz")
        with pytest.raises(UsageError, match="no run"):
            runs.view(step.id[:3])


def test_the_box_is_straight_and_plain_lines_change_only_when_something_happened() -> None:
    view = View(
        run="abc",
        title="c over d\x1b[31m",
        status=RunStatus.RUNNING.value,
        models=(ModelId("m"),),
        roles=("analyzer",),
        done=13,
        total=20,
        running=2,
        seconds=2.3,
        left=1.7,
        tokens_in=1456,
        tokens_out=834,
        cost=Units(32_000),
        cap=Units(1_000_000),
        error="e\x1b]0;x\x07",
    )
    box = draw(view, coloured=False).splitlines()
    assert len({len(row) for row in box[1:]}) == 1
    text = "\n".join(box)
    assert "65%" in text and "2.3 s / 4.0 s" in text and "1,456 in / 834 out" in text
    assert "$0.032 of $1.00" in text and "\x1b" not in text and "\x07" not in text
    assert "\x1b[36m" in draw(view, coloured=True)
    assert "13/20 (65%)" in line(view) and "2.3" not in line(view)


def test_monitor_and_stats_as_commands(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    result = play(stage, numbered(3))
    home = ("--home", str(stage.home))
    assert main(["monitor", "--json", *home]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["status"], shown["percent"], shown["cost"]) == ("completed", 100, result.cost)
    assert main(["monitor", result.run_id, "--watch", *home]) == 0
    assert capsys.readouterr().out.startswith(f"{result.run_id} completed 4/4 (100%)")
    assert main(["monitor", *home]) == 0
    assert "✓ completed" in capsys.readouterr().out
    # Answers of a test are of the year 2023 on its clock.
    for by in GROUPINGS:
        assert main(["stats", "chain", "--by", by, "--since", "2001-01-01", "--json", *home]) == 0
        stats = json.loads(capsys.readouterr().out)
        assert sum(one["cost"] for one in stats["groups"]) == stats["all"]["cost"] == result.cost
        assert main(["stats", "chain", "--by", by, "--since", "2001-01-01", *home]) == 0
        assert "tokens/s" in capsys.readouterr().out
    assert main(["stats", "chain", "--by", "colour", *home]) == 2
    assert main(["monitor", "nothing-such", *home]) == 2


def test_stats_count_each_paid_answer_once(stage: Stage) -> None:
    first = play(stage, numbered(3))
    play(stage, numbered(3), SHORT)
    with Runs(stage.home) as runs:
        uses = runs.uses()
    assert len(uses) == first.calls == 4
    steps = {one.name: one for one in totals(uses, "step")}
    assert (steps["reader"].calls, steps["writer"].calls) == (3, 1)
    assert total("all", list(uses)).tokens_out == first.tokens_out
    assert {one.name for one in totals(uses, "peer")} <= {node.peer for node in stage.nodes}
    assert steps["reader"].first_token == pytest.approx(1.0, abs=0.2)


def test_a_dead_runs_clock_stands_still(stage: Stage) -> None:
    async def scene() -> None:
        work = asyncio.create_task(stage.play(numbered(9)))
        await asyncio.sleep(2.5)
        with Runs(stage.home) as runs:
            view = run_view(runs.state(), (), time.time())
            assert view.running == 2 and view.left is None
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)

    on(stage, scene)
    with Runs(stage.home) as runs:
        view = runs.view()
    assert (view.status, view.running, view.moving) == ("paused", 0, False)
