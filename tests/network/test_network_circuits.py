"""Circuits over a relay: one suite for the in-memory network and libp2p, and what only that has."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import pytest
import trio
from libp2p.io.trio import TrioTCPStream

from ricochet_network.libp2p_relay import Relay
from ricochet_network.libp2p_streams import Carrier, SharedStream
from ricochet_network.libp2p_transport import Libp2pTransport
from ricochet_network.memory_transport import MemoryNetwork
from ricochet_network.peers import PeerNetwork
from ricochet_network.relay_book import RelayLimits
from ricochet_protocol.advert import Advert
from ricochet_protocol.circuit import HOP, Message, encode_hop
from ricochet_protocol.conversation import Turn
from ricochet_protocol.errors import RemoteFault
from ricochet_protocol.framing import MAX_FRAME
from ricochet_protocol.ids import Address, ModelId, NetworkId, PeerId, Period, RequestId
from ricochet_protocol.messages import Ask, Chunk, Reply, Request
from ricochet_protocol.ports import Connection, Transport
from ricochet_protocol.signing import peer_of

PATIENCE = 20.0
NETWORK = NetworkId("test:1")
Make = Callable[[bytes, RelayLimits | None], Transport]


def seed(n: int) -> bytes:
    return n.to_bytes(32, "big")


def on_libp2p(own: bytes, relay: RelayLimits | None) -> Libp2pTransport:
    return Libp2pTransport(own, relay=relay)


@pytest.fixture(params=["memory", "libp2p"])
def make(request: pytest.FixtureRequest) -> Make:
    if request.param == "libp2p":
        return on_libp2p
    network = MemoryNetwork()
    return lambda own, relay: network.transport(own, relay=relay)


class Side:
    """A started transport and the connections it has accepted, in order."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self.peer = transport.peer
        self.accepted: asyncio.Queue[Connection] = asyncio.Queue()
        self.released = asyncio.Event()

    async def accept(self, connection: Connection) -> None:
        self.accepted.put_nowait(connection)
        await self.released.wait()

    async def dial(self, other: "Side") -> tuple[Connection, Connection]:
        """A straight connection: this end and that end."""
        here = await self.transport.dial(other.transport.addresses, other.peer)
        return here, await other.accepted.get()

    async def dial_over(self, relay: "Side", other: "Side") -> tuple[Connection, Connection]:
        """A circuit: this end and that end."""
        here = await self.transport.dial_over(relay.peer, other.peer)
        return here, await other.accepted.get()


class Three:
    """A relay, and two peers that are connected to it: one to be called, one to call."""

    def __init__(self, relay: Side, node: Side, client: Side) -> None:
        self.relay, self.node, self.client = relay, node, client

    async def connect(self) -> None:
        self.node_leg = await self.node.dial(self.relay)
        self.client_leg = await self.client.dial(self.relay)


@asynccontextmanager
async def three(make: Make, limits: RelayLimits | None = None) -> AsyncIterator[Three]:
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(asyncio.timeout(PATIENCE))
        given = (limits or RelayLimits(), None, None)
        made = [Side(make(seed(n), one)) for n, one in enumerate(given, 1)]
        for side in made:
            stack.push_async_callback(side.transport.stop)
            await side.transport.start(side.accept)
        found = Three(*made)
        await found.connect()
        yield found


async def code(work: Awaitable[object]) -> str:
    with pytest.raises(RemoteFault) as caught:
        await work
    return caught.value.code


async def ended(*connections: Connection) -> None:
    """Each of them is at its end, once what was under way has been read."""
    for connection in connections:
        with pytest.raises(RemoteFault) as caught:
            while True:
                await connection.receive()
        assert caught.value.code == "disconnected"


async def alive(leg: tuple[Connection, Connection]) -> None:
    """A connection still carries frames whole, both ways."""
    for sender, receiver in (leg, leg[::-1]):
        await sender.send(b"still here")
        assert await receiver.receive() == b"still here"


def test_the_ends_of_a_circuit_know_each_other_and_the_relay(make: Make) -> None:
    async def test() -> None:
        async with three(make) as t:
            assert await t.node.transport.reserve(t.relay.peer) > 60
            here, there = await t.client.dial_over(t.relay, t.node)
            assert (here.remote, here.dialled, here.relay) == (t.node.peer, True, t.relay.peer)
            assert (there.remote, there.dialled, there.relay) == (
                t.client.peer,
                False,
                t.relay.peer,
            )
            assert here.host == there.host == "", "the relay's address is not theirs"
            assert t.node_leg[0].relay is None

    asyncio.run(test())


def test_frames_of_every_size_arrive_whole_and_in_order_both_ways(make: Make) -> None:
    sizes = [1, 2, 3, 1000, MAX_FRAME, 1, 7, 40_000, MAX_FRAME, 5]
    frames = [bytes([n]) * size for n, size in enumerate(sizes)]

    async def test() -> None:
        async with three(make) as t:
            await t.node.transport.reserve(t.relay.peer)
            ends = await t.client.dial_over(t.relay, t.node)
            for sender, receiver in (ends, ends[::-1]):

                async def send(sender: Connection = sender) -> None:
                    for frame in frames:
                        await sender.send(frame)

                async def read(receiver: Connection = receiver) -> list[bytes]:
                    return [await receiver.receive() for _ in frames]

                _, got = await asyncio.gather(send(), read())
                assert got == frames

    asyncio.run(test())


def test_who_has_not_reserved_is_not_called(make: Make) -> None:
    async def test() -> None:
        async with three(make) as t:
            over = t.client.transport.dial_over
            assert await code(over(t.relay.peer, t.node.peer)) == "unreachable"
            assert await code(over(t.relay.peer, peer_of(seed(77)))) == "unreachable"
            assert await code(over(peer_of(seed(77)), t.node.peer)) == "unreachable", "no link"

    asyncio.run(test())


def test_a_peer_that_is_no_relay_says_so(make: Make) -> None:
    async def test() -> None:
        async with three(make) as t:
            assert await code(t.relay.transport.reserve(t.node.peer)) == "refused"
            assert await code(t.node.transport.reserve(peer_of(seed(77)))) == "unreachable"
            await alive(t.node_leg)

    asyncio.run(test())


def test_reservations_are_few(make: Make) -> None:
    async def test() -> None:
        async with three(make, RelayLimits(reservations=1)) as t:
            await t.node.transport.reserve(t.relay.peer)
            await t.node.transport.reserve(t.relay.peer)  # renewed
            assert await code(t.client.transport.reserve(t.relay.peer)) == "busy"

    asyncio.run(test())


def test_circuits_of_one_caller_are_few_and_a_closed_one_makes_room(make: Make) -> None:
    async def test() -> None:
        async with three(make, RelayLimits(circuits_from=1)) as t:
            await t.node.transport.reserve(t.relay.peer)
            here, there = await t.client.dial_over(t.relay, t.node)
            over = t.client.transport.dial_over
            assert await code(over(t.relay.peer, t.node.peer)) == "busy"
            await alive((here, there))
            await here.close()
            await ended(there)
            await there.close()
            while True:  # libp2p's relay hears of it a moment later
                try:
                    await alive(await t.client.dial_over(t.relay, t.node))
                    return
                except RemoteFault as fault:
                    assert fault.code == "busy"
                    await asyncio.sleep(0.02)

    asyncio.run(test())


@pytest.mark.parametrize(
    "limits", [RelayLimits(data=200_000), RelayLimits(duration=1)], ids=["bytes", "seconds"]
)
def test_a_circuit_ends_at_its_limit_and_its_legs_go_on(make: Make, limits: RelayLimits) -> None:
    async def test() -> None:
        async with three(make, limits) as t:
            await t.node.transport.reserve(t.relay.peer)
            here, there = await t.client.dial_over(t.relay, t.node)
            await alive((here, there))

            async def fill() -> None:
                while True:
                    await here.send(bytes(MAX_FRAME))
                    await asyncio.sleep(0.05)

            filling = asyncio.create_task(fill())
            await ended(there, here)
            assert await code(filling) == "disconnected"
            await alive(t.node_leg)
            await alive(t.client_leg)

    asyncio.run(test())


def test_a_circuit_ends_with_either_leg_and_so_does_the_reservation(make: Make) -> None:
    async def test() -> None:
        async with three(make) as t:
            await t.node.transport.reserve(t.relay.peer)
            ends = await t.client.dial_over(t.relay, t.node)
            await t.client_leg[0].close()
            await ended(*ends)
            t.client_leg = await t.client.dial(t.relay)
            ends = await t.client.dial_over(t.relay, t.node)
            await t.node_leg[0].close()
            await ended(*ends)
            t.node_leg = await t.node.dial(t.relay)
            over = t.client.transport.dial_over
            assert await code(over(t.relay.peer, t.node.peer)) == "unreachable"

    asyncio.run(test())


def test_a_circuit_ends_with_its_relay(make: Make) -> None:
    async def test() -> None:
        async with three(make) as t:
            await t.node.transport.reserve(t.relay.peer)
            ends = await t.client.dial_over(t.relay, t.node)
            await t.relay.transport.stop()
            await ended(*ends)

    asyncio.run(test())


def test_no_circuit_runs_over_a_circuit(make: Make) -> None:
    async def test() -> None:
        async with three(make) as t:
            await t.node.transport.reserve(t.relay.peer)
            await t.client.dial_over(t.relay, t.node)
            assert await code(t.client.transport.reserve(t.node.peer)) == "unreachable"
            over = t.client.transport.dial_over
            assert await code(over(t.node.peer, t.relay.peer)) == "unreachable"

    asyncio.run(test())


# What only libp2p has: bytes on shared connections.


async def in_halves(self: TrioTCPStream, data: bytes) -> None:
    """As a full socket takes bytes: whoever is cancelled in between has cut a frame."""
    async with self.write_lock:
        half = len(data) // 2
        for part in (data[:half], data[half:]):
            with suppress(trio.ClosedResourceError):
                await self.stream.send_all(part)
            await trio.sleep(0.001)


def test_giving_up_at_any_moment_leaves_the_legs_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cancelled dial or a closed circuit cuts no frame of the connections that it shares."""
    monkeypatch.setattr(TrioTCPStream, "write", in_halves)
    plenty = RelayLimits(circuits_from=100, circuits_to=100, circuits_near=100, rate=1e9)

    async def test() -> None:
        async with three(on_libp2p, plenty) as t:
            await t.node.transport.reserve(t.relay.peer)
            over = t.client.transport.dial_over
            for n in range(12):
                dialling = asyncio.create_task(over(t.relay.peer, t.node.peer))
                await asyncio.sleep(0.004 * n)
                dialling.cancel()
                await asyncio.gather(dialling, return_exceptions=True)
            for n in range(4):
                here = await over(t.relay.peer, t.node.peer)

                async def fill(sender: Connection = here) -> None:
                    while True:
                        await sender.send(bytes(MAX_FRAME))

                filling = asyncio.create_task(fill())
                await asyncio.sleep(0.03 * n)
                await here.close()
                await asyncio.gather(filling, return_exceptions=True)
            await alive(t.node_leg)
            await alive(t.client_leg)

    asyncio.run(test())


def test_a_relay_sees_nothing_of_what_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[bytes] = []
    write = SharedStream.write

    async def spy(self: SharedStream, data: bytes) -> None:
        written.append(bytes(data))
        await write(self, data)

    monkeypatch.setattr(SharedStream, "write", spy)

    async def test() -> None:
        async with three(on_libp2p) as t:
            await t.node.transport.reserve(t.relay.peer)
            here, there = await t.client.dial_over(t.relay, t.node)
            secret = b"nobody else reads this line" * 100
            await here.send(secret)
            assert await there.receive() == secret
            passed = b"".join(written)
            assert len(passed) > len(secret), "it went over the streams that were watched"
            assert b"nobody else" not in passed and b"/yamux" not in passed
            assert b"/noise" in passed

    asyncio.run(test())


def relaying(side: Side) -> Relay:
    assert isinstance(side.transport, Libp2pTransport)
    assert side.transport._relay is not None
    return side.transport._relay


def test_a_relay_that_lies_about_who_calls_is_found_out() -> None:
    async def test() -> None:
        async with three(on_libp2p) as t:
            await t.node.transport.reserve(t.relay.peer)
            book = relaying(t.relay).book
            connect = book.connect
            pretended = peer_of(seed(77))
            book.connect = lambda _, callee, host, now: connect(pretended, callee, host, now)  # type: ignore[assignment]  # the lie
            over = t.client.transport.dial_over
            assert await code(over(t.relay.peer, t.node.peer)) == "unreachable"
            assert t.node.accepted.empty()
            await alive(t.node_leg)

    asyncio.run(test())


def test_a_peer_that_was_not_asked_to_relay_cannot_pass_callers_on() -> None:
    async def test() -> None:
        async with three(on_libp2p) as t:
            relaying(t.relay).book.reserve(t.node.peer, "", trio_now(t.relay))
            over = t.client.transport.dial_over
            assert await code(over(t.relay.peer, t.node.peer)) == "unreachable"
            assert t.node.accepted.empty()

    asyncio.run(test())


def trio_now(side: Side) -> float:
    assert isinstance(side.transport, Libp2pTransport)
    found: list[float] = []
    trio.from_thread.run_sync(
        lambda: found.append(trio.current_time()), trio_token=side.transport._thread.token
    )
    return found[0]


async def raw_hop(side: Side, relay: PeerId, *sends: bytes) -> bytes:
    """What a relay answers to bytes on a hop stream."""
    assert isinstance(side.transport, Libp2pTransport)
    transport = side.transport

    async def talk() -> bytes:
        carrier = transport._trio_carrier(relay)
        assert isinstance(carrier, Carrier)
        stream = await carrier.open(HOP)
        try:
            for data in sends:
                await stream.write(data)
            return await stream.read()
        finally:
            await stream.end()

    return await transport._thread.call(talk)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\xff\xff\xff\xff", 400),
        (b"\x03\x08\x00\x12", 400),
        (b"\x00", 400),
        (encode_hop(Message(1, peer=b"nonsense")), 400),
        (encode_hop(Message(1)), 400),
        (encode_hop(Message(2, status=100)), 401),
        (encode_hop(Message(9)), 401),
    ],
)
def test_a_relay_refuses_what_is_no_request(sent: bytes, status: int) -> None:
    async def test() -> None:
        async with three(on_libp2p) as t:
            answer = await raw_hop(t.client, t.relay.peer, sent)
            assert answer == encode_hop(Message(2, status=status))
            await alive(t.client_leg)

    asyncio.run(test())


def test_a_node_at_a_closed_port_is_found_and_called_over_a_relay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All parts together, over TCP: a dial back that fails, a reservation, an advert, a call."""
    monkeypatch.setattr("ricochet_network.reach.FIRST", 0.2)
    monkeypatch.setattr("ricochet_network.relays.LOOK", 0.1)

    async def echo(_: PeerId, request: Request) -> AsyncIterator[Reply]:
        assert isinstance(request, Ask)
        yield Chunk(request.turns[0].content)

    async def test() -> None:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(asyncio.timeout(PATIENCE))

            async def join(n: int, first: Sequence[str], **options: Any) -> PeerNetwork:
                limits = RelayLimits() if n < 3 else None
                transport = Libp2pTransport(seed(n), relay=limits)
                peers = PeerNetwork(transport, seed(n), NETWORK, first, echo, **options)
                stack.push_async_callback(peers.stop)
                await peers.start()
                return peers

            first = await join(1, ())
            await join(2, first.addresses)
            # Nobody listens at port 1: it is as if a router let nothing through.
            node = await join(3, first.addresses, announce=["/ip4/127.0.0.1/tcp/1"])
            await node.publish(advert(node, 1))
            while not node.contact().relays:  # noqa: ASYNC110 - the network has no event for it
                await asyncio.sleep(0.02)
            assert node.contact().reached is False
            await node.publish(advert(node, 2))
            client = await join(4, first.addresses)
            turns = (Turn("user", "who is there"),)
            ask = Ask(RequestId("0" * 32), Period(1), ModelId("m"), turns, 9, deadline=9)
            async with client.call(node.peer, ask) as replies:
                assert [reply async for reply in replies] == [Chunk("who is there")]
            (link,) = [one for one in client.links() if one.peer == node.peer]
            assert link.relay in node.contact().relays

    asyncio.run(test())


def advert(peers: PeerNetwork, seq: int) -> Advert:
    return Advert(
        peer=peers.peer,
        addresses=peers.addresses,
        operator=Address("0x" + "0a" * 20),
        network=NETWORK,
        models=(),
        region="",
        version="1",
        seq=seq,
        issued_at=int(time.time()),
        ttl=600,
    )
