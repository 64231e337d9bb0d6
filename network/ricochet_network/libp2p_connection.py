"""The asyncio side of a libp2p connection, and the trio task that moves its bytes.

Between them are two pipes. The stream's writer is cancelled only with the connection, since a
cancelled write ruins it; a write that makes no progress by its deadline ends it.
"""

import logging
from collections import deque
from typing import Final

import trio

from ricochet_network.bridge import AsyncioSignal, Pipe, TrioSignal, TrioThread
from ricochet_network.libp2p_streams import LINGER, READ
from ricochet_network.libp2p_yamux import YamuxStream
from ricochet_protocol.errors import RemoteCode, RemoteFault
from ricochet_protocol.framing import FrameDecoder, encode_frame
from ricochet_protocol.ids import PeerId

WRITE_DEADLINE: Final = 10.0
"""Seconds one write may take, and so a peer may read nothing."""
_log = logging.getLogger(__name__)


class Libp2pConnection:
    """The asyncio side of one connection; implements `ports.Connection`."""

    def __init__(self, remote: PeerId, dialled: bool, thread: TrioThread) -> None:
        self.remote = remote
        self.dialled = dialled
        self.host = ""
        self.relay: PeerId | None = None
        here, there = AsyncioSignal, TrioSignal
        self.outgoing = Pipe(readable=there(thread.token), writable=here(thread.loop))
        self.incoming = Pipe(readable=here(thread.loop), writable=there(thread.token))
        self._decoder = FrameDecoder()
        self._frames: deque[bytes] = deque()
        self._closed = False

    async def send(self, payload: bytes) -> None:
        if not await self.outgoing.put(encode_frame(payload)):
            raise _disconnected()

    async def receive(self) -> bytes:
        while not self._closed:
            if self._frames:
                return self._frames.popleft()
            data = await self.incoming.take()
            if not data:
                break
            self._frames.extend(self._decoder.feed_untrusted(data))
        raise _disconnected()

    async def close(self) -> None:
        self._closed = True
        self.outgoing.close()
        self.incoming.close()


async def trio_pump(stream: YamuxStream, connection: Libp2pConnection) -> None:
    """Move bytes both ways, in the trio thread; when we close, what is queued goes out first."""
    async with trio.open_nursery() as nursery:
        ended = trio.Event()
        nursery.start_soon(_trio_read, stream, connection, ended)
        while data := await connection.outgoing.take():
            with trio.fail_after(WRITE_DEADLINE):
                await stream.write(data)
        with trio.move_on_after(LINGER):
            await stream.close()
            await ended.wait()
        nursery.cancel_scope.cancel()


async def _trio_read(stream: YamuxStream, connection: Libp2pConnection, ended: trio.Event) -> None:
    try:
        while await connection.incoming.put(await stream.read(READ)):
            pass
        # We have closed; the rest is read only to see the other side close as well.
        while await stream.read(READ):
            pass
    except Exception as error:  # the ways in which a stream can end
        _log.debug("a stream ended: %s", type(error).__name__)
    finally:
        connection.incoming.close()
        connection.outgoing.close()
        ended.set()


def _disconnected() -> RemoteFault:
    return RemoteFault(RemoteCode.DISCONNECTED, "the connection is closed")
