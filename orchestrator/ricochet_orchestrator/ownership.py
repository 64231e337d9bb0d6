"""Which process works on a run: the one that holds the run's lock.

The operating system drops the lock with the process, however that ends, so there is no moment at
which a dead process seems to work, nor one at which two do.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from ricochet_protocol.errors import LocalFault
from ricochet_settlement.file_lock import held, locked

FOLDER: Final = "runs"
_PATIENCE: Final = 0.3
"""Seconds: whoever only looks whether the lock is held, holds it for a moment."""


def run_file(home: Path, run_id: str, kind: str) -> Path:
    """A file that belongs to a run besides its rows."""
    return home / FOLDER / f"{run_id}.{kind}"


def worker_name() -> str:
    """This process, as a run's record names it."""
    return f"{os.getpid()}@{socket.gethostname()}"


@contextmanager
def owning(home: Path, run_id: str) -> Iterator[None]:
    """Work on the run; LocalFault `run_owned` when another process does."""
    with ExitStack() as held_here:
        try:
            held_here.enter_context(locked(home / FOLDER / run_id, _PATIENCE))
        except LocalFault as error:
            if error.code != "file_busy":
                raise
            raise LocalFault(
                "run_owned",
                f"Another process is working on run {run_id}.",
                f"Look on with `ricochet chain watch {run_id}`, or stop it with "
                f"`ricochet chain pause {run_id}`.",
            ) from None
        yield


def owned(home: Path, run_id: str) -> bool:
    """Whether a process is working on the run."""
    return held(home / FOLDER / run_id)
