"""Tasks that somebody owns: whoever spawns here can cancel and await everything at once.

A failure nobody expected is a defect of ours; it is logged by type and place, because its text may
hold what must not be logged, and the other tasks go on.
"""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
_log = logging.getLogger(__name__)


class TaskOwner:
    """A set of running tasks; after `stop` nothing more can be spawned."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._stopped = False

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start `work`; after `stop` its task is cancelled before it begins."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        if self._stopped:
            task.cancel()
        return task

    async def stop(self) -> None:
        """Cancel every task and wait for its end; may be called twice."""
        self._stopped = True
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(tuple(self._tasks))

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a task of the network failed with %s", type(error).__name__)
