"""The streams beside ours on a yamux connection: those of circuits, which others share it with.

A connection carries one stream of calls, `/ricochet/rpc/1`, and those of circuit relay v2. A stream
of a circuit ends before its connection does, and nothing of it may be cut short in mid-frame: that
is yamux's care, whose frames go out whole whoever is cancelled meanwhile.

Everything here runs in the trio thread. Users of a `SharedStream` must not run in a nursery that
its connection waits for: a connection that waits for the write that waits for its end never ends.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import trio
from libp2p.abc import IRawConnection
from libp2p.connection_types import ConnectionType
from libp2p.custom_types import TProtocol
from libp2p.io.exceptions import IOException
from libp2p.network.connection.exceptions import RawConnError
from libp2p.protocol_muxer.exceptions import MultiselectClientError
from libp2p.protocol_muxer.multiselect import Multiselect
from libp2p.protocol_muxer.multiselect_client import MultiselectClient
from libp2p.protocol_muxer.multiselect_communicator import MultiselectCommunicator
from libp2p.stream_muxer.exceptions import MuxedConnError, MuxedStreamEOF, MuxedStreamError

from ricochet_network.libp2p_yamux import Yamux, YamuxStream
from ricochet_network.quota import Bucket
from ricochet_protocol.circuit import Message, length_untrusted
from ricochet_protocol.errors import RemoteCode, RemoteFault
from ricochet_protocol.ids import PeerId

PROTOCOL: Final = TProtocol("/ricochet/rpc/1")
HANDSHAKE: Final = 5.0
"""Seconds from TCP to an open stream; on loopback it takes 20 ms."""
LINGER: Final = 1.0
"""Seconds for the other side to close too, so that the last frames are read and not cut off."""
READ: Final = 64 * 1024
ROOM: Final = 10.0
"""Seconds for the other side to make room for what is written: as long as a write may take."""
STREAMS: Final = 64
"""Streams that the other side may have open besides ours: two for each circuit of a full relay."""
OPENED: Final = 10.0
"""Streams that it may open a second; each costs a message or a handshake."""
OPENED_AT_ONCE: Final = 40.0
_log = logging.getLogger(__name__)
Handle = Callable[["Carrier", "SharedStream"], Awaitable[None]]


class SharedStream(IRawConnection):
    """One stream as bytes; a connection of its own for whoever is at the circuit's other end."""

    def __init__(self, stream: YamuxStream, initiator: bool) -> None:
        self.is_initiator = initiator
        self._stream = stream

    async def read(self, n: int | None = None) -> bytes:
        """Up to `n` bytes, none at the end; RawConnError when it was reset or its carrier ended."""
        try:
            return await self._stream.read(n or READ)
        except MuxedStreamEOF:
            return b""
        except MuxedStreamError as error:
            raise RawConnError("the stream was reset") from error

    async def write(self, data: bytes) -> None:
        """Write everything; RawConnError when it is closed or the other side reads no more."""
        at = 0
        while at < len(data):
            try:
                with trio.fail_after(ROOM):
                    part = data[at : at + await self._stream.room()]
                await self._stream.write(part)
            except trio.TooSlowError:
                raise RawConnError("the other side takes nothing") from None
            except (MuxedStreamError, MuxedConnError) as error:
                raise RawConnError("the stream is closed") from error
            at += len(part)

    async def close(self) -> None:
        """Say that nothing more is written."""
        await self._stream.close()

    async def end(self) -> None:
        """Close, read until the other side has done so too, and give up on it otherwise.

        Never raises: it is the last that is done for a stream, in tasks that all share one nursery.
        """
        try:
            await self.close()
            with trio.move_on_after(LINGER):
                while await self.read():
                    pass
        except Exception as error:  # the ways in which its connection can have ended
            _log.debug("a stream ended: %s", type(error).__name__)
        finally:
            await self._stream.reset()

    def get_remote_address(self) -> tuple[str, int] | None:
        """None: the other end is somewhere behind a relay."""
        return None

    def get_transport_addresses(self) -> list[Any]:
        """None, likewise."""
        return []

    def get_connection_type(self) -> ConnectionType:
        """What libp2p calls it."""
        return ConnectionType.RELAYED


class Carrier:
    """A connection's yamux and its streams; `direct` unless it runs over a circuit itself.

    `host` is the IP address of `remote` as it is seen here, "" over a circuit.
    `handlers` serve the streams of circuits that the other side opens, by protocol, as tasks of
    `nursery`; the calls' stream is the one that was dialled for.
    """

    def __init__(
        self,
        muxed: Yamux,
        remote: PeerId,
        host: str,
        handlers: Mapping[str, Handle],
        nursery: trio.Nursery,
        *,
        direct: bool,
    ) -> None:
        self.remote = remote
        self.host = host
        self.direct = direct
        self._muxed = muxed
        self._handlers = handlers
        self._nursery = nursery
        self._choose = Multiselect({TProtocol(one): None for one in (PROTOCOL, *handlers)})
        self._calls: trio.MemorySendChannel[YamuxStream] | None = None
        self._open = 0
        self._rate = Bucket(OPENED, OPENED_AT_ONCE)

    async def open(self, protocol: str) -> SharedStream:
        """Open a stream, which the caller owns to its `end`, within a time that the caller sets.

        RemoteFault `refused` when the other side does not know the protocol.
        """
        try:
            stream = SharedStream(await self._muxed.open_stream(), True)
        except (MuxedConnError, IOException):
            raise _lost() from None
        agreed = False
        try:
            await _select(protocol, stream)
            agreed = True
        except MultiselectClientError:
            raise RemoteFault(
                RemoteCode.REFUSED, f"peer {self.remote} does not speak {protocol}"
            ) from None
        finally:
            if not agreed:
                await stream.end()
        return stream

    async def open_calls(self) -> YamuxStream:
        """Open the stream of calls; it ends with the connection."""
        stream = await self._muxed.open_stream()
        await _select(PROTOCOL, stream)
        return stream

    async def serve(self, calls: trio.MemorySendChannel[YamuxStream] | None) -> None:
        """Take the streams that the other side opens; ends quietly with the connection.

        The first stream of calls goes to `calls`, if it is wanted; there is one a connection.
        Streams for anything else are told that there is nothing: a libp2p host asks who we are as
        soon as it is connected.
        """
        self._calls = calls
        try:
            await self._accept()
        finally:
            if calls is not None:
                calls.close()

    async def _accept(self) -> None:
        async with trio.open_nursery() as negotiating:
            while True:
                try:
                    stream = await self._muxed.accept_stream()
                    if self._open >= STREAMS or not self._rate.take(1, trio.current_time()):
                        await stream.reset()
                        continue
                except MuxedStreamError:
                    continue
                except MuxedConnError:
                    return
                self._open += 1
                negotiating.start_soon(self._negotiate, stream)

    async def _negotiate(self, stream: YamuxStream) -> None:
        handed_over = False
        try:
            asked = MultiselectCommunicator(_rw(stream))
            protocol, _ = await self._choose.negotiate(asked, int(HANDSHAKE))
            if handle := self._handlers.get(str(protocol)):
                shared = SharedStream(stream, False)
                self._nursery.start_soon(self._handle, handle, shared)
                handed_over = True
            elif self._calls is not None:
                self._calls.send_nowait(stream)
                self._calls = None
                self._open -= 1
                handed_over = True
        except Exception as error:  # libp2p fails in many ways on what strangers send
            _log.debug("a stream was not agreed on: %s", type(error).__name__)
        finally:
            if not handed_over:
                self._open -= 1
        if not handed_over:
            await stream.reset()

    async def _handle(self, handle: Handle, stream: SharedStream) -> None:
        try:
            await handle(self, stream)
        except Exception as error:  # likewise
            _log.info("a circuit's stream failed: %s", type(error).__name__)
        finally:
            self._open -= 1
            await stream.end()

    def end(self) -> None:
        """The connection is over: whoever waits for one of its streams hears of it now."""
        self._muxed.end()


async def tell(stream: SharedStream, message: bytes) -> None:
    """Write one message of a circuit's protocol; RemoteFault `disconnected`."""
    try:
        await stream.write(message)
    except RawConnError:
        raise _lost() from None


async def hear_untrusted(stream: SharedStream, parse: Callable[[bytes], Message]) -> Message:
    """Read one message, and nothing beyond it; RemoteFault `disconnected` or `garbage`."""
    head = b""
    while (length := length_untrusted(head)) is None:
        head += await _exactly(stream, 1)
    return parse(await _exactly(stream, length))


async def _exactly(stream: SharedStream, size: int) -> bytes:
    data = b""
    while len(data) < size:
        try:
            more = await stream.read(size - len(data))
        except RawConnError:
            more = b""
        if not more:
            raise _lost()
        data += more
    return data


async def _select(protocol: str, stream: YamuxStream | SharedStream) -> None:
    asked = MultiselectCommunicator(_rw(stream))
    await MultiselectClient().select_one_of([TProtocol(protocol)], asked, int(HANDSHAKE))


def _rw(stream: YamuxStream | SharedStream) -> Any:
    # A stream reads, writes and closes; libp2p's types just do not say so.
    return stream


def _lost() -> RemoteFault:
    return RemoteFault(RemoteCode.DISCONNECTED, "the connection is closed")
