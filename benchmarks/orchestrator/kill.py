"""kill -9 at random points, real processes: `python -m benchmarks.orchestrator.kill [POINTS]`.

`tests/orchestrator/kills.py` says how. POINTS (100) kills meet a process at work; one that meets a
process which had ended is told and counts for nothing. Counted are completed calls that were made
again (none may be), calls that were out and are made again, and whether the text is that of a run
which nobody killed. Prints JSON.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

TESTS = Path(__file__).resolve().parents[2] / "tests"
sys.path[:0] = [str(TESTS), str(TESTS / "orchestrator")]

from kills import kills  # noqa: E402 - found by the path above


def measure(points: int) -> dict[str, object]:
    """Kill, finish and count; each point takes two or three seconds."""
    with tempfile.TemporaryDirectory() as name:
        every = list(kills(Path(name), points))
    found = [one for one in every if one.alive]
    return {
        "points": len(found),
        "met_after_the_end": len(every) - len(found),
        "with_answers_stored": sum(one.stored > 0 for one in found),
        "with_calls_out": sum(one.lost > 0 for one in found),
        "completed_calls_repeated": sum(one.repeated for one in found),
        "in_flight_calls_lost": sum(one.lost for one in found),
        "identical_outputs": sum(one.identical for one in found),
        "completed_runs": sum(one.completed for one in found),
        "stored_when_killed": sorted({one.stored for one in found}),
        "load": os.getloadavg()[0],
    }


def main() -> None:
    points = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    print(json.dumps(measure(points), indent=2))


if __name__ == "__main__":
    main()
