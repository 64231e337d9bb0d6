"""One file's way to the disk, shared: everybody who waits at a moment waits for the same sync.

The sync runs in a thread, so that the loop goes on. One that is under way may have begun before a
write, so whoever comes then waits for the one after it.
"""

import asyncio
import contextlib
import os
from pathlib import Path
from typing import Any, Final

_sync: Final[Any] = getattr(os, "fdatasync", os.fsync)


class SharedSync:
    """Of a file that somebody else writes and does not replace; belongs to one event loop."""

    def __init__(self, path: Path) -> None:
        """OSError when it cannot be opened."""
        self._file = os.open(path, os.O_RDWR | getattr(os, "O_CLOEXEC", 0))
        self._next: asyncio.Future[None] | None = None
        self._syncing: asyncio.Task[None] | None = None

    def close(self) -> None:
        """What nobody has waited for goes to the disk too, as far as it can."""
        with contextlib.suppress(OSError):
            _sync(self._file)
        os.close(self._file)

    async def done(self) -> None:
        """Wait until what has been written before this call is on disk; OSError when it is not."""
        loop = asyncio.get_running_loop()
        if self._next is None:
            self._next = loop.create_future()
        if self._syncing is None:
            self._syncing = loop.create_task(self._sync())
        # Who is cancelled while it waits takes nothing from the others.
        await asyncio.shield(self._next)

    async def _sync(self) -> None:
        while (told := self._next) is not None:
            self._next = None
            try:
                await asyncio.to_thread(_sync, self._file)
            except OSError as error:
                told.set_exception(error)
                told.exception()  # there may be nobody left to hear of it
            else:
                told.set_result(None)
        self._syncing = None
