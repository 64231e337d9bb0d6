"""Between asyncio and the thread in which trio runs: calls into it, and byte pipes across.

libp2p needs trio, everything else is asyncio, so trio gets a thread of its own. What crosses are
calls, whose cancellation crosses too, and bytes in bounded pipes. A pipe hands over everything it
holds at once: under load many frames cost one wake-up and one write, and a lone frame waits for
nothing. No asyncio cancellation reaches a write of trio's side, which would ruin its stream.
"""

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol, TypeVar

import trio

from ricochet_protocol.errors import RemoteCode, RemoteFault

PIPE: Final = 256 * 1024
"""Bytes a pipe holds before writers wait."""
T = TypeVar("T")


class Signal(Protocol):
    """An event that any thread may set and one loop waits for."""

    def set(self) -> None: ...
    def clear(self) -> None: ...
    async def wait(self) -> None: ...


class AsyncioSignal:
    """Waited for in an asyncio loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._event = asyncio.Event()

    def set(self) -> None:
        # A loop that has closed has no one left to wake.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._event.set)

    def clear(self) -> None:
        self._event.clear()

    async def wait(self) -> None:
        await self._event.wait()


class TrioSignal:
    """Waited for in a trio run."""

    def __init__(self, token: trio.lowlevel.TrioToken) -> None:
        self._token = token
        self._event = trio.Event()

    def set(self) -> None:
        # A run that is over has no one left to wake.
        with contextlib.suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self._fire)

    def clear(self) -> None:
        if self._event.is_set():
            self._event = trio.Event()

    async def wait(self) -> None:
        await self._event.wait()

    def _fire(self) -> None:
        self._event.set()


class Pipe:
    """Bytes from one loop to the other; many writers, one reader.

    A stale wake-up does no harm: both sides look again, under the lock, at what there is.
    """

    def __init__(self, readable: Signal, writable: Signal) -> None:
        self._readable = readable
        self._writable = writable
        self._lock = threading.Lock()
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self._closed = False

    async def put(self, chunk: bytes) -> bool:
        """Add bytes, waiting for room; False when the pipe is closed."""
        while True:
            with self._lock:
                if self._closed:
                    return False
                if self._size < PIPE:
                    # Who finds some already has been woken, and takes everything.
                    first = not self._chunks
                    self._chunks.append(chunk)
                    self._size += len(chunk)
                    break
                self._writable.clear()
            await self._writable.wait()
        if first:
            self._readable.set()
        return True

    async def take(self) -> bytes:
        """Everything in the pipe, waiting for something; empty when it is closed and drained."""
        while True:
            with self._lock:
                if self._chunks or self._closed:
                    taken = b"".join(self._chunks)
                    self._chunks.clear()
                    was_full = self._size >= PIPE
                    self._size = 0
                    break
                self._readable.clear()
            await self._readable.wait()
        if was_full:
            self._writable.set()
        return taken

    def close(self) -> None:
        """Take no more bytes; those inside can still be taken."""
        with self._lock:
            self._closed = True
        self._readable.set()
        self._writable.set()


class TrioThread:
    """A trio run in a thread; `nursery` is its root, for code that runs there."""

    nursery: trio.Nursery
    token: trio.lowlevel.TrioToken

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None

    @property
    def running(self) -> bool:
        """Whether the run has started and not been stopped."""
        return self._thread is not None

    async def start(self) -> None:
        """Start the run; it belongs to the asyncio loop that starts it."""
        self.loop = asyncio.get_running_loop()
        started = self.loop.create_future()
        self._ended = self.loop.create_future()
        # A daemon: a program that dies without `stop` must not hang on its network.
        self._thread = threading.Thread(
            target=self._run, args=(started,), name="ricochet-trio", daemon=True
        )
        self._thread.start()
        await started

    async def stop(self) -> None:
        """Cancel everything in the run and wait for its end; may be called twice."""
        if self._thread is None:
            return
        thread, self._thread = self._thread, None
        with contextlib.suppress(trio.RunFinishedError):
            self.token.run_sync_soon(self.nursery.cancel_scope.cancel)
        await self._ended
        thread.join()

    async def call(self, work: Callable[..., Awaitable[T]], *args: Any) -> T:
        """Await a trio coroutine from asyncio; cancelling here cancels there."""
        future: asyncio.Future[T] = self.loop.create_future()
        scope = trio.CancelScope()

        def settle(result: T | None, error: Exception | None) -> None:
            if error is not None and not future.done():
                future.set_exception(error)
            elif not future.done():
                future.set_result(result)  # type: ignore[arg-type]  # no error means a result

        async def run() -> None:
            result: T | None = None
            error: Exception | None = RemoteFault(
                RemoteCode.UNREACHABLE, "this peer's network has stopped"
            )
            try:
                with scope:
                    result, error = await work(*args), None
            except Exception as failure:
                error = failure
            finally:
                self.loop.call_soon_threadsafe(settle, result, error)

        self.token.run_sync_soon(self.nursery.start_soon, run)
        try:
            return await future
        except asyncio.CancelledError:
            self.token.run_sync_soon(scope.cancel)
            raise

    def _run(self, started: asyncio.Future[None]) -> None:
        try:
            trio.run(self._main, started)
        finally:
            with contextlib.suppress(RuntimeError):
                self.loop.call_soon_threadsafe(self._ended.set_result, None)

    async def _main(self, started: asyncio.Future[None]) -> None:
        self.token = trio.lowlevel.current_trio_token()
        async with trio.open_nursery() as self.nursery:
            self.loop.call_soon_threadsafe(started.set_result, None)
            await trio.sleep_forever()
