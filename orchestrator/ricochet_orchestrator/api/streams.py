"""Answers that come while a client listens, and end when it leaves.

Starlette's own streaming response leaves a generator to the garbage collector when the client goes
in mid-send; here it is closed at once, because closing ends the call that is being paid for.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from contextlib import aclosing
from typing import Any, Final, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

T = TypeVar("T")
COMMENT: Final = b": working\n\n"
"""Keeps a connection alive; clients of server-sent events skip it."""
KEEP_ALIVE: Final = 10.0
"""Seconds without an event after which a comment is sent: proxies cut silence at 30 to 60."""


class Left(Exception):
    """The client has gone; nobody hears what is said now."""


async def while_connected(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """What `work` gives; `Left`, and it is cancelled, when the client goes first.

    The request's body must have been read.
    """
    working, leaving = asyncio.create_task(work), asyncio.create_task(_left(receive))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise Left
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


class EventStream(Response):
    """Server-sent events, given as bytes; the generator is closed however it ends."""

    def __init__(self, events: AsyncGenerator[bytes, None]) -> None:
        self._events = events
        super().__init__(None, 200, {"Cache-Control": "no-cache"}, "text/event-stream")
        del self.headers["content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Implements ASGI."""
        async with aclosing(self._events):
            start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
            await send(start)
            try:
                await while_connected(receive, self._send(send))
            except Left:
                return

    async def _send(self, send: Send) -> None:
        async for event in self._events:
            await send({"type": "http.response.body", "body": event, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def kept_alive(events: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """The events, with comments wherever none comes for a while."""
    async with aclosing(events):
        coming: asyncio.Task[bytes] | None = None
        try:
            while True:
                coming = coming or asyncio.create_task(_next(events))
                await asyncio.wait({coming}, timeout=KEEP_ALIVE)
                if not coming.done():
                    yield COMMENT
                    continue
                event, coming = coming.result(), None
                if not event:
                    return
                yield event
        finally:
            if coming is not None:
                coming.cancel()
                await asyncio.gather(coming, return_exceptions=True)


async def body_of(request: Request, limit: int) -> bytes | None:
    """The request's body, None when it is longer than `limit` bytes.

    What is too much of it is read and dropped, so that the client, who may still be sending, hears
    why; what is far too much is not waited for.
    """
    body = bytearray()
    dropped = 0
    async for data in request.stream():
        if not dropped and len(body) + len(data) <= limit:
            body += data
            continue
        dropped += len(data)
        if dropped > 4 * limit:
            break
    return None if dropped else bytes(body)


async def _next(events: AsyncIterator[bytes]) -> bytes:
    return await anext(events, b"")


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
