"""The checks of the whole tree: types, style and layers."""

import subprocess
import sys
from pathlib import Path

from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

ROOT = Path(__file__).resolve().parents[1]


def check(*arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=110
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_types() -> None:
    check("mypy")


def test_lint() -> None:
    check("ruff", "check")


def test_format() -> None:
    check("ruff", "format", "--check")


def test_layers() -> None:
    assert lint_imports() == EXIT_STATUS_SUCCESS
