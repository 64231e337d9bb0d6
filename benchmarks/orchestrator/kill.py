"""kill -9 at random points, real processes: `python -m benchmarks.orchestrator.kill [POINTS]`.

`tests/orchestrator/kills.py` says how. Counted are completed calls that were made again (none may
be), calls that were out and are made again, and whether the text is that of a run which nobody
killed. Prints JSON.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

TESTS = Path(__file__).resolve().parents[2] / "tests"
sys.path[:0] = [str(TESTS), str(TESTS / "orchestrator")]

from kills import moments, point, whole  # noqa: E402 - found by the path above


def measure(points: int) -> dict[str, object]:
    """All points."""
    found = []
    with tempfile.TemporaryDirectory() as name:
        expected = whole(Path(name) / "whole")
        for number, after in enumerate(moments(points)):
            folder = Path(name) / f"{number}"
            folder.mkdir()
            found.append(point(folder, after, expected))
    return {
        "points": points,
        "killed_alive": sum(one.alive for one in found),
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
