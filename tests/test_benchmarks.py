"""Programs under `benchmarks/` are run by hand and rarely; that each still loads is held here."""

import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
EXTRA: Final = {"benchmarks.quality.scores", "benchmarks.quality.__main__"}
"""They need a package of the extra `bench`."""
PROGRAM: Final = """
import importlib, sys
sys.path[:0] = ["benchmarks"]  # some are run as scripts, which puts their folder there
for name in sys.argv[1:]:
    importlib.import_module(name)
"""


def test_every_benchmark_loads() -> None:
    files = sorted((ROOT / "benchmarks").rglob("*.py"))
    names = {".".join(file.relative_to(ROOT).with_suffix("").parts) for file in files}
    assert names > EXTRA
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *sorted(names - EXTRA)],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
