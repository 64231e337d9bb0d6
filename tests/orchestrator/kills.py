"""Kill a process that works on a run, finish the run in this one, and compare.

A process runs a chain over scripted nodes that log each call of a provider. It is killed after so
long; the run is then finished here, on the same store. A killed process takes its nodes with it, so
what was in flight has to be asked anew: that is told, not hidden.
"""

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from killed_run import PARAGRAPHS, stage_of
from orchestrator_stage import SUBSCRIBER, Stage, numbered, play

from ricochet_orchestrator.checkpoint import RunStatus
from ricochet_orchestrator.control import Runs
from ricochet_orchestrator.dispatch import request_id_of
from ricochet_orchestrator.plan import StepId

SEED: Final = 5
SPAN: Final = 1.4
"""Seconds after the first answer within which a kill falls: a whole run takes about one."""


class Killed(NamedTuple):
    """What one kill did: steps on disk, and calls that were made again though they were, or not."""

    alive: bool
    stored: int
    repeated: int
    lost: int
    identical: bool
    completed: bool


def moments(points: int, seed: int = SEED) -> Iterator[float]:
    """Seconds after the first answer; every third falls before it, counted from the start."""
    chance = random.Random(seed)
    for number in range(points):
        yield -chance.uniform(0.2, 2.5) if number % 3 == 2 else chance.uniform(0, SPAN)


def whole(home: Path) -> str:
    """What a run says that nobody kills."""
    stage = Stage(home)
    stage.node(0)
    return play(stage, numbered(PARAGRAPHS)).output


def point(folder: Path, after: float, expected: str) -> Killed:
    """Kill once, finish, and compare."""
    home, log = folder / "home", folder / "calls.log"
    alive = _killed(home, log, after)
    before = log.read_text().split() if log.exists() else []
    done = {request_id_of(step, SUBSCRIBER) for step in _stored(home)}
    result = play(stage_of(home, log, think=0.0), numbered(PARAGRAPHS))
    again = set((log.read_text().split() if log.exists() else [])[len(before) :])
    return Killed(
        alive=alive,
        stored=len(done),
        repeated=len(done & again),
        lost=len((set(before) - done) & again),
        identical=result.output == expected,
        completed=result.status is RunStatus.COMPLETED,
    )


def _killed(home: Path, log: Path, after: float) -> bool:
    """Run in a process and kill it; whether it was alive."""
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("killed_run.py")), str(home), str(log)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "THINK": "0.15"},
    )
    assert process.stdout is not None
    if after >= 0:
        process.stdout.readline()
        time.sleep(after)
    else:
        # Before the first answer: the process is just starting, or planning.
        time.sleep(-after)
    alive = process.poll() is None
    process.kill()
    process.communicate(timeout=20)
    return alive


def _stored(home: Path) -> list[StepId]:
    """Steps whose answers the killed process had on disk."""
    if not (home / "runs.db").exists():
        return []
    with Runs(home) as runs:
        latest = runs.latest(1)
        return list(runs.answers(latest[0].id)) if latest else []
