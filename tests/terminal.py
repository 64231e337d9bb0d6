"""A `ricochet` command on a terminal of its own, for tests that answer as a person would."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pexpect

from live import environment

SECONDS = 40


@contextmanager
def on_terminal(
    *arguments: str, home: Path, cwd: Path | None = None, **extra: str
) -> Iterator["pexpect.spawn[str]"]:
    """The command, killed at the end if it has not ended by itself."""
    child: pexpect.spawn[str] = pexpect.spawn(
        sys.executable,
        ["-m", "ricochet_cli", *arguments],
        env=environment(home, **{"TERM": "xterm", "COLUMNS": "200"} | extra),  # type: ignore[arg-type]
        cwd=None if cwd is None else str(cwd),
        encoding="utf-8",
        timeout=SECONDS,
        dimensions=(50, 200),
    )
    try:
        yield child
    finally:
        child.close(force=True)


def type_hidden(child: "pexpect.spawn[str]", text: str) -> None:
    """Answer a prompt that does not echo: what is typed before it is off is thrown away."""
    assert child.waitnoecho(SECONDS)
    child.sendline(text)


def ended(child: "pexpect.spawn[str]") -> tuple[int | None, str]:
    """Exit code, and what was shown since the last thing that was waited for."""
    child.expect(pexpect.EOF)
    child.close()
    return child.exitstatus, child.before or ""
