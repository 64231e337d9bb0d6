"""A network inside one process that tests and simulations can bend: `Transport` without sockets.

Frames travel through bounded queues in order, exactly as over libp2p, and the same conformance
suite holds for both. `MemoryNetwork` is where the harm is done: partitions and stalls hold frames
back silently as a lost link does, `drop` and `kill` close connections as a dead process does, and
`latency` and `bandwidth` delay each frame by the event loop's clock (run on `virtual_time`, it
costs no time). `loss` makes frames late, not absent: a stream sends again what a wire drops.

A circuit over a relay is a wire of two legs: what holds back or cuts either does so to the circuit,
and the relay's own `RelayBook` counts it.
"""

import asyncio
import itertools
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from math import inf
from random import Random
from typing import Final

from ricochet_network.relay_book import Circuit, RelayBook, RelayLimits
from ricochet_protocol.circuit import Status
from ricochet_protocol.errors import LocalFault, RemoteCode, RemoteFault
from ricochet_protocol.framing import encode_frame
from ricochet_protocol.ids import PeerId
from ricochet_protocol.ports import Connection
from ricochet_protocol.signing import peer_of

QUEUE: Final = 256 * 1024
"""Bytes under way in one direction before senders wait: a TCP connection's worth of buffers."""
RESEND: Final = 0.2
"""Seconds by which a lost frame arrives late: TCP's shortest time-out on Linux."""
TICK: Final = 1e-9
"""Seconds that are none: timers fire this early, and who slept again would keep the clock still."""
_log = logging.getLogger(__name__)


class MemoryNetwork:
    """The wires between the peers made by `transport`; all may be changed while it runs.

    Every frame takes `latency` seconds and its size at `bandwidth` bytes a second of each direction
    of a connection; a share of `loss` of the frames is lost at first, drawn by `rng`.
    """

    def __init__(
        self,
        latency: float = 0.0,
        *,
        bandwidth: float = inf,
        loss: float = 0.0,
        rng: Random | None = None,
    ) -> None:
        self.latency = latency
        self.bandwidth = bandwidth
        self.loss = loss
        # The same draws in every run, unless a simulation brings its own.
        self._rng = rng or Random(0)  # noqa: S311 - a simulation
        self._peers: dict[str, MemoryTransport] = {}
        self._wires: list[_Wire] = []
        self._partitions: set[frozenset[PeerId]] = set()
        self._stalled: set[PeerId] = set()
        self.hidden: set[str] = set()
        """Places that nobody can dial: behind a router."""
        self._changed = asyncio.Event()
        self._places = itertools.count(1)

    def transport(
        self, seed: bytes, address: str = "", relay: RelayLimits | None = None
    ) -> "MemoryTransport":
        """A peer with this 32-byte Ed25519 seed, reachable once it has started.

        `address` is what it calls its place (a multiaddr without peer id), `relay` what it does for
        others.
        """
        return MemoryTransport(self, seed, address or f"/memory/{next(self._places)}", relay)

    def partition(self, a: PeerId, b: PeerId) -> None:
        """Hold back every frame between the two and refuse dials, until `heal`."""
        self._partitions.add(frozenset((a, b)))

    def heal(self, a: PeerId, b: PeerId) -> None:
        """End a partition; held frames arrive now."""
        self._partitions.discard(frozenset((a, b)))
        self._notify()

    def stall(self, peer: PeerId) -> None:
        """Make a peer hang like a stopped process: it neither sends, receives nor answers dials."""
        self._stalled.add(peer)

    def resume(self, peer: PeerId) -> None:
        """End a stall."""
        self._stalled.discard(peer)
        self._notify()

    def drop(self, a: PeerId, b: PeerId) -> None:
        """Cut every connection between the two; new ones may be dialled."""
        for wire in self._direct(a, b):
            wire.cut()

    def kill(self, peer: PeerId) -> None:
        """Take a peer off the network as `kill -9` does; a new transport may take its place."""
        self._peers = {at: one for at, one in self._peers.items() if one.peer != peer}
        for wire in [wire for wire in self._wires if peer in wire.peers]:
            wire.cut()

    def arrival(self, sent: float, size: int, free: float, legs: int = 1) -> tuple[float, float]:
        """When a frame of a direction that is `free` then arrives, and when that is free again."""
        end = max(sent, free) + size / self.bandwidth
        late = 0.0
        while self.loss and self._rng.random() < self.loss:
            late += RESEND
        return end + legs * self.latency + late, end + late

    def connections(self, a: PeerId, b: PeerId) -> int:
        """How many connections are open between the two."""
        return len(self._direct(a, b))

    def _direct(self, a: PeerId, b: PeerId) -> list["_Wire"]:
        return [one for one in self._wires if not one.relay and {a, b} == {*one.ends}]

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _held(self, a: PeerId, b: PeerId) -> bool:
        return frozenset((a, b)) in self._partitions or not self._stalled.isdisjoint((a, b))

    async def _passable(self, *legs: tuple[PeerId, PeerId]) -> None:
        while any(self._held(a, b) for a, b in legs):
            await self._changed.wait()

    def _join(self, transport: "MemoryTransport") -> None:
        if transport.place in self._peers:
            raise LocalFault("port_in_use", "a peer has started there", "use another place")
        self._peers[transport.place] = transport

    def _leave(self, transport: "MemoryTransport") -> None:
        if self._peers.get(transport.place) is transport:
            del self._peers[transport.place]
            if all(one.peer != transport.peer for one in self._peers.values()):
                self.kill(transport.peer)

    async def _connect(
        self, dialler: "MemoryTransport", addresses: Sequence[str], peer: PeerId
    ) -> Connection:
        target = await self.find(dialler, addresses, peer)
        if target is None:
            raise RemoteFault(RemoteCode.UNREACHABLE, f"peer {peer} does not answer")
        return self._lay(_Wire(self, dialler, target), target)

    def _lay(self, wire: "_Wire", target: "MemoryTransport") -> "MemoryConnection":
        self._wires.append(wire)
        target.incoming(wire.end(dialled=False))
        return wire.end(dialled=True)

    async def reserve(self, asker: "MemoryTransport", relay: PeerId) -> float:
        """A reservation at a peer that there is a direct wire to; for transports."""
        book = (await self._relay(asker, relay)).book
        if book is None:
            raise RemoteFault(RemoteCode.REFUSED, f"peer {relay} is no relay")
        now = asyncio.get_running_loop().time()
        if book.reserve(asker.peer, _host(asker.place), now) is not Status.OK:
            raise _full(relay)
        return book.limits.period

    async def connect_over(
        self, dialler: "MemoryTransport", relay: PeerId, peer: PeerId
    ) -> Connection:
        """A circuit; for transports."""
        middle = await self._relay(dialler, relay)
        # The relay asks the peer, and the ends shake hands over it.
        await asyncio.sleep(4 * self.latency)
        found = (one for one in self._peers.values() if one.peer == peer)
        target = next(found, None) if self._direct(relay, peer) else None
        if middle.book is None or target is None:
            raise _no_way(relay)
        now = asyncio.get_running_loop().time()
        circuit = middle.book.connect(dialler.peer, peer, _host(dialler.place), now)
        if circuit is Status.RESOURCE_LIMIT_EXCEEDED:
            raise _full(relay)
        if isinstance(circuit, Status):
            raise _no_way(relay)
        return self._lay(_Wire(self, dialler, target, middle, circuit), target)

    async def _relay(self, asker: "MemoryTransport", relay: PeerId) -> "MemoryTransport":
        await self._passable((asker.peer, relay))
        await asyncio.sleep(2 * self.latency)
        found = (one for one in self._peers.values() if one.peer == relay)
        middle = next(found, None)
        if middle is None or not self._direct(asker.peer, relay):
            raise _no_way(relay)
        return middle

    def ended(self, wire: "_Wire") -> None:
        """A wire is cut: so are the circuits that have lost a leg by it; for wires."""
        if wire not in self._wires:
            return
        self._wires.remove(wire)
        a, b = wire.ends
        if wire.relay or self._direct(a, b):
            return
        for one in self._peers.values():
            if one.book is not None and one.peer in (a, b):
                one.book.gone(b if one.peer == a else a)
        for circuit in [one for one in self._wires if {a, b} in map(set, one.legs)]:
            circuit.cut()

    async def find(
        self, dialler: "MemoryTransport", addresses: Sequence[str], peer: PeerId
    ) -> "MemoryTransport | None":
        """Whom a dial reaches; for transports."""
        if frozenset((dialler.peer, peer)) in self._partitions:
            return None
        await self._passable((dialler.peer, peer))
        await asyncio.sleep(2 * self.latency)
        if self._peers.get(dialler.place) is not dialler:
            return None
        places = {one.partition("/p2p/")[0] for one in addresses} - self.hidden - {dialler.place}
        found = (self._peers.get(place) for place in sorted(places))
        return next((one for one in found if one is not None and one.peer == peer), None)


class _Lane:
    """One direction of a wire: frames with the loop time at which they arrive."""

    def __init__(self) -> None:
        self.frames: deque[tuple[float, bytes]] = deque()
        self.queued = 0
        self.free = 0.0
        self.open = True
        self.changed = asyncio.Event()

    def notify(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()


class _Wire:
    """Both directions of one connection, which may be a circuit of a relay."""

    def __init__(
        self,
        network: MemoryNetwork,
        dialler: "MemoryTransport",
        acceptor: "MemoryTransport",
        relay: "MemoryTransport | None" = None,
        circuit: Circuit | None = None,
    ) -> None:
        self.network = network
        self.dialler = dialler.peer
        self.acceptor = acceptor.peer
        self.relay = relay.peer if relay else None
        self.ends = (self.dialler, self.acceptor)
        self.peers = (*self.ends, self.relay) if self.relay else self.ends
        self.legs: tuple[tuple[PeerId, PeerId], ...] = (self.ends,)
        if self.relay:
            self.legs = ((self.dialler, self.relay), (self.relay, self.acceptor))
        self._book = relay.book if relay else None
        self._circuit = circuit
        self._over: asyncio.TimerHandle | None = None
        if self._book is not None:
            loop = asyncio.get_running_loop()
            self._over = loop.call_later(self._book.limits.duration, self.cut)
        self._places = (dialler.place, acceptor.place)
        self._there, self._back = _Lane(), _Lane()

    def end(self, *, dialled: bool) -> "MemoryConnection":
        if dialled:
            host = "" if self.relay else _host(self._places[1])
            return MemoryConnection(self, self.acceptor, True, host, self._there, self._back)
        host = "" if self.relay else _host(self._places[0])
        return MemoryConnection(self, self.dialler, False, host, self._back, self._there)

    async def passable(self) -> None:
        await self.network._passable(*self.legs)

    def count(self, sender: PeerId, size: int) -> float:
        """The seconds by which a relay's limits delay bytes; cuts the circuit that is used up."""
        if self._book is None or self._circuit is None:
            return 0.0
        now = asyncio.get_running_loop().time()
        pause = self._book.pass_on(self._circuit, sender, size, now)
        if pause is None:
            self.cut()
        return pause or 0.0

    def cut(self) -> None:
        for lane in (self._there, self._back):
            lane.open = False
            lane.notify()
        if self._book is not None and self._circuit is not None:
            self._book.close(self._circuit)
        if self._over is not None:
            self._over.cancel()
        self.network.ended(self)


class MemoryConnection:
    """One end of a wire; implements `ports.Connection`."""

    def __init__(
        self,
        wire: _Wire,
        remote: PeerId,
        dialled: bool,
        host: str,
        outgoing: _Lane,
        incoming: _Lane,
    ) -> None:
        self.remote = remote
        self.dialled = dialled
        self.host = host
        self.relay = wire.relay
        self._wire = wire
        self._outgoing = outgoing
        self._incoming = incoming
        self._closed = False

    async def send(self, payload: bytes) -> None:
        lane = self._outgoing
        size = len(encode_frame(payload))
        while lane.open and lane.queued >= QUEUE:
            await lane.changed.wait()
        if not lane.open:
            raise _disconnected()
        wire = self._wire
        pause = wire.count(wire.dialler if self.dialled else wire.acceptor, size)
        if not lane.open:
            raise _disconnected()
        now = asyncio.get_running_loop().time() + pause
        arrival, lane.free = wire.network.arrival(now, size, lane.free, len(wire.legs))
        lane.frames.append((arrival, payload))
        lane.queued += size
        lane.notify()

    async def receive(self) -> bytes:
        lane = self._incoming
        while True:
            await self._wire.passable()
            if self._closed or not (lane.frames or lane.open):
                raise _disconnected()
            if not lane.frames:
                await lane.changed.wait()
                continue
            wait = lane.frames[0][0] - asyncio.get_running_loop().time()
            if wait > TICK:
                await asyncio.sleep(wait)
                continue
            _, payload = lane.frames.popleft()
            lane.queued -= len(encode_frame(payload))
            lane.notify()
            return payload

    async def close(self) -> None:
        self._closed = True
        self._wire.cut()


class MemoryTransport:
    """A peer of a `MemoryNetwork`; implements `ports.Transport`."""

    def __init__(
        self, network: MemoryNetwork, seed: bytes, place: str, relay: RelayLimits | None = None
    ) -> None:
        self.peer = peer_of(seed)
        self.book = RelayBook(relay) if relay else None
        self._network = network
        self.place = place
        self._accept: Callable[[Connection], Awaitable[None]] | None = None
        self._serving: set[asyncio.Task[None]] = set()

    @property
    def addresses(self) -> tuple[str, ...]:
        return (f"{self.place}/p2p/{self.peer}",)

    async def start(self, accept: Callable[[Connection], Awaitable[None]]) -> None:
        self._network._join(self)
        self._accept = accept

    async def dial(self, addresses: Sequence[str], peer: PeerId) -> Connection:
        return await self._network._connect(self, addresses, peer)

    async def dial_over(self, relay: PeerId, peer: PeerId) -> Connection:
        return await self._network.connect_over(self, relay, peer)

    async def reserve(self, relay: PeerId) -> float:
        return await self._network.reserve(self, relay)

    async def probe(self, addresses: Sequence[str], peer: PeerId) -> str:
        for address in addresses:
            if await self._network.find(self, [address], peer):
                return address
        return ""

    async def stop(self) -> None:
        self._network._leave(self)
        serving = tuple(self._serving)
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)

    def incoming(self, connection: Connection) -> None:
        """Hand a connection that another peer has dialled to `accept`; for the network."""
        task = asyncio.create_task(self._own(connection))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _own(self, connection: Connection) -> None:
        try:
            if self._accept is not None:
                await self._accept(connection)
        except Exception as error:
            _log.error("serving a connection failed: %s", type(error).__name__)
        finally:
            await connection.close()


def _host(place: str) -> str:
    """The IP address in a place that is written as one."""
    parts = place.split("/")
    return parts[2] if parts[1] in ("ip4", "ip6") else ""


def _full(relay: PeerId) -> RemoteFault:
    return RemoteFault(RemoteCode.BUSY, f"relay {relay} does all that it may", wait=30)


def _no_way(relay: PeerId) -> RemoteFault:
    return RemoteFault(RemoteCode.UNREACHABLE, f"relay {relay} has no way to that peer")


def _disconnected() -> RemoteFault:
    return RemoteFault(RemoteCode.DISCONNECTED, "the connection is closed")
