"""Calls of Anthropic and Google through the litellm worker: many at once over one link.

    no worker ──call──► worker ──idle for long, or its end──► no worker

A worker is started by the first call that needs one, and ended when no call was open for
`idle` seconds. When it dies, its calls fail with a retryable fault and the next call starts
another. One task belongs to each worker: it reads its frames, and its end is the worker's end.
"""

import asyncio
import itertools
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Final, Protocol

from ricochet_node import upstream
from ricochet_node.call_order import CallDelta
from ricochet_node.chat_body import chat_body
from ricochet_node.faults import (
    ProviderFault,
    Reason,
    broken,
    fault_in_stream,
    fault_of_refusal,
    fault_of_status,
)
from ricochet_node.log import EventLog
from ricochet_node.upstream import Ending, Piece, Usage, Whole
from ricochet_node.worker_frames import (
    BadFrame,
    Boot,
    Call,
    Cancel,
    Channel,
    Done,
    Failed,
    FromWorker,
    Part,
    Text,
    ToWorker,
)
from ricochet_protocol.answer import most_characters
from ricochet_protocol.messages import Ask, CallPiece, Chunk

IDLE_WORKER_SECONDS: Final = 900
"""A worker holds 200 MB, and starting another costs three seconds."""


class Link(Protocol):
    """One running worker."""

    @property
    def pid(self) -> int:
        """Its process."""

    def send(self, frame: ToWorker) -> None:
        """Queue a frame; nothing happens when the worker is gone."""

    async def receive(self) -> FromWorker | None:
        """The next frame, None at the worker's end; BadFrame."""

    async def stop(self) -> None:
        """End the worker; may be called twice."""


class _Worker:
    """A link and the calls that are open on it."""

    def __init__(self, link: Link, idle: float) -> None:
        self.link = link
        self.calls: dict[int, asyncio.Queue[FromWorker | None]] = {}
        self.ended = False
        self._idle = idle

    async def serve(self) -> str:
        """Hand out frames until the worker ends or nobody needs it; why it ended."""
        # A task of its own: a wait that is over must not cut a frame that is half read.
        receiving = asyncio.create_task(self.link.receive())
        try:
            while True:
                await asyncio.wait({receiving}, timeout=self._idle)
                if receiving.done():
                    frame = receiving.result()
                    if frame is None:
                        return "it died"
                    if frame.id in self.calls:
                        self.calls[frame.id].put_nowait(frame)
                    receiving = asyncio.create_task(self.link.receive())
                elif not self.calls:
                    return "idle"
        except BadFrame:
            return "it does not speak the protocol"
        finally:
            receiving.cancel()
            await self.end()

    async def end(self) -> None:
        """Fail the calls that are open and end the worker; may be called twice."""
        self.ended = True
        for queue in self.calls.values():
            queue.put_nowait(None)
        await self.link.stop()


class WorkerUpstream:
    """The port for the keys in `channels`; `launch` starts a worker. Stopped by its owner."""

    def __init__(
        self,
        launch: Callable[[], Awaitable[Link]],
        channels: Mapping[str, Channel],
        boot: Boot,
        log: EventLog,
        idle: float = IDLE_WORKER_SECONDS,
    ) -> None:
        self._launch = launch
        self._channels = channels
        self._boot = boot
        self._log = log
        self._idle = idle
        self._ids = itertools.count(1)
        self._starting = asyncio.Lock()
        self._worker: _Worker | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def whole(self, key_id: str, model: str, ask: Ask) -> Whole:
        """As in the port; streamed all the same, as litellm reports usage best that way."""
        pieces: list[Chunk | CallPiece] = []
        async with aclosing(self.stream(key_id, model, ask)) as stream:
            async for piece in stream:
                if isinstance(piece, Usage):
                    return Whole(tuple(pieces), piece)
                pieces.append(piece)
        raise AssertionError("a stream ends with its usage, or with a fault")

    async def stream(self, key_id: str, model: str, ask: Ask) -> AsyncGenerator[Piece, None]:
        """As in the port; `key_id` is one of the channels'."""
        if any(tool.strict for tool in ask.tools):
            # litellm would leave it out without a word.
            raise ProviderFault(Reason.REFUSED, "(strict tools)", unbilled=True)
        worker = await self._running()
        number = next(self._ids)
        queue: asyncio.Queue[FromWorker | None] = asyncio.Queue()
        worker.calls[number] = queue
        worker.link.send(
            Call(
                id=number,
                channel=self._channels[key_id],
                key=key_id,
                model=model,
                body=chat_body(model, ask),
                most=most_characters(ask),
            )
        )
        over = False
        try:
            ending, patience = Ending(), upstream.FIRST_BYTE_SECONDS
            while not over:
                frame = await _next(queue, patience)
                patience = upstream.IDLE_SECONDS
                match frame:
                    case Text():
                        yield Chunk(text=frame.text)
                    case Part():
                        delta = CallDelta(frame.number, frame.call, frame.name, frame.arguments)
                        yield ending.call(delta)
                    case Done():
                        over = True
                        ending.finish, ending.tokens = frame.finish, frame.tokens
                        try:
                            usage = ending.usage()
                        except ProviderFault as fault:
                            ending.tell(fault)
                            raise
                        yield usage
                    case Failed():
                        over = True
                        raise _fault(frame)
        finally:
            del worker.calls[number]
            if not over and not worker.ended:
                worker.link.send(Cancel(id=number))

    @property
    def pid(self) -> int | None:
        """The worker's process, None while none runs."""
        return None if self._worker is None or self._worker.ended else self._worker.link.pid

    async def stop(self) -> None:
        """End the worker and wait for its end; calls that are open fail."""
        async with self._starting:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            if self._worker is not None:
                # A task that was cancelled before its first step has ended nothing.
                await self._worker.end()

    async def _running(self) -> _Worker:
        async with self._starting:
            if self._worker is None or self._worker.ended:
                link = await self._launch()
                link.send(self._boot)
                self._worker = _Worker(link, self._idle)
                task = asyncio.create_task(self._own(self._worker))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            return self._worker

    async def _own(self, worker: _Worker) -> None:
        self._log.event("worker_started")
        why = await worker.serve()
        self._log.event("worker_ended", reason=why)


async def _next(queue: "asyncio.Queue[FromWorker | None]", patience: float) -> FromWorker:
    try:
        async with asyncio.timeout(patience):
            frame = await queue.get()
    except TimeoutError:
        raise ProviderFault(Reason.SILENT) from None
    if frame is None:
        raise ProviderFault(Reason.INTERRUPTED)
    return frame


def _fault(failed: Failed) -> ProviderFault:
    match failed.kind:
        case "status":
            return fault_of_status(failed.status, failed.body, failed.retry_after)
        case "refusal":
            return fault_of_refusal(_plain(failed.body), failed.retry_after)
        case "stream":
            return fault_in_stream(failed.body)
        case "broken":
            return broken(_plain(failed.body))
        case "unsupported":
            return ProviderFault(Reason.REFUSED, "(a parameter)", unbilled=True)
        case "bug":
            return ProviderFault(Reason.FAILED, f"({_plain(failed.body)})")


def _plain(text: bytes) -> str:
    """A worker's word as it may reach a peer."""
    shown = text[:80].decode("ascii", "replace")
    return "".join(letter for letter in shown if letter.isalnum() or letter in " _-")
