"""kill -9 at random points, real processes: `python -m benchmarks.orchestrator.kill [POINTS]`.

A process runs a chain over scripted nodes that log each call of a provider. It is killed after a
random time; the run is then finished in this process, on the same store. Counted are completed
calls that were made again (none may be), calls that were out and are made again, and whether the
text is that of a run which nobody killed. A killed process takes its nodes with it, so what was in
flight has to be asked anew: that is reported, not hidden. Prints JSON.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TESTS = Path(__file__).resolve().parents[2] / "tests"
sys.path[:0] = [str(TESTS), str(TESTS / "orchestrator")]

from killed_run import PARAGRAPHS, stage_of  # noqa: E402 - found by the path above
from orchestrator_stage import SUBSCRIBER, Stage, numbered, play  # noqa: E402

from ricochet_orchestrator.checkpoint import RunStatus  # noqa: E402
from ricochet_orchestrator.control import Runs  # noqa: E402
from ricochet_orchestrator.dispatch import request_id_of  # noqa: E402

SEED = 5
SPAN = 1.4
"""Seconds after the first answer within which a kill falls: a whole run takes about one."""


def killed(home: Path, log: Path, after: float) -> bool:
    """Run in a process and kill it so long after its first answer; whether it was alive."""
    process = subprocess.Popen(
        [sys.executable, str(TESTS / "orchestrator" / "killed_run.py"), str(home), str(log)],
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


def point(folder: Path, after: float, expected: str) -> dict[str, object]:
    """Kill once, finish, and compare."""
    home, log = folder / "home", folder / "calls.log"
    alive = killed(home, log, after)
    before = log.read_text().split() if log.exists() else []
    stored = stored_steps(home)
    stage = stage_of(home, log, think=0.0)
    result = play(stage, numbered(PARAGRAPHS))
    again = (log.read_text().split() if log.exists() else [])[len(before) :]
    done = {request_id_of(step, SUBSCRIBER) for step in stored}
    return {
        "killed_alive": alive,
        "stored": len(stored),
        "completed_repeated": len(done & set(again)),
        "in_flight_lost": len((set(before) - done) & set(again)),
        "identical": result.output == expected,
        "completed": result.status is RunStatus.COMPLETED,
    }


def stored_steps(home: Path) -> list[str]:
    """Steps whose answers the killed process had on disk."""
    if not (home / "runs.db").exists():
        return []
    with Runs(home) as runs:
        latest = runs.latest(1)
        return list(runs.answers(latest[0].id)) if latest else []


def measure(points: int) -> dict[str, object]:
    """All points; every third falls before the first answer."""
    chance = random.Random(SEED)
    found = []
    with tempfile.TemporaryDirectory() as name:
        whole = Stage(Path(name) / "whole")
        whole.node(0)
        expected = play(whole, numbered(PARAGRAPHS)).output
        for number in range(points):
            folder = Path(name) / f"{number}"
            folder.mkdir()
            after = -chance.uniform(0.2, 2.5) if number % 3 == 2 else chance.uniform(0, SPAN)
            found.append(point(folder, after, expected))
    return {
        "points": points,
        "killed_alive": sum(bool(one["killed_alive"]) for one in found),
        "completed_calls_repeated": sum(int(str(one["completed_repeated"])) for one in found),
        "in_flight_calls_lost": sum(int(str(one["in_flight_lost"])) for one in found),
        "identical_outputs": sum(bool(one["identical"]) for one in found),
        "completed_runs": sum(bool(one["completed"]) for one in found),
        "stored_when_killed": sorted({int(str(one["stored"])) for one in found}),
        "load": os.getloadavg()[0],
    }


def main() -> None:
    points = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    print(json.dumps(measure(points), indent=2))


if __name__ == "__main__":
    main()
