"""Whole conversations with one of ours: any bytes on the line, and what must hold at its end.

Both run on a virtual clock and end with their input, so that an endless wait is a finding (the
clock has nothing to jump to, or jumps too far) and not a hang.
"""

from collections import deque
from collections.abc import AsyncGenerator
from typing import Any, Final

import trio
from libp2p.stream_muxer.exceptions import MuxedConnError, MuxedStreamError
from trio.testing import MockClock

from ricochet_network.libp2p_yamux import HEADER, UNREAD, Yamux, YamuxStream
from ricochet_network.multiplexer import Multiplexer
from ricochet_network.quota import MemoryBudget
from ricochet_network.virtual_time import run_virtual
from ricochet_protocol.errors import RemoteCode, RemoteFault
from ricochet_protocol.framing import FrameDecoder
from ricochet_protocol.mux import decode_untrusted

LONGEST: Final = 1000.0
"""Virtual seconds: several times what any time-out of ours takes."""


class _Frames:
    """A connection on which these frames arrive, and then its end; what we say must be frames."""

    dialled = False
    relay = None
    host = ""
    remote: Any = None

    def __init__(self, frames: list[bytes]) -> None:
        self._frames = deque(frames)

    async def receive(self) -> bytes:
        if self._frames:
            return self._frames.popleft()
        raise RemoteFault(RemoteCode.DISCONNECTED, "it has said everything")

    async def send(self, payload: bytes) -> None:
        decode_untrusted(payload)

    async def close(self) -> None:
        self._frames.clear()


def speak_multiplexer(data: bytes) -> None:
    """A peer's calls and answers; ours echoes."""
    try:
        frames = FrameDecoder().feed_untrusted(data)
    except RemoteFault:
        return

    async def echo(request: bytes) -> AsyncGenerator[bytes, None]:
        yield request
        yield request[:10]

    async def main() -> None:
        memory = MemoryBudget()
        multiplexer = Multiplexer(_Frames(frames), echo, memory=memory)
        await multiplexer.run()
        assert multiplexer.idle and memory.total == 0

    run_virtual(main())


class _Bytes:
    """A secured connection on which these bytes arrive in two parts, and then its end."""

    is_initiator = False

    def __init__(self, data: bytes) -> None:
        middle = data[-1] * len(data) // 256 if data else 0
        self._parts = deque(part for part in (data[:middle], data[middle:]) if part)

    async def read(self, n: int | None = None) -> bytes:
        await trio.sleep(1)
        return self._parts.popleft() if self._parts else b""

    async def write(self, data: bytes) -> None:
        # It says nothing by itself: acknowledgements, resets, credit and pongs have no body.
        assert len(data) % HEADER.size == 0
        await trio.lowlevel.checkpoint()


def speak_yamux(data: bytes) -> None:
    """A peer's streams; ours reads each to its end."""
    line: Any = _Bytes(data)

    async def main() -> None:
        budget = MemoryBudget(UNREAD)
        muxed = Yamux(line, budget)
        with trio.fail_after(LONGEST):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_accept, muxed, nursery, len(data))
                await muxed.run()
        assert budget.total == 0

    trio.run(main, clock=MockClock(autojump_threshold=0))


async def _accept(muxed: Yamux, nursery: trio.Nursery, most: int) -> None:
    try:
        while True:
            nursery.start_soon(_read, await muxed.accept_stream(), most)
    except MuxedConnError:
        return


async def _read(stream: YamuxStream, most: int) -> None:
    got = 0
    try:
        while part := await stream.read(7):
            got += len(part)
            assert got <= most
    except MuxedStreamError:
        await stream.reset()
