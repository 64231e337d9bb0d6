"""Fuzz what reads bytes of peers: `python -m fuzz [TARGET…] [--seconds 60] [--corpus DIR]`.

Each target runs in a process of its own under atheris (libFuzzer), which follows the coverage of
`ricochet_protocol` and `ricochet_network`, from the golden vectors and what `--corpus` has kept of
earlier runs. `--runs N --seed N` bounds a run by inputs and makes it repeat itself. A finding is
written to a file, which `--replay FILE` takes up in a plain Python. Exit code 1 when something was
found, 3 without atheris.
"""

import argparse
import importlib.util
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final, NamedTuple

from fuzz.targets import TARGETS

LARGEST: Final = 4096
"""Bytes of an input: what matters of longer ones is in these, and they take longer."""
FINDINGS: Final = Path("fuzz-findings")
_COVERAGE: Final = re.compile(r"^#(\d+)\s+(?:INITED|DONE)\s+cov: (\d+)", re.MULTILINE)


class Outcome(NamedTuple):
    """What came of one target: inputs tried, branches covered before and after, and a finding."""

    runs: int
    before: int
    after: int
    finding: str


def fuzz(
    name: str, *, seeds: Sequence[bytes], corpus: Path, findings: Path, limits: Sequence[str]
) -> Outcome:
    """Run one target until its limits or the first finding."""
    for directory in (corpus, findings):
        directory.mkdir(parents=True, exist_ok=True)
    for one in seeds:
        (corpus / sha256(one).hexdigest()[:16]).write_bytes(one)
    command = (
        *(sys.executable, "-m", "fuzz.one", name, str(corpus), f"-artifact_prefix={findings}/"),
        *(f"-max_len={LARGEST}", *limits),
    )
    root = Path(__file__).parents[1]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    told = done.stdout + done.stderr
    levels = [(int(runs), int(covered)) for runs, covered in _COVERAGE.findall(told)]
    finding = "" if done.returncode == 0 else told[-4000:]
    if not levels:
        return Outcome(0, 0, 0, finding or "it did not start")
    return Outcome(levels[-1][0], levels[0][1], levels[-1][1], finding)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=str(__doc__).split("\n")[0])
    parser.add_argument("target", nargs="*", help=f"all, or some of: {', '.join(TARGETS)}")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--runs", type=int, help="inputs for each target, in place of a time")
    parser.add_argument("--seed", type=int, default=0, help="0 takes another each time")
    parser.add_argument("--corpus", type=Path, help="keep what leads further, by target")
    parser.add_argument("--replay", type=Path, help="give one target this file's bytes once")
    chosen = parser.parse_args(argv)
    names = chosen.target or list(TARGETS)
    if unknown := [name for name in names if name not in TARGETS]:
        parser.error(f"no target {unknown[0]}; there are {', '.join(TARGETS)}")
    if chosen.replay:
        if len(names) != 1:
            parser.error("name the one target that is to take the file")
        TARGETS[names[0]].take(chosen.replay.read_bytes())
        return 0
    if importlib.util.find_spec("atheris") is None:
        print('atheris is missing; install it with pip install -e ".[fuzz]"', file=sys.stderr)
        return 3
    limits = [f"-seed={chosen.seed}"]
    limits.append(f"-runs={chosen.runs}" if chosen.runs else f"-max_total_time={chosen.seconds}")
    found = [name for name in names if _told(name, limits, chosen.corpus)]
    return 1 if found else 0


def _told(name: str, limits: list[str], kept: Path | None) -> bool:
    """Fuzz and say what came of it; whether something was found."""
    with tempfile.TemporaryDirectory() as passing:
        corpus = (kept or Path(passing)).absolute() / name
        found = fuzz(
            name,
            seeds=list(TARGETS[name].seeds()),
            corpus=corpus,
            findings=FINDINGS.absolute(),
            limits=limits,
        )
    verdict = "FOUND SOMETHING" if found.finding else "nothing found"
    print(f"{name}: {found.runs:,} inputs, coverage {found.before} to {found.after}, {verdict}")
    if found.finding:
        print(found.finding, file=sys.stderr)
    return bool(found.finding)


if __name__ == "__main__":
    raise SystemExit(main())
