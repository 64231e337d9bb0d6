"""Pause and cancel, real processes: `python -m benchmarks.orchestrator.steering [RUNS]`. JSON.

A process works on a run over scripted nodes that log each call of a provider when it begins. At a
random moment this process wants the run paused, in RUNS (20) runs, or cancelled, in as many more.
Told is the time on the clock from the wish to the moment at which the store says that it is done,
and calls that began after that moment, until the process had ended by itself. A run that ends
before the wish comes counts for nothing.
"""

import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

TESTS = Path(__file__).resolve().parents[2] / "tests"
sys.path[:0] = [str(TESTS), str(TESTS / "orchestrator")]

from killed_run import begin  # noqa: E402 - found by the path above

from ricochet_orchestrator.checkpoint import RunRecord, RunStatus  # noqa: E402
from ricochet_orchestrator.control import Runs  # noqa: E402

WISHES: Final[dict[str, tuple[RunStatus, Callable[[Runs], RunRecord]]]] = {
    "pause": (RunStatus.PAUSED, Runs.pause),
    "cancel": (RunStatus.CANCELLED, Runs.cancel),
}
THINK: Final = 0.4
SPAN: Final = 0.8
"""Seconds after the first answer within which the wish comes: a run takes about as long again."""
TRIES: Final = 3


class Stopped(NamedTuple):
    """`calls` had begun when the run was stopped, and `later` began after that."""

    milliseconds: float
    status: RunStatus
    calls: int
    later: int


def stopped(folder: Path, wish: Callable[[Runs], RunRecord], after: float) -> Stopped:
    """Start a run, stop it so long after its first answer, and wait until its process ends."""
    home, log = folder / "home", folder / "calls.log"
    process = begin(home, log, THINK)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(after)
        with Runs(home) as runs:
            start = time.perf_counter()
            run = wish(runs)
            took = time.perf_counter() - start
        calls = len(log.read_text().split())
        process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait(timeout=20)
    return Stopped(1000 * took, run.status, calls, len(log.read_text().split()) - calls)


def measure(name: str, points: int, folder: Path) -> dict[str, Any]:
    """So many runs that the wish met at work."""
    status, wish = WISHES[name]
    chance = random.Random(name)
    found: list[Stopped] = []
    ended = 0
    for number in range(TRIES * points):
        place = folder / f"{name}-{number}"
        place.mkdir()
        one = stopped(place, wish, chance.uniform(0, SPAN))
        if one.status is status:
            found.append(one)
        else:
            ended += 1
        if len(found) == points:
            break
    else:
        raise SystemExit(f"only {len(found)} of {points} runs were at work when they were stopped")
    took = sorted(one.milliseconds for one in found)
    return {
        "runs": points,
        "ended_before": ended,
        "median_ms": round(took[points // 2], 1),
        "worst_ms": round(took[-1], 1),
        "calls_begun_before": sum(one.calls for one in found),
        "calls_begun_after": sum(one.later for one in found),
    }


def main() -> None:
    points = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    with tempfile.TemporaryDirectory() as folder:
        found = {name: measure(name, points, Path(folder)) for name in WISHES}
    print(json.dumps({**found, "load": os.getloadavg()[0]}, indent=2))


if __name__ == "__main__":
    main()
