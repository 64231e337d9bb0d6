"""Whose processor time it was: a virtual loop that books each callback to the side it runs for.

Engine and nodes share one thread here, as they never do in earnest, so a process's time says
nothing of either. A task belongs to the side in whose context it was made; what the loop itself
takes (queues, timers, the wrapper's own clock) belongs to nobody and is told apart.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import Context, ContextVar, copy_context
from typing import Any, Final, Literal, TypeVar

from ricochet_network.virtual_time import VirtualLoop

T = TypeVar("T")
Side = Literal["engine", "node"]
_SIDE: Final[ContextVar[Side]] = ContextVar("side", default="engine")


class Books:
    """Processor seconds by side, and those spent on a named kind of work within a side."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()

    def counting(self, count: Callable[[str], int]) -> Callable[[str], int]:
        """A token counter whose time is booked beside that of the side that counts."""

        def counted(text: str) -> int:
            begin = time.thread_time()
            try:
                return count(text)
            finally:
                self.seconds[f"{_SIDE.get()} counting"] += time.thread_time() - begin
                self.calls[f"{_SIDE.get()} counting"] += 1

        return counted


@contextmanager
def acting_as(side: Side) -> Iterator[None]:
    """Tasks made within belong to this side, and so do those they make."""
    token = _SIDE.set(side)
    try:
        yield
    finally:
        _SIDE.reset(token)


class _BookedLoop(VirtualLoop):
    def __init__(self, books: Books) -> None:
        self._books = books
        super().__init__()

    def call_soon(
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        context = copy_context() if context is None else context
        return super().call_soon(self._run, callback, args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        context = copy_context() if context is None else context
        return super().call_at(when, self._run, callback, args, context=context)

    def _run(self, callback: Callable[..., object], args: tuple[Any, ...]) -> None:
        begin = time.thread_time()
        callback(*args)
        self._books.seconds[_SIDE.get()] += time.thread_time() - begin


def run_booked(main: Coroutine[Any, Any, T], books: Books) -> T:
    """`run_virtual`, with the time of each side entered into `books`."""
    with asyncio.Runner(loop_factory=lambda: _BookedLoop(books)) as runner:
        return runner.run(main)
