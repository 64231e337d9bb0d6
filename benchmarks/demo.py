"""How long the demo takes, and where the time goes: `python benchmarks/demo.py [--model]`.

Without --model the provider is the tests' double, which answers at once: what remains is process
start-up, the chain, the network and payment. With --model the real local model answers. Both do the
same: three nodes, the default document. Prints JSON: medians of the demo's own timings.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

DOUBLE = Path(__file__).resolve().parents[1] / "tests" / "doubles" / "upstream.py"
TARGET_SECONDS = {"double": 20.0, "model": 120.0}
DEMO_SECONDS = 600


def demo(*options: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "ricochet_cli", "demo", "--json", *options],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=True,
        timeout=DEMO_SECONDS,
    )
    report: dict[str, Any] = json.loads(done.stdout)
    if not report["accounted"]:
        raise SystemExit("a demo did not account for every unit")
    return report


@contextmanager
def double() -> Iterator[tuple[str, ...]]:
    """The options that make the demo use the double."""
    with tempfile.NamedTemporaryFile("w", suffix=".keys") as keys:
        keys.write("first\nsecond\nthird\n")
        keys.flush()
        process = subprocess.Popen(
            [sys.executable, str(DOUBLE), "--keys-file", keys.name],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout is not None
            yield "--upstream", process.stdout.readline().strip(), "--upstream-keys", keys.name
        finally:
            process.terminate()
            process.communicate(timeout=20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", action="store_true", help="use the real local model")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    if options.model:
        reports = [demo() for _ in range(options.runs)]
    else:
        with double() as arguments:
            reports = [demo(*arguments) for _ in range(options.runs)]
    kind = "model" if options.model else "double"
    phases = {
        phase: round(statistics.median(report["timings"][phase] for report in reports), 2)
        for phase in reports[0]["timings"]
    }
    document = {
        "provider": kind,
        "runs": options.runs,
        "load": os.getloadavg()[0],
        "target_seconds": TARGET_SECONDS[kind],
        "median_seconds": phases,
        "within_target": phases["total"] <= TARGET_SECONDS[kind],
        "calls": reports[0]["run"]["calls"],
        "tokens_in": reports[0]["run"]["tokens_in"],
    }
    print(json.dumps(document, indent=2))


if __name__ == "__main__":
    main()
