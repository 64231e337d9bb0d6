"""The checks of the whole tree: types, style and layers."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def check(*arguments: str) -> None:
    run(sys.executable, "-m", *arguments)


def run(*command: str) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_types() -> None:
    check("mypy")


def test_lint() -> None:
    check("ruff", "check")


def test_format() -> None:
    check("ruff", "format", "--check")


def test_layers() -> None:
    # A process of its own: it switches off every logger that its process has made before.
    run(str(Path(sys.executable).with_name("lint-imports")))
