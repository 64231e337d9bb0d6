"""Yamux (hashicorp's version 0) over a secured connection, in as few steps as it takes.

py-libp2p's own yamux passes through the scheduler some thirty times for a call, looks at a full
window every 10 ms, and cuts frames so that each takes two Noise messages; ADR 032 has the figures.
This one speaks the same protocol to anybody. A frame is read where its bytes are, and only waiting
costs a step. What has to be answered (acknowledgements, resets, pongs, credit) is queued, and
leaves with the next frame or is written by a task of its own, so that a peer that does not read
cannot stop us from reading. A peer that makes that queue long, pings on and on, or sends more than
a window breaks the protocol; what all streams of all connections hold unread has a bound.

Everything here runs in the trio thread. A frame is written whole or not at all: cancelling a writer
takes effect before a frame or after it, and only the end of the connection cuts one.
"""

import logging
import struct
from types import TracebackType
from typing import Final

import trio
from libp2p.abc import ISecureConn
from libp2p.stream_muxer.exceptions import (
    MuxedConnUnavailable,
    MuxedStreamClosed,
    MuxedStreamEOF,
    MuxedStreamReset,
)

from ricochet_network.quota import Bucket, MemoryBudget

HEADER: Final = struct.Struct("!BBHII")
"""Version, type, flags, stream, length."""
DATA, UPDATE, PING, GO_AWAY = range(4)
SYN, ACK, FIN, RST = 1, 2, 4, 8
WINDOW: Final = 256 * 1024
"""Bytes that either side may send before the other has taken any; the protocol's own."""
BODY: Final = 65535 - 16 - HEADER.size
"""Bytes of the largest frame we send: with its header it fills one Noise message."""
UNSENT: Final = 16 * 1024
"""Bytes of answers above which the peer makes us answer and does not read."""
PENDING: Final = 64
"""Streams that wait to be accepted; further ones are reset."""
UNREAD: Final = 64 * 1024 * 1024
"""Bytes that all connections hold unread; the full windows of all circuits of a relay are 16 MB."""
PINGS: Final = 10.0
"""Pings a second, `PINGS_AT_ONCE` of them in a row; others send one in ten seconds or more."""
PINGS_AT_ONCE: Final = 100.0
FRAMES: Final = 10_000.0
"""Frames a second above which a peer is read more slowly: several for each request it may make."""
FRAMES_AT_ONCE: Final = 20_000.0
WRITE: Final = 10.0
"""Seconds for one frame to be taken by the system, after which the connection is over."""
_log = logging.getLogger(__name__)


class ProtocolError(Exception):
    """The other side does not speak yamux."""


class YamuxStream:
    """One stream; reads and writes may run at once, each by one task."""

    def __init__(self, muxed: "Yamux", stream_id: int) -> None:
        self._muxed = muxed
        self._id = stream_id
        self._arrived = bytearray()
        self._consumed = 0
        self._receivable = WINDOW
        self._sendable = WINDOW
        self._changed = trio.Event()
        self._ended_there = False
        self._ended_here = False
        self._reset = False

    async def read(self, n: int | None = None) -> bytes:
        """Up to `n` bytes, as soon as there are any; MuxedStreamEOF, MuxedStreamReset."""
        while not self._arrived:
            if self._reset:
                raise MuxedStreamReset("the stream was reset")
            if self._ended_there:
                raise MuxedStreamEOF("the stream has ended")
            await self._changed.wait()
        taken = bytes(self._arrived if n is None else self._arrived[:n])
        del self._arrived[: len(taken)]
        self._muxed.charge(-len(taken))
        self._consumed += len(taken)
        if self._consumed >= WINDOW // 2 and not (self._reset or self._ended_there):
            self._receivable += self._consumed
            self._muxed.answer(UPDATE, 0, self._id, self._consumed)
            self._consumed = 0
        return taken

    async def room(self) -> int:
        """Bytes that can be written without waiting for the other side; waits for the first."""
        while not self._sendable:
            self._check_open()
            await self._changed.wait()
        self._check_open()
        return min(self._sendable, BODY)

    async def write(self, data: bytes) -> None:
        """Write everything, waiting for room; MuxedStreamClosed, MuxedStreamReset."""
        at = 0
        while at < len(data):
            body = data[at : at + await self.room()]
            self._sendable -= len(body)
            at += len(body)
            await self._muxed.send(self._id, body)

    async def close(self) -> None:
        """Say that nothing more is written."""
        if not self._ended_here:
            self._ended_here = True
            self._muxed.answer(UPDATE, FIN, self._id, 0)
            self._forget_if_over()

    async def reset(self) -> None:
        """End both directions at once, and let go of what nobody has read."""
        if not (self._reset or (self._ended_here and self._ended_there)):
            self._muxed.answer(UPDATE, RST, self._id, 0)
        self.abandon()
        self._muxed.charge(-len(self._arrived))
        self._arrived.clear()

    def abandon(self) -> None:
        """It is over, by the other side's word or with the connection."""
        self._reset = self._ended_here = self._ended_there = True
        self._notify()
        self._forget_if_over()

    def take_untrusted(self, body: bytes) -> None:
        """Bytes have arrived; ProtocolError when they are more than the window."""
        self._receivable -= len(body)
        if self._receivable < 0:
            raise ProtocolError("more bytes than its window")
        if body and not self._ended_there:
            self._arrived += body
            self._notify()
            self._muxed.charge(len(body))

    def end_there(self) -> None:
        """The other side writes nothing more."""
        self._ended_there = True
        self._notify()
        self._forget_if_over()

    def widen(self, size: int) -> None:
        """The other side has taken bytes."""
        self._sendable += size
        self._notify()

    def _check_open(self) -> None:
        if self._reset:
            raise MuxedStreamReset("the stream was reset")
        if self._ended_here:
            raise MuxedStreamClosed("the stream is closed")

    def _notify(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    def _forget_if_over(self) -> None:
        if self._ended_here and self._ended_there:
            self._muxed.forget(self._id)

    def get_remote_address(self) -> tuple[str, int] | None:
        """None: libp2p asks streams where they come from, and nobody here needs to know."""
        return None

    async def __aenter__(self) -> "YamuxStream":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()


class Yamux:
    """The streams of one connection; `run` does the work and must be awaited by an owner.

    `unread` is shared by all connections; the one that holds most ends when it is used up.
    """

    def __init__(self, secured: ISecureConn, unread: MemoryBudget) -> None:
        self._secured = secured
        self._unread = unread
        self._pings = Bucket(PINGS, PINGS_AT_ONCE)
        self._frames = Bucket(FRAMES, FRAMES_AT_ONCE)
        self._next_id = 1 if secured.is_initiator else 2
        self._streams: dict[int, YamuxStream] = {}
        self._arrivals, self._arriving = trio.open_memory_channel[YamuxStream](PENDING)
        self._writing = trio.StrictFIFOLock()
        self._answers = bytearray()
        self._answering = trio.Event()
        self._over = False
        self._running = trio.CancelScope()
        self._write = trio.CancelScope()

    async def run(self) -> None:
        """Read and answer until the connection ends, however it does."""
        try:
            with self._running:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._answer)
                    try:
                        await self._read()
                    finally:
                        # The nursery waits for a write that only this ends.
                        self.end()
        except* Exception as errors:  # libp2p fails in many ways on what strangers send
            _log.debug("a connection ended: %s", type(errors.exceptions[0]).__name__)
        finally:
            self.end()

    def end(self) -> None:
        """The connection is over: whoever waits for one of its streams hears of it now."""
        self._over = True
        self._running.cancel()
        self._write.cancel()
        self._unread.release(self)
        self._arrivals.close()
        for stream in tuple(self._streams.values()):
            stream.abandon()

    async def open_stream(self) -> YamuxStream:
        """A stream of ours; MuxedConnUnavailable when the connection has ended."""
        if self._over:
            raise MuxedConnUnavailable("the connection is closed")
        stream_id, self._next_id = self._next_id, self._next_id + 2
        stream = self._streams[stream_id] = YamuxStream(self, stream_id)
        self.answer(UPDATE, SYN, stream_id, 0)
        return stream

    async def accept_stream(self) -> YamuxStream:
        """The next stream that the other side opens; MuxedConnUnavailable at the end."""
        try:
            return await self._arriving.receive()
        except trio.EndOfChannel:
            raise MuxedConnUnavailable("the connection is closed") from None

    async def send(self, stream_id: int, body: bytes) -> None:
        """Write bytes of a stream after what is queued; MuxedConnUnavailable."""
        frame = HEADER.pack(0, DATA, 0, stream_id, len(body)) + body
        try:
            # Waiting for a lock that is free would pass through the scheduler all the same.
            self._writing.acquire_nowait()
        except trio.WouldBlock:
            await self._writing.acquire()
        try:
            await self._flush(frame)
        finally:
            self._writing.release()

    def answer(self, kind: int, flags: int, stream_id: int, value: int) -> None:
        """Queue a frame without a body; it leaves soon, and nothing waits for it."""
        if not self._over:
            self._answers += HEADER.pack(0, kind, flags, stream_id, value)
            self._answering.set()

    def forget(self, stream_id: int) -> None:
        """A stream is over in both directions."""
        self._streams.pop(stream_id, None)

    def charge(self, size: int) -> None:
        """Count bytes of a stream that wait to be read, or no longer do when `size` is negative."""
        if not self._over:
            self._unread.charge(self, size)

    def shed(self) -> None:
        """This connection holds most of what nobody reads, and there is no room for more."""
        _log.info("a connection was closed: too much of it waits to be read")
        self.end()

    async def _answer(self) -> None:
        while True:
            await self._answering.wait()
            async with self._writing:
                if self._answers:
                    await self._flush(b"")

    async def _flush(self, frame: bytes) -> None:
        """Write what is queued, then a frame, as the only writer and shielded from its end."""
        if self._over:
            raise MuxedConnUnavailable("the connection is closed")
        if self._answers:
            frame = bytes(self._answers) + frame
            self._answers.clear()
            self._answering = trio.Event()
        self._write = trio.CancelScope(deadline=trio.current_time() + WRITE, shield=True)
        written = False
        try:
            with self._write:
                await self._secured.write(frame)
                written = True
        except Exception as error:  # the ways in which a connection can have ended
            _log.debug("a connection takes nothing more: %s", type(error).__name__)
        if not written:
            self.end()
            raise MuxedConnUnavailable("the connection is closed")

    async def _read(self) -> None:
        arrived = bytearray()
        while data := await self._secured.read(None):
            arrived += data
            taken = self._take_untrusted(arrived)
            if len(self._answers) > UNSENT:
                raise ProtocolError("frames to answer without reading the answers")
            if pause := self._frames.pause(taken, trio.current_time()):
                await trio.sleep(pause)

    def _take_untrusted(self, arrived: bytearray) -> int:
        """Act on every whole frame, leave the rest and count them; ProtocolError, also GO_AWAY."""
        at = taken = 0
        while len(arrived) - at >= HEADER.size:
            version, kind, flags, stream_id, length = HEADER.unpack_from(arrived, at)
            size = length if kind == DATA else 0
            if version != 0 or kind > PING or flags > 15 or size > WINDOW:
                raise ProtocolError("no frame of yamux, or the other side goes away")
            end = at + HEADER.size + size
            if len(arrived) < end:
                break
            if kind == PING:
                self._pinged_untrusted(flags, length)
            else:
                body = bytes(arrived[at + HEADER.size : end])
                self._take_frame_untrusted(flags, stream_id, body, length if kind else 0)
            at, taken = end, taken + 1
        del arrived[:at]
        return taken

    def _pinged_untrusted(self, flags: int, value: int) -> None:
        if not self._pings.take(1, trio.current_time()):
            raise ProtocolError("more pings than anybody needs")
        if flags & SYN:
            self.answer(PING, ACK, 0, value)

    def _take_frame_untrusted(self, flags: int, stream_id: int, body: bytes, more: int) -> None:
        if flags & SYN:
            self._arrive_untrusted(stream_id)
        # Frames of streams that we have ended cross the word of it.
        if stream := self._streams.get(stream_id):
            if flags & RST:
                stream.abandon()
                return
            stream.take_untrusted(body)
            if more:
                stream.widen(more)
            if flags & FIN:
                stream.end_there()

    def _arrive_untrusted(self, stream_id: int) -> None:
        ours = stream_id % 2 == self._next_id % 2
        if ours or not stream_id or stream_id in self._streams:
            raise ProtocolError("a stream whose id is not free")
        stream = YamuxStream(self, stream_id)
        try:
            self._arrivals.send_nowait(stream)
        except trio.WouldBlock:
            self.answer(UPDATE, RST, stream_id, 0)
        else:
            self._streams[stream_id] = stream
            self.answer(UPDATE, ACK, stream_id, 0)
