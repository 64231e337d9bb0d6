"""Needles: `python -m benchmarks.orchestrator.needles [TOKENS]`. Prints JSON.

50 needles in TOKENS (100,000) of Python's language reference, half of them put where a segment
ends. Counted are those that reach, whole, the final prompt of the chain `questions`: with a window
that holds all passages at once, and with a small one, where answers are joined over several levels.
The model is a script, so what is measured is what the engine passes on and not what a model misses.
"""

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parents[2] / "tests"
sys.path[:0] = [str(TESTS), str(TESTS / "orchestrator")]

from needles import hay, look  # noqa: E402

NEEDLES = 50
WINDOWS = (65536, 8192)


def measure(tokens: int, window: int) -> dict[str, Any]:
    placed = hay(tokens, NEEDLES, window)
    with tempfile.TemporaryDirectory() as home:
        found = look(Path(home), placed, window)
    return {
        "tokens": tokens,
        "window": window,
        "segments": placed.segments,
        "calls": found.result.calls,
        "status": found.result.status.value,
        "needles": len(placed.needles),
        "needles_cut_by_a_segment": len(placed.cut),
        "reached_the_final_prompt": len(found.reached),
        "percent": round(100 * len(found.reached) / len(placed.needles), 1),
    }


def main() -> None:
    tokens = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    rows = [measure(tokens, window) for window in WINDOWS]
    print(json.dumps({"runs": rows, "load": os.getloadavg()[0]}, indent=2))


if __name__ == "__main__":
    main()
