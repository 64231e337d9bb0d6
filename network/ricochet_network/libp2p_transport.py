"""The real network: TCP, Noise and yamux of libp2p, one persistent stream for each connection.

This is the only module that imports libp2p, whose import takes a second. It uses libp2p's
protocols (multistream-select, Noise, yamux) without its host and swarm; ADR 002 says why. Nothing
but Noise and yamux is ever offered, so an unencrypted connection cannot come about. The peer id is
that of the Ed25519 seed, and Noise proves the other's before a byte of ours is read.

Everything named `_trio_*` runs in the trio thread. A connection's writer is cancelled only with
the connection, since a cancelled write ruins it; a write that makes no progress by its deadline
ends it. A peer has `HANDSHAKE` seconds to become a connection; one that fails disturbs no other.
"""

import asyncio
import logging
import re
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, NamedTuple

import trio
from libp2p.abc import IMuxedConn, IMuxedStream, ISecureConn
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as create_noise_key_pair
from libp2p.custom_types import TProtocol
from libp2p.io.trio import TrioTCPStream
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.peer.id import ID
from libp2p.protocol_muxer.exceptions import MultiselectError
from libp2p.protocol_muxer.multiselect import Multiselect
from libp2p.protocol_muxer.multiselect_client import MultiselectClient
from libp2p.protocol_muxer.multiselect_communicator import MultiselectCommunicator
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.security.noise.transport import Transport as Noise
from libp2p.stream_muxer.exceptions import MuxedConnError, MuxedStreamError
from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID as YAMUX
from libp2p.stream_muxer.yamux.yamux import Yamux
from libp2p.transport.upgrader import TransportUpgrader
from trio import TaskStatus  # type: ignore[attr-defined]  # public, but not in trio's stubs' list

from ricochet_network.bridge import AsyncioSignal, Pipe, TrioSignal, TrioThread
from ricochet_network.door_guard import DoorGuard, Visit
from ricochet_protocol.errors import LocalFault, RemoteCode, RemoteFault
from ricochet_protocol.framing import FrameDecoder, encode_frame
from ricochet_protocol.ids import PeerId, peer_public_key
from ricochet_protocol.ports import Connection
from ricochet_protocol.signing import peer_of

PROTOCOL: Final = TProtocol("/ricochet/rpc/1")
HANDSHAKE: Final = 5.0
"""Seconds from TCP to an open stream; on loopback it takes 20 ms."""
WRITE_DEADLINE: Final = 10.0
"""Seconds one write may take; yamux itself gives up after 5 at zero window."""
LINGER: Final = 1.0
"""Seconds for the other side to close too, so that the last frames are read and not cut off."""
READ: Final = 64 * 1024
_ADDRESS = re.compile(r"/(?:ip4|ip6|dns|dns4|dns6)/([^/]+)/tcp/(\d{1,5})(?:/p2p/[^/]+)?")
_log = logging.getLogger(__name__)
# libp2p reports as errors what strangers get wrong; what matters of it is logged here.
logging.getLogger("libp2p").setLevel(logging.CRITICAL)


class _Secured(NamedTuple):
    tcp: trio.SocketStream
    connection: ISecureConn


class Libp2pConnection:
    """The asyncio side of one connection; implements `ports.Connection`."""

    def __init__(self, remote: PeerId, dialled: bool, thread: TrioThread) -> None:
        self.remote = remote
        self.dialled = dialled
        self.host = ""
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


class Libp2pTransport:
    """Implements `ports.Transport`. `seed` is the peer's 32-byte Ed25519 seed.

    `listen` are multiaddrs `/ip4|ip6/HOST/tcp/PORT`; port 0 takes a free one.
    """

    def __init__(self, seed: bytes, listen: Sequence[str] = ("/ip4/127.0.0.1/tcp/0",)) -> None:
        self.peer = peer_of(seed)
        self._listen = tuple(listen)
        self._addresses: tuple[str, ...] = ()
        keys = create_new_key_pair(seed)
        noise = Noise(keys, noise_privkey=create_noise_key_pair().private_key)
        self._upgrader = TransportUpgrader(
            {NOISE: noise}, {TProtocol(YAMUX): Yamux}, negotiate_timeout=int(HANDSHAKE)
        )
        self._thread = TrioThread()
        self._accepting: set[asyncio.Task[None]] = set()
        self._guard = DoorGuard()

    @property
    def addresses(self) -> tuple[str, ...]:
        return self._addresses

    async def start(self, accept: Callable[[Connection], Awaitable[None]]) -> None:
        self._accept = accept
        await self._thread.start()
        try:
            await self._thread.call(self._trio_listen)
        except BaseException:
            await self.stop()
            raise

    async def dial(self, addresses: Sequence[str], peer: PeerId) -> Connection:
        targets = [target for address in addresses if (target := _target(address))]
        if not self._thread.running or not targets or peer == self.peer:
            raise _unreachable(peer)
        connection = Libp2pConnection(peer, True, self._thread)
        try:
            await self._thread.call(self._trio_dial, targets, connection)
        except BaseException:
            # Also when we were cancelled at the moment the other side answered.
            await connection.close()
            raise
        return connection

    async def probe(self, addresses: Sequence[str], peer: PeerId) -> str:
        for address in addresses:
            target = _target(address)
            if target is None or not self._thread.running or peer == self.peer:
                continue
            if await self._thread.call(self._trio_probe, *target, peer):
                return address
        return ""

    async def stop(self) -> None:
        accepting = tuple(self._accepting)
        for task in accepting:
            task.cancel()
        await asyncio.gather(*accepting, return_exceptions=True)
        await self._thread.stop()

    # Incoming connections.

    async def _trio_listen(self) -> None:
        listeners: list[trio.SocketListener] = []
        for address in self._listen:
            target = _target(address)
            if target is None:
                raise LocalFault(
                    "bad_address",
                    f"cannot listen on {address!r}",
                    "write it as /ip4/127.0.0.1/tcp/0",
                )
            try:
                listeners += await trio.open_tcp_listeners(target[1], host=target[0])
            except OSError as error:
                for listener in listeners:
                    await listener.aclose()
                raise LocalFault(
                    "port_in_use",
                    f"cannot listen on {address}: {error.strerror}",
                    "stop what uses this port, or choose another one; port 0 takes a free one",
                ) from None
        self._addresses = tuple(f"{_multiaddr(one)}/p2p/{self.peer}" for one in listeners)
        self._thread.nursery.start_soon(trio.serve_listeners, self._trio_incoming, listeners)

    async def _trio_incoming(self, tcp: trio.SocketStream) -> None:
        visit = self._trio_knock(tcp)
        if visit is None:
            await trio.aclose_forcefully(tcp)
            return

        def begin(connection: Libp2pConnection) -> None:
            visit.enter()
            self._thread.loop.call_soon_threadsafe(self._begin, connection)

        try:
            with trio.fail_after(HANDSHAKE) as handshake:
                raw = RawConnection(TrioTCPStream(tcp), False)
                secured = await self._upgrader.upgrade_security(raw, False)
                remote = PeerId(str(secured.get_remote_peer()))
                peer_public_key(remote)
                connection = Libp2pConnection(remote, False, self._thread)
                connection.host = _source(tcp)
                await self._trio_carry(_Secured(tcp, secured), connection, handshake, begin)
        except Exception as error:  # libp2p fails in many ways on what strangers send
            _log.info("an incoming connection failed: %s", type(error).__name__)
        finally:
            visit.leave()
            await trio.aclose_forcefully(tcp)

    def _trio_knock(self, tcp: trio.SocketStream) -> Visit | None:
        try:
            source = _source(tcp)
        except OSError:  # it has gone already
            return None
        return self._guard.knock(source, trio.current_time())

    def _begin(self, connection: Libp2pConnection) -> None:
        task = asyncio.create_task(self._own(connection))
        self._accepting.add(task)
        task.add_done_callback(self._accepting.discard)

    async def _own(self, connection: Libp2pConnection) -> None:
        try:
            await self._accept(connection)
        except Exception as error:
            _log.error("serving a connection failed: %s", type(error).__name__)
        finally:
            await connection.close()

    # Outgoing connections.

    async def _trio_dial(
        self, targets: list[tuple[str, int]], connection: Libp2pConnection
    ) -> None:
        await self._thread.nursery.start(self._trio_outgoing, targets, connection)

    async def _trio_outgoing(
        self,
        targets: list[tuple[str, int]],
        connection: Libp2pConnection,
        task_status: TaskStatus[None],
    ) -> None:
        established = False

        def begin(_: Libp2pConnection) -> None:
            nonlocal established
            established = True
            task_status.started()

        secured: _Secured | None = None
        try:
            with trio.fail_after(HANDSHAKE) as handshake:
                secured = await self._trio_first(targets, connection.remote)
                connection.host = _source(secured.tcp)
                await self._trio_carry(secured, connection, handshake, begin)
        except Exception as error:  # libp2p fails in many ways on what strangers send
            _log.info("an outgoing connection failed: %s", type(error).__name__)
            if not established:
                raise _unreachable(connection.remote) from None
        finally:
            if secured is not None:
                await trio.aclose_forcefully(secured.tcp)

    async def _trio_first(self, targets: list[tuple[str, int]], peer: PeerId) -> _Secured:
        """The first of the targets that proves to be `peer`; all are tried at once."""
        found: list[_Secured] = []
        async with trio.open_nursery() as nursery:

            async def attempt(host: str, port: int) -> None:
                if secured := await self._trio_secure(host, port, ID.from_base58(peer)):
                    found.append(secured)
                    nursery.cancel_scope.cancel()

            for host, port in targets:
                nursery.start_soon(attempt, host, port)
        for surplus in found[1:]:
            await trio.aclose_forcefully(surplus.tcp)
        if not found:
            raise _unreachable(peer)
        return found[0]

    async def _trio_secure(self, host: str, port: int, peer: ID) -> _Secured | None:
        secured = None
        try:
            tcp = await trio.open_tcp_stream(host, port)
        except (OSError, ValueError):  # ValueError: a host name that cannot be one
            return None
        try:
            raw = RawConnection(TrioTCPStream(tcp), True)
            secured = _Secured(tcp, await self._upgrader.upgrade_security(raw, True, peer))
        except Exception as error:  # also a wrong peer: the handshake names it
            _log.info("a handshake failed: %s", type(error).__name__)
        finally:
            if secured is None:
                await trio.aclose_forcefully(tcp)
        return secured

    async def _trio_probe(self, host: str, port: int, peer: PeerId) -> bool:
        with trio.move_on_after(HANDSHAKE):
            if secured := await self._trio_secure(host, port, ID.from_base58(peer)):
                await trio.aclose_forcefully(secured.tcp)
                return True
        return False

    # Both.

    async def _trio_carry(
        self,
        secured: _Secured,
        connection: Libp2pConnection,
        handshake: trio.CancelScope,
        begin: Callable[[Libp2pConnection], None],
    ) -> None:
        """Open the stream within `handshake`, then move bytes until either side closes."""
        try:
            peer = ID.from_base58(connection.remote)
            muxed = await self._upgrader.upgrade_connection(secured.connection, peer)
            async with trio.open_nursery() as nursery:
                # Yamux runs until the connection ends; its stream then reads as ended too.
                nursery.start_soon(muxed.start)
                stream = await (_trio_open(muxed) if connection.dialled else _trio_accept(muxed))
                handshake.deadline = float("inf")
                nursery.start_soon(_trio_refuse, muxed)
                begin(connection)
                await _trio_pump(stream, connection)
                nursery.cancel_scope.cancel()
        finally:
            connection.outgoing.close()
            connection.incoming.close()


async def _trio_open(muxed: IMuxedConn) -> IMuxedStream:
    await muxed.event_started.wait()
    stream = await muxed.open_stream()
    client = MultiselectClient()
    await client.select_one_of([PROTOCOL], MultiselectCommunicator(_rw(stream)))
    return stream


async def _trio_accept(muxed: IMuxedConn) -> IMuxedStream:
    """The first stream that asks for our protocol; streams for others are told that it has none.

    A libp2p host opens one to identify us as soon as it is connected, and gives it up when refused.
    """
    choose = Multiselect({PROTOCOL: None})
    while True:
        stream = await muxed.accept_stream()
        try:
            await choose.negotiate(MultiselectCommunicator(_rw(stream)), int(HANDSHAKE))
        except (MultiselectError, MuxedStreamError):
            continue
        return stream


async def _trio_refuse(muxed: IMuxedConn) -> None:
    """Turn away every further stream: a connection carries one, and the rest must not pile up.

    Ends quietly with the connection, so that what has arrived by then is still read.
    """
    while True:
        try:
            await (await muxed.accept_stream()).reset()
        except MuxedStreamError:
            continue
        except MuxedConnError:
            return


def _rw(stream: IMuxedStream) -> Any:
    # A muxed stream reads, writes and closes; libp2p's types just do not say so.
    return stream


async def _trio_pump(stream: IMuxedStream, connection: Libp2pConnection) -> None:
    """Move bytes both ways; when we close, what is queued goes out first."""
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


async def _trio_read(stream: IMuxedStream, connection: Libp2pConnection, ended: trio.Event) -> None:
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


def _source(tcp: trio.SocketStream) -> str:
    """The other side's IP address, without the scope of a link; OSError when it has gone."""
    return str(tcp.socket.getpeername()[0]).partition("%")[0].removeprefix("::ffff:")


def _target(address: str) -> tuple[str, int] | None:
    """Host and port of a multiaddr, None for one that is not TCP."""
    match = _ADDRESS.fullmatch(address)
    if match is None or int(match[2]) > 65535:
        return None
    return match[1], int(match[2])


def _multiaddr(listener: trio.SocketListener) -> str:
    host, port, *_ = listener.socket.getsockname()
    return f"/ip6/{host}/tcp/{port}" if ":" in host else f"/ip4/{host}/tcp/{port}"


def _disconnected() -> RemoteFault:
    return RemoteFault(RemoteCode.DISCONNECTED, "the connection is closed")


def _unreachable(peer: PeerId) -> RemoteFault:
    return RemoteFault(
        RemoteCode.UNREACHABLE, f"peer {peer} does not answer", "ask another peer, or try later"
    )
