"""Kill a process that works on a run, finish the run in this one, and compare.

A process runs a chain over scripted nodes that log each call of a provider when it begins. It is
killed after so long; the run is then finished here, on the same store. A killed process takes its
nodes with it, so what was in flight has to be asked anew: that is told, not hidden.
"""

import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from killed_run import PARAGRAPHS, begin, stage_of
from orchestrator_stage import SUBSCRIBER, Stage, numbered, play

from ricochet_orchestrator.call_shape import request_id_of
from ricochet_orchestrator.checkpoint import RunStatus
from ricochet_orchestrator.control import Runs
from ricochet_orchestrator.plan import StepId

SEED: Final = 5
THINK: Final = 0.15
SPAN: Final = 0.6
"""Seconds after the first answer within which a kill falls: a whole run takes about as long."""
TRIES: Final = 3
"""Kills for each that is to meet a process at work; the machine is too fast for `SPAN` beyond."""


class Killed(NamedTuple):
    """What one kill did: steps on disk, and calls that were made again though they were, or not."""

    alive: bool
    stored: int
    repeated: int
    lost: int
    identical: bool
    completed: bool


def kills(folder: Path, points: int) -> Iterator[Killed]:
    """So many kills of a process at work, and those that met one which had already ended."""
    expected = _whole(folder / "whole")
    chance = random.Random(SEED)
    for number in range(TRIES * points):
        # Every third falls before the first answer: the process is just starting, or planning.
        early = number % 3 == 2
        after = -chance.uniform(0.2, 2.5) if early else chance.uniform(0, SPAN)
        place = folder / f"{number}"
        place.mkdir()
        found = _point(place, after, expected)
        yield found
        points -= found.alive
        if not points:
            return
    raise AssertionError(f"{points} kills are missing: the process ends before it is killed")


def _whole(home: Path) -> str:
    """What a run says that nobody kills."""
    stage = Stage(home)
    stage.node(0)
    return play(stage, numbered(PARAGRAPHS)).output


def _point(folder: Path, after: float, expected: str) -> Killed:
    """Kill once, finish, and compare."""
    home, log = folder / "home", folder / "calls.log"
    alive = _killed(home, log, after)
    before = _calls(log)
    done = {request_id_of(step, SUBSCRIBER) for step in _stored(home)}
    result = play(stage_of(home, log, think=0.0), numbered(PARAGRAPHS))
    again = set(_calls(log)[len(before) :])
    return Killed(
        alive=alive,
        stored=len(done),
        repeated=len(done & again),
        lost=len((set(before) - done) & again),
        identical=result.output == expected,
        completed=result.status is RunStatus.COMPLETED,
    )


def _calls(log: Path) -> list[str]:
    return log.read_text().split() if log.exists() else []


def _killed(home: Path, log: Path, after: float) -> bool:
    """Run in a process and kill it so long after its first answer, or its start; was it alive?"""
    process = begin(home, log, THINK)
    assert process.stdout is not None
    if after >= 0:
        process.stdout.readline()
    time.sleep(abs(after))
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
