"""Frames on their way to one connection: bodies wait for room, control frames never do.

The reader of a connection answers frames (credits, ends, pongs) and must not wait for a slow peer,
or two peers could each wait for the other to read. So those are queued at once, and the queue's
length, which only a peer that asks without reading can make long, is checked by the reader.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from ricochet_protocol.errors import garbage
from ricochet_protocol.mux import AnyFrame, Pong, encode

ROOM: Final = 64 * 1024
"""Queued bytes above which bodies wait; the transport has its own queue behind this one."""
FLOOD: Final = 256 * 1024
"""Queued bytes above which the peer makes us answer and does not read."""


class Outbox:
    """The queue of one connection; `drain` is its only reader."""

    def __init__(self) -> None:
        self._frames: deque[bytes] = deque()
        self._queued = 0
        self._pong: Pong | None = None
        self._filled = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    @property
    def full(self) -> bool:
        """Whether bodies have to wait for `room`."""
        return self._queued >= ROOM

    def post(self, frame: AnyFrame) -> None:
        """Queue a frame now. Of several Pongs only the last is kept: it answers them all."""
        if isinstance(frame, Pong):
            self._pong = frame
        else:
            payload = encode(frame)
            self._frames.append(payload)
            self._queued += len(payload)
            if self.full:
                self._room.clear()
        self._filled.set()

    def check_flood_untrusted(self) -> None:
        """RemoteFault when the peer's frames have made this queue too long."""
        if self._queued > FLOOD:
            raise garbage("requests without reading the answers")

    async def room(self) -> None:
        """Wait until a body may be posted; returns without a pause when there is room."""
        while self.full:
            await self._room.wait()

    async def drain(self, send: Callable[[bytes], Awaitable[None]]) -> None:
        """Send frames in order until cancelled or `send` fails."""
        while True:
            await self._filled.wait()
            if self._pong is not None:
                payload, self._pong = encode(self._pong), None
            elif self._frames:
                payload = self._frames.popleft()
                self._queued -= len(payload)
            else:
                self._filled.clear()
                continue
            if not self.full:
                self._room.set()
            await send(payload)

    def close(self) -> None:
        """Drop everything and let waiting senders go on, to see that the connection has ended."""
        self._frames.clear()
        self._queued = 0
        self._room.set()
