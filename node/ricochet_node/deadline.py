"""One timer for all the waits of one call: a timer for each piece of a stream costs more than it.

Waits come one after the other, possibly from different tasks; between them nothing is cancelled.
"""

import asyncio
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self, TypeVar

T = TypeVar("T")


@contextmanager
def ending_within(seconds: float) -> Iterator[None]:
    """Cancel the task that enters it when that time is over, wherever it waits then.

    For generators: unlike `asyncio.timeout` it also ends a consumer who does not come back for the
    next value, and it turns nothing into a TimeoutError.
    """
    task = asyncio.current_task()
    assert task is not None
    timer = asyncio.get_running_loop().call_later(seconds, task.cancel)
    try:
        yield
    finally:
        timer.cancel()


class Deadline:
    """At `when` on the loop's clock every wait, open or to come, ends with TimeoutError."""

    def __init__(self, when: float) -> None:
        self._when = when
        self._passed = False
        self._waiting: asyncio.Task[Any] | None = None

    def __enter__(self) -> Self:
        self._timer = asyncio.get_running_loop().call_at(self._when, self._pass)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._timer.cancel()

    def _pass(self) -> None:
        self._passed = True
        if self._waiting is not None:
            self._waiting.cancel()

    async def wait(self, awaitable: Awaitable[T]) -> T:
        """What `awaitable` gives; TimeoutError when the deadline comes first."""
        task = asyncio.current_task()
        assert task is not None
        asked_to_end = task.cancelling()
        self._waiting = task
        try:
            if self._passed:
                task.cancel()
            return await awaitable
        except asyncio.CancelledError:
            # Somebody else's wish to end the task goes before ours.
            if self._passed and task.uncancel() <= asked_to_end:
                raise TimeoutError from None
            raise
        finally:
            self._waiting = None
