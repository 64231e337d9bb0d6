"""The home's runs, kept open while the server lives: opening them took most of a light call.

Tools run in several threads; they look one after another, for a few milliseconds each. A store that
was put in the place of the one that is open, or encrypted otherwise, is opened anew.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ricochet_orchestrator.checkpoint import STORE_FILE

if TYPE_CHECKING:
    from ricochet_orchestrator.control import Runs


class OpenRuns:
    """The runs of one home; close them at the end."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._lock = threading.Lock()
        self._open: tuple[tuple[int, int], Runs] | None = None

    @property
    def exist(self) -> bool:
        """Whether anything was run here."""
        return (self._home / STORE_FILE).exists()

    @contextmanager
    def look(self) -> "Iterator[Runs]":
        """The runs, for nobody else meanwhile; UsageError `no_runs` when there are none."""
        with self._lock:
            yield self._current()

    def close(self) -> None:
        """Release the store; a later look opens it again."""
        with self._lock:
            self._release()

    def _current(self) -> "Runs":
        try:
            found = (self._home / STORE_FILE).stat()
            identity = (found.st_dev, found.st_ino)
        except FileNotFoundError:
            identity = (0, 0)
        if self._open is not None:
            known, runs = self._open
            if known == identity and not runs.resealed:
                return runs
            self._release()
        # The database library takes most of a second to load, and no handshake waits for it.
        from ricochet_orchestrator.control import Runs

        runs = Runs(self._home)
        self._open = identity, runs
        return runs

    def _release(self) -> None:
        if self._open is not None:
            self._open[1].close()
            self._open = None
