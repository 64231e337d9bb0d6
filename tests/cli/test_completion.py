"""Completion in the shells that are on this machine, and what every shell is answered."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from live import environment, ricochet

NAME = "ricochet"


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A PATH on which `ricochet` is this program."""
    script = tmp_path / NAME
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -m ricochet_cli "$@"\n')
    script.chmod(0o755)
    return f"{tmp_path}:/usr/bin:/bin"


def script_of(shell: str) -> str:
    made = ricochet("completion", shell)
    assert made.returncode == 0, made.stderr
    return made.stdout


def in_bash(path: str, line: str) -> list[str]:
    """What bash completes at the end of a line, by the function that the script registers."""
    words = line.split(" ")
    call = (
        f"{script_of('bash')}\n"
        f"COMP_WORDS=({' '.join(words)!s} {'' if words[-1] else chr(39) * 2})\n"
        f"COMP_CWORD={len(words) - 1}\n"
        "$(complete -p ricochet | sed 's/.*-F \\([^ ]*\\) .*/\\1/') ricochet\n"
        'printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    done = subprocess.run(
        ["bash", "--norc", "-c", call],
        env=environment(PATH=path),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not here")
@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("ricochet wal", ["wallet"]),
        ("ricochet wallet rem", ["remember"]),
        ("ricochet chain run --max-c", ["--max-cost"]),
        ("ricochet init --as su", ["subscriber"]),
        ("ricochet completion f", ["fish"]),
        ("ricochet nothing-like-it", []),
    ],
)
def test_bash_completes(line: str, found: list[str], path: str) -> None:
    assert in_bash(path, line) == found


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_a_shell_takes_its_script(shell: str, path: str, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text(script_of(shell))
    assert script.read_text().count("_RICOCHET_COMPLETE") >= 2  # both names of the program
    if (program := shutil.which(shell)) is not None:
        subprocess.run([program, "-n", str(script)], check=True, timeout=60)


def test_zsh_and_fish_are_answered_with_help() -> None:
    zsh = ricochet(_RICOCHET_COMPLETE="complete_zsh", _TYPER_COMPLETE_ARGS="ricochet wal")
    assert '"wallet":"your account on the chain"' in zsh.stdout
    fish = ricochet(
        _RICOCHET_COMPLETE="complete_fish",
        _TYPER_COMPLETE_FISH_ACTION="get-args",
        _TYPER_COMPLETE_ARGS="ricochet tasks dep",
    )
    assert fish.stdout.startswith("deps\t")


def test_a_shell_that_is_not_known_is_refused() -> None:
    assert ricochet("completion", "tcsh").returncode == 2
