"""One process at a time changes a file: a lock beside it, which dies with who holds it.

A file that is replaced in one step is never seen half written, yet two processes that read, change
and replace it lose one of the changes. The lock is for the whole of reading to replacing.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ricochet_protocol.errors import LocalFault

WAIT_SECONDS: Final = 15
"""Above what any holder needs: the slowest seals keys under a new passphrase."""
_STEP_SECONDS: Final = 0.02


@contextmanager
def locked(path: Path, wait: float = WAIT_SECONDS) -> Iterator[None]:
    """Hold the lock of `path`; LocalFault `file_busy` when another keeps it, `file_unwritable`."""
    lock = path.with_name(f"{path.name}.lock")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise LocalFault(
            "file_unwritable",
            f"cannot write {lock}: {error.strerror}",
            "Check free space and permissions, or choose another folder with --home.",
        ) from None
    try:
        _take(descriptor, path, time.monotonic() + wait)
        yield
    finally:
        os.close(descriptor)


def held(path: Path) -> bool:
    """Whether a process holds the lock of `path` now; makes no file."""
    try:
        descriptor = os.open(
            path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
        )
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _take(descriptor: int, path: Path, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise LocalFault(
                    "file_busy",
                    f"another process is changing {path}",
                    "wait until it has ended, then run the command again",
                ) from None
            time.sleep(_STEP_SECONDS)
