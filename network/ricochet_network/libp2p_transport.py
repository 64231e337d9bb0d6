"""The real network: TCP, Noise and yamux of libp2p, one persistent stream for each connection.

Only the modules named `libp2p_*` import libp2p, which takes a second. This one uses its
multistream-select and Noise without its host and swarm, and a yamux of our own (ADRs 002 and 032).
Nothing but Noise and yamux is ever offered, so an unencrypted connection cannot come about. The
peer id is that of the Ed25519 seed, and Noise proves the other's before a byte of ours is read.

Everything named `_trio_*` runs in the trio thread. A peer has `HANDSHAKE` seconds to become a
connection; one that fails disturbs no other. A connection may run over a circuit of another one
(`libp2p_relay`): it is secured like any, from end to end.
"""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import NamedTuple

import trio
from libp2p.abc import IRawConnection, ISecureConn
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as create_noise_key_pair
from libp2p.custom_types import TProtocol
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.peer.id import ID
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.security.noise.transport import Transport as Noise
from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID as YAMUX
from libp2p.stream_muxer.yamux.yamux import Yamux as Libp2pYamux
from libp2p.transport.upgrader import TransportUpgrader
from trio import TaskStatus  # type: ignore[attr-defined]  # public, but not in trio's stubs' list

from ricochet_network.bridge import TrioThread
from ricochet_network.door_guard import DoorGuard, Visit
from ricochet_network.libp2p_connection import Libp2pConnection, trio_pump
from ricochet_network.libp2p_relay import Relay, called_untrusted, connect, reserve
from ricochet_network.libp2p_streams import HANDSHAKE, Carrier, Handle, SharedStream
from ricochet_network.libp2p_tcp import BufferedTcp
from ricochet_network.libp2p_yamux import UNREAD, Yamux, YamuxStream
from ricochet_network.quota import MemoryBudget
from ricochet_network.relay_book import RelayLimits
from ricochet_protocol.circuit import HOP, STOP
from ricochet_protocol.errors import LocalFault, RemoteCode, RemoteFault
from ricochet_protocol.ids import PeerId, peer_public_key
from ricochet_protocol.ports import Connection
from ricochet_protocol.signing import peer_of

_ADDRESS = re.compile(r"/(?:ip4|ip6|dns|dns4|dns6)/([^/]+)/tcp/(\d{1,5})(?:/p2p/[^/]+)?")
_log = logging.getLogger(__name__)
# libp2p reports as errors what strangers get wrong; what matters of it is logged here.
logging.getLogger("libp2p").setLevel(logging.CRITICAL)


class _Secured(NamedTuple):
    """A connection whose other end has proved itself, and how what is below it is closed."""

    connection: ISecureConn
    close: Callable[[], Awaitable[None]]
    host: str = ""


_Secure = Callable[[], Awaitable[_Secured]]


class Libp2pTransport:
    """Implements `ports.Transport`. `seed` is the peer's 32-byte Ed25519 seed.

    `listen` are multiaddrs `/ip4|ip6/HOST/tcp/PORT`; port 0 takes a free one. `relay` is what it
    does for peers that cannot be dialled, None for nothing.
    """

    def __init__(
        self,
        seed: bytes,
        listen: Sequence[str] = ("/ip4/127.0.0.1/tcp/0",),
        relay: RelayLimits | None = None,
    ) -> None:
        self.peer = peer_of(seed)
        self._listen = tuple(listen)
        self._addresses: tuple[str, ...] = ()
        keys = create_new_key_pair(seed)
        noise = Noise(keys, noise_privkey=create_noise_key_pair().private_key)
        self._upgrader = TransportUpgrader(
            {NOISE: noise}, {TProtocol(YAMUX): Libp2pYamux}, negotiate_timeout=int(HANDSHAKE)
        )
        self._thread = TrioThread()
        self._accepting: set[asyncio.Task[None]] = set()
        self._guard = DoorGuard()
        self._handlers: dict[str, Handle] = {STOP: self._trio_called}
        self._relay = Relay(relay, self._trio_carrier) if relay else None
        if self._relay is not None:
            self._handlers[HOP] = self._relay.serve
        self._unread = MemoryBudget(UNREAD)
        self._carriers: dict[PeerId, list[Carrier]] = {}
        self._reserved: set[PeerId] = set()

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
        if not targets:
            raise _unreachable(peer)
        return await self._dial(peer, None, partial(self._trio_first, targets, peer))

    async def dial_over(self, relay: PeerId, peer: PeerId) -> Connection:
        return await self._dial(peer, relay, partial(self._trio_over, relay, peer))

    async def reserve(self, relay: PeerId) -> float:
        if not self._thread.running:
            raise _unreachable(relay)
        return await self._thread.call(self._trio_reserve, relay)

    async def _dial(self, peer: PeerId, relay: PeerId | None, secure: _Secure) -> Connection:
        if not self._thread.running or peer == self.peer:
            raise _unreachable(peer)
        connection = Libp2pConnection(peer, True, self._thread)
        connection.relay = relay
        try:
            await self._thread.call(self._trio_dial, secure, connection)
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
            self._trio_begin(connection)

        try:
            raw, host = RawConnection(BufferedTcp(tcp), False), _source(tcp)
            await self._trio_answer(raw, host, None, None, begin)
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

    async def _trio_called(self, carrier: Carrier, stream: SharedStream) -> None:
        """A relay says that a peer calls over it."""
        caller = await called_untrusted(stream, carrier.remote in self._reserved)
        if caller is not None:
            await self._trio_answer(stream, "", caller, carrier.remote, self._trio_begin)

    async def _trio_answer(
        self,
        raw: IRawConnection,
        host: str,
        expected: PeerId | None,
        relay: PeerId | None,
        begin: Callable[[Libp2pConnection], None],
    ) -> None:
        """Carry a connection that another peer has dialled."""
        with trio.fail_after(HANDSHAKE) as handshake:
            secured = await self._upgrader.upgrade_security(raw, False)
            remote = PeerId(str(secured.get_remote_peer()))
            peer_public_key(remote)
            if expected is not None and remote != expected:
                raise RemoteFault(RemoteCode.GARBAGE, "a relay that lies about who calls")
            connection = Libp2pConnection(remote, False, self._thread)
            connection.host, connection.relay = host, relay
            await self._trio_carry(secured, connection, handshake, begin)

    def _trio_begin(self, connection: Libp2pConnection) -> None:
        self._thread.loop.call_soon_threadsafe(self._begin, connection)

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

    async def _trio_dial(self, secure: _Secure, connection: Libp2pConnection) -> None:
        await self._thread.nursery.start(self._trio_outgoing, secure, connection)

    async def _trio_outgoing(
        self, secure: _Secure, connection: Libp2pConnection, task_status: TaskStatus[None]
    ) -> None:
        established = False

        def begin(_: Libp2pConnection) -> None:
            nonlocal established
            established = True
            task_status.started()

        secured: _Secured | None = None
        try:
            with trio.fail_after(HANDSHAKE) as handshake:
                secured = await secure()
                connection.host = secured.host
                await self._trio_carry(secured.connection, connection, handshake, begin)
        except Exception as error:  # libp2p fails in many ways on what strangers send
            _log.info("an outgoing connection failed: %s", type(error).__name__)
            if not established:
                busy = isinstance(error, RemoteFault) and error.code == RemoteCode.BUSY
                raise (error if busy else _unreachable(connection.remote)) from None
        finally:
            if secured is not None:
                await secured.close()

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
            await surplus.close()
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
            raw = RawConnection(BufferedTcp(tcp), True)
            connection = await self._upgrader.upgrade_security(raw, True, peer)
            secured = _Secured(connection, partial(trio.aclose_forcefully, tcp), _source(tcp))
        except Exception as error:  # also a wrong peer: the handshake names it
            _log.info("a handshake failed: %s", type(error).__name__)
        finally:
            if secured is None:
                await trio.aclose_forcefully(tcp)
        return secured

    async def _trio_probe(self, host: str, port: int, peer: PeerId) -> bool:
        with trio.move_on_after(HANDSHAKE):
            if secured := await self._trio_secure(host, port, ID.from_base58(peer)):
                await secured.close()
                return True
        return False

    # Circuits.

    def _trio_carrier(self, peer: PeerId) -> Carrier | None:
        """The newest connection to a peer that is not over a relay itself."""
        found = (one for one in reversed(self._carriers.get(peer, ())) if one.direct)
        return next(found, None)

    async def _trio_over(self, relay: PeerId, peer: PeerId) -> _Secured:
        if (carrier := self._trio_carrier(relay)) is None:
            raise _unreachable(peer)
        stream = await connect(carrier, peer)
        secured = None
        try:
            connection = await self._upgrader.upgrade_security(stream, True, ID.from_base58(peer))
            secured = _Secured(connection, stream.end)
            return secured
        finally:
            if secured is None:
                await stream.end()

    async def _trio_reserve(self, relay: PeerId) -> float:
        if (carrier := self._trio_carrier(relay)) is None:
            raise _unreachable(relay)
        held = relay in self._reserved
        self._reserved.add(relay)
        done = False
        try:
            with trio.fail_after(HANDSHAKE):
                seconds = await reserve(carrier)
            done = True
            return seconds
        except trio.TooSlowError:
            raise _unreachable(relay) from None
        finally:
            if not (done or held):
                self._reserved.discard(relay)

    def _trio_carriers_end(self, carrier: Carrier) -> None:
        carrier.end()
        left = self._carriers[carrier.remote]
        left.remove(carrier)
        if not any(one.direct for one in left):
            self._reserved.discard(carrier.remote)
            if self._relay is not None:
                self._relay.book.gone(carrier.remote)
        if not left:
            del self._carriers[carrier.remote]

    # Both.

    async def _trio_carry(
        self,
        secured: ISecureConn,
        connection: Libp2pConnection,
        handshake: trio.CancelScope,
        begin: Callable[[Libp2pConnection], None],
    ) -> None:
        """Open the stream within `handshake`, then move bytes until either side closes."""
        try:
            # It agrees on yamux, the only one offered; ours is then spoken.
            await self._upgrader.muxer_multistream.select_transport(secured)
            muxed = Yamux(secured, self._unread)
            carrier = Carrier(
                muxed,
                connection.remote,
                connection.host,
                self._handlers,
                self._thread.nursery,
                direct=connection.relay is None,
            )
            self._carriers.setdefault(connection.remote, []).append(carrier)
            try:
                async with trio.open_nursery() as nursery:
                    # Yamux runs until the connection ends; its stream then reads as ended too.
                    nursery.start_soon(muxed.run)
                    if connection.dialled:
                        stream = await carrier.open_calls()
                        nursery.start_soon(carrier.serve, None)
                    else:
                        calls, accepted = trio.open_memory_channel[YamuxStream](1)
                        nursery.start_soon(carrier.serve, calls)
                        stream = await accepted.receive()
                    handshake.deadline = float("inf")
                    begin(connection)
                    await trio_pump(stream, connection)
                    nursery.cancel_scope.cancel()
            finally:
                self._trio_carriers_end(carrier)
        finally:
            connection.outgoing.close()
            connection.incoming.close()


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


def _unreachable(peer: PeerId) -> RemoteFault:
    return RemoteFault(
        RemoteCode.UNREACHABLE, f"peer {peer} does not answer", "ask another peer, or try later"
    )
