"""All measures of the orchestrator in one run: `python -m benchmarks.orchestrator`. Prints JSON.

    python -m benchmarks.orchestrator [--keep FOLDER] [--write FILE]

Each measure is a program of its own, run after the other and alone, whose JSON goes into one
document with the machine and the load at its begin. `--keep` stores each measure's JSON in a folder
and takes what is there instead of measuring it again, so that a run which was cut off goes on.
`--write` also writes the page with the figures held against their targets.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

from benchmarks.machine import machine
from benchmarks.orchestrator.page import written

ROOT: Final = Path(__file__).resolve().parents[2]
MEASURES: Final = {
    "segmentation": ("-m", "benchmarks.orchestrator.segmentation"),
    "prompts": ("-m", "benchmarks.orchestrator.prompts"),
    "needles": ("-m", "benchmarks.orchestrator.needles"),
    "kill": ("-m", "benchmarks.orchestrator.kill"),
    "steering": ("-m", "benchmarks.orchestrator.steering"),
    "cost": ("-m", "benchmarks.orchestrator.cost"),
    "faults": ("-m", "benchmarks.orchestrator.faults"),
    "speed": ("-m", "benchmarks.orchestrator.speed"),
    "serving": ("-m", "benchmarks.orchestrator.serving"),
    "routing": ("benchmarks/routing.py",),
}
LONGEST: Final = 3600
"""Seconds after which a measure is given up."""


def measured(name: str) -> dict[str, Any]:
    """One measure's document, with what it took; a measure may end with 1 where it misses."""
    load, begin = os.getloadavg()[0], time.perf_counter()
    print(f"{name} ...", file=sys.stderr)
    command = [sys.executable, *MEASURES[name]]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, timeout=LONGEST)
    if done.returncode not in (0, 1) or not done.stdout:
        raise SystemExit(f"{name} ended with {done.returncode}")
    document: dict[str, Any] = json.loads(done.stdout)
    return {
        **document,
        "measured": time.strftime("%Y-%m-%d"),
        "took_seconds": round(time.perf_counter() - begin),
        "load_before": round(load, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--keep", type=Path, help="a folder of the measures' own documents")
    parser.add_argument("--write", type=Path, help="also write a page with the figures")
    args = parser.parse_args()
    found: dict[str, Any] = {"machine": machine()}
    for name in MEASURES:
        kept = args.keep / f"{name}.json" if args.keep else None
        if kept and kept.exists():
            found[name] = json.loads(kept.read_text("utf-8"))
            continue
        found[name] = measured(name)
        if kept:
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_text(json.dumps(found[name], indent=2), "utf-8")
    if args.write:
        args.write.write_text(written(found), "utf-8")
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
