"""Frames on their way to one connection: calls share the line fairly, by bytes.

Each frame gets a finish tag, its call's last tag (or the present, if that is later) plus its size;
the frame with the lowest tag goes first, and its tag is the present. So a small message leaves
after at most the frame that is being sent, however many large ones wait, and those take turns
(self-clocked fair queueing, S. J. Golestani 1994). Frames of one call keep their order, and so do
the frames that open calls, because ids must rise on the wire.

The reader of a connection answers frames (credits, ends, pongs) and must not wait for a slow peer,
or two peers could each wait for the other to read. So those are queued at once, and the queue's
length, which only a peer that asks without reading can make long, is checked by the reader. Bodies
wait for room; small ones have room of their own, or large ones would hold them up before the queue.
"""

import asyncio
import heapq
from collections.abc import Awaitable, Callable
from typing import Final

from ricochet_protocol.errors import garbage
from ricochet_protocol.mux import AnyFrame, Data, Ping, Pong, encode

ROOM: Final = 64 * 1024
"""Queued bytes above which bodies wait; the transport has its own queue behind this one."""
SMALL: Final = 2 * 1024
"""Bodies up to this size wait only above twice `ROOM`: chunks of answers, and most requests."""
FLOOD: Final = 256 * 1024
"""Queued bytes above which the peer makes us answer and does not read."""
MAX_TAGS: Final = 1024
"""Calls whose tags are kept: more than both sides can have open."""
_NO_CALL: Final = -1


class Outbox:
    """The queue of one connection; `drain` is its only reader."""

    def __init__(self) -> None:
        self._frames: list[tuple[int, int, bytes]] = []
        self._tags: dict[int, int] = {}
        self._present = 0
        self._order = 0
        self._queued = 0
        self._pong: Pong | None = None
        self._filled = asyncio.Event()
        self._room = {limit: asyncio.Event() for limit in (ROOM, 2 * ROOM)}
        self._mark_room()

    def full(self, size: int) -> bool:
        """Whether a body of this size has to wait for `room`."""
        return self._queued >= _limit(size)

    def post(self, frame: AnyFrame, *, opens: bool = False) -> None:
        """Queue a frame now; `opens` for the first of a call of ours.

        Of several Pongs only the last is kept: it answers them all.
        """
        if isinstance(frame, Pong):
            self._pong = frame
        else:
            payload = encode(frame)
            call = _NO_CALL if isinstance(frame, Ping) else frame.id
            start = max(self._present, self._tags.get(call, 0))
            finish = start + (len(frame.body) if isinstance(frame, Data) else 0)
            self._remember(call, finish)
            self._order += 1
            place = self._present if opens else finish
            heapq.heappush(self._frames, (place, self._order, payload))
            self._queued += len(payload)
            self._mark_room()
        self._filled.set()

    def check_flood_untrusted(self) -> None:
        """RemoteFault when the peer's frames have made this queue too long."""
        if self._queued > FLOOD:
            raise garbage("requests without reading the answers")

    async def room(self, size: int) -> None:
        """Wait until such a body may be posted; returns without a pause when there is room."""
        limit = _limit(size)
        while self._queued >= limit:
            await self._room[limit].wait()

    async def drain(self, send: Callable[[bytes], Awaitable[None]]) -> None:
        """Send frames in their order until cancelled or `send` fails."""
        while True:
            await self._filled.wait()
            if self._pong is not None:
                payload, self._pong = encode(self._pong), None
            elif self._frames:
                self._present, _, payload = heapq.heappop(self._frames)
                self._queued -= len(payload)
                self._mark_room()
            else:
                self._filled.clear()
                continue
            await send(payload)

    def close(self) -> None:
        """Drop everything and let waiting senders go on, to see that the connection has ended."""
        self._frames.clear()
        self._queued = 0
        self._mark_room()

    def _remember(self, call: int, finish: int) -> None:
        if len(self._tags) >= MAX_TAGS:
            # A tag at or before the present says no more than none does.
            self._tags = {one: tag for one, tag in self._tags.items() if tag > self._present}
        self._tags[call] = finish

    def _mark_room(self) -> None:
        for limit, event in self._room.items():
            if self._queued < limit:
                event.set()
            else:
                event.clear()


def _limit(size: int) -> int:
    return 2 * ROOM if size <= SMALL else ROOM
