"""What every `Transport` does: one suite for the in-memory network and for libp2p."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from ricochet_network.libp2p_transport import Libp2pTransport
from ricochet_network.memory_transport import MemoryNetwork
from ricochet_network.virtual_time import run_virtual
from ricochet_protocol.errors import RemoteFault
from ricochet_protocol.framing import MAX_FRAME
from ricochet_protocol.ids import PeerId
from ricochet_protocol.ports import Connection, Transport
from ricochet_protocol.signing import peer_of

PATIENCE = 20.0
Make = Callable[[bytes], Transport]


def seed(n: int) -> bytes:
    return n.to_bytes(32, "big")


@pytest.fixture(params=["memory", "libp2p"])
def make(request: pytest.FixtureRequest) -> Make:
    if request.param == "libp2p":
        return Libp2pTransport
    return MemoryNetwork().transport


class Side:
    """A started transport and the connections it has accepted, in order."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self.accepted: asyncio.Queue[Connection] = asyncio.Queue()
        self.released = asyncio.Event()

    async def accept(self, connection: Connection) -> None:
        self.accepted.put_nowait(connection)
        await self.released.wait()

    async def dial(self, other: "Side") -> tuple[Connection, Connection]:
        """A connection to `other`: this end and that end."""
        here = await self.transport.dial(other.transport.addresses, other.transport.peer)
        return here, await other.accepted.get()


@asynccontextmanager
async def sides(make: Make, count: int = 2) -> AsyncIterator[list[Side]]:
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(asyncio.timeout(PATIENCE))
        made = [Side(make(seed(n))) for n in range(1, count + 1)]
        for side in made:
            stack.push_async_callback(side.transport.stop)
            await side.transport.start(side.accept)
        yield made


def run(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(test())  # type: ignore[arg-type]  # every test here is a coroutine function


async def read(connection: Connection, count: int) -> list[bytes]:
    return [await connection.receive() for _ in range(count)]


async def fault(work: Awaitable[object]) -> str:
    with pytest.raises(RemoteFault) as caught:
        await work
    return caught.value.code


def test_each_side_knows_who_the_other_is(make: Make) -> None:
    async def test() -> None:
        async with sides(make) as (a, b):
            here, there = await a.dial(b)
            assert (here.remote, here.dialled) == (b.transport.peer, True)
            assert (there.remote, there.dialled) == (a.transport.peer, False)
            assert a.transport.peer == peer_of(seed(1))

    run(test)


def test_addresses_end_in_the_peer_id(make: Make) -> None:
    async def test() -> None:
        async with sides(make) as (a, b):
            for side in (a, b):
                assert side.transport.addresses
                for address in side.transport.addresses:
                    assert address.endswith(f"/p2p/{side.transport.peer}")

    run(test)


def test_frames_of_every_size_arrive_whole_and_in_order_both_ways(make: Make) -> None:
    sizes = [1, 2, 3, 1000, MAX_FRAME, 1, MAX_FRAME - 1, 7, 40_000, MAX_FRAME, 5]
    frames = [bytes([n]) * size for n, size in enumerate(sizes)]

    async def test() -> None:
        async with sides(make) as (a, b):
            ends = await a.dial(b)
            for sender, receiver in (ends, ends[::-1]):

                async def send(sender: Connection = sender) -> None:
                    for frame in frames:
                        await sender.send(frame)

                _, got = await asyncio.gather(send(), read(receiver, len(frames)))
                assert got == frames

    run(test)


def test_a_frame_that_is_empty_or_too_long_is_refused_here(make: Make) -> None:
    async def test() -> None:
        async with sides(make) as (a, b):
            here, there = await a.dial(b)
            for size in (0, MAX_FRAME + 1):
                with pytest.raises(ValueError):
                    await here.send(bytes(size))
            await here.send(b"fine")
            assert await there.receive() == b"fine"

    run(test)


def test_many_senders_at_once_lose_nothing(make: Make) -> None:
    async def test() -> None:
        async with sides(make) as (a, b):
            here, there = await a.dial(b)
            frames = [n.to_bytes(2, "big") * 500 for n in range(1000)]
            _, got = await asyncio.gather(
                asyncio.gather(*(here.send(frame) for frame in frames)), read(there, len(frames))
            )
            assert sorted(got) == frames

    run(test)


def test_a_sender_waits_for_a_slow_receiver_and_a_cancelled_send_does_no_harm(make: Make) -> None:
    async def test() -> None:
        async with sides(make) as (a, b):
            here, there = await a.dial(b)
            sent = 0
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1):
                    while True:
                        await here.send(sent.to_bytes(4, "big") + bytes(60_000))
                        sent += 1
            assert 0 < sent < 2000
            late = asyncio.create_task(here.send(b"last"))
            got = []
            while (frame := await there.receive()) != b"last":
                got.append(int.from_bytes(frame[:4], "big"))
            await late
            assert got[:sent] == list(range(sent)) and len(got) <= sent + 1

    run(test)


def test_a_close_is_seen_by_the_other_side_after_what_was_sent(make: Make) -> None:
    async def test() -> None:
        async with sides(make) as (a, b):
            for near in (0, 1):
                ends = await a.dial(b)
                closer, other = ends[near], ends[1 - near]
                for n in range(100):
                    await closer.send(b"%d" % n)
                await closer.close()
                await closer.close()
                assert await read(other, 100) == [b"%d" % n for n in range(100)]
                assert await fault(other.receive()) == "disconnected"
                assert await fault(closer.receive()) == "disconnected"
                assert await fault(closer.send(b"x")) == "disconnected"
                await other.close()
                assert await fault(other.send(b"x")) == "disconnected"

    run(test)


def test_a_connection_ends_when_the_one_who_accepted_it_returns(make: Make) -> None:
    async def test() -> None:
        async with sides(make) as (a, b):
            here, _ = await a.dial(b)
            b.released.set()
            assert await fault(here.receive()) == "disconnected"

    run(test)


def test_a_waiting_receive_ends_when_its_own_side_closes(make: Make) -> None:
    async def test() -> None:
        async with sides(make) as (a, b):
            here, _ = await a.dial(b)
            waiting = asyncio.create_task(here.receive())
            await asyncio.sleep(0)
            await here.close()
            assert await fault(waiting) == "disconnected"

    run(test)


def test_what_cannot_be_dialled_is_unreachable(make: Make) -> None:
    async def test() -> None:
        async with sides(make, 3) as (a, b, c):
            dial = a.transport.dial
            stranger = peer_of(seed(99))
            gone = c.transport.addresses
            await c.transport.stop()
            for addresses, peer in (
                ((), b.transport.peer),
                (("nonsense", "/ip4/127.0.0.1/udp/1"), b.transport.peer),
                (b.transport.addresses, stranger),
                (gone, c.transport.peer),
                (b.transport.addresses, PeerId("not an id")),
                (a.transport.addresses, a.transport.peer),
            ):
                assert await fault(dial(addresses, peer)) == "unreachable"
            assert b.accepted.empty()
            here, there = await a.dial(b)
            await here.send(b"still works")
            assert await there.receive() == b"still works"

    run(test)


def test_one_good_address_among_bad_ones_is_enough(make: Make) -> None:
    async def test() -> None:
        async with sides(make) as (a, b):
            peer = b.transport.peer
            bad = (f"/ip4/127.0.0.1/tcp/1/p2p/{peer}", "nonsense")
            connection = await a.transport.dial((*bad, *b.transport.addresses), peer)
            assert connection.remote == peer

    run(test)


def test_a_probe_finds_where_a_peer_proves_itself_and_leaves_no_connection(make: Make) -> None:
    async def test() -> None:
        async with sides(make) as (a, b):
            nowhere = b.transport.addresses[0].replace("/tcp/", "/tcp/1").replace("y/", "y/9")
            there = b.transport.addresses[0]
            peer = b.transport.peer
            assert await a.transport.probe([nowhere, "rubbish", there], peer) == there
            assert await a.transport.probe([nowhere], peer) == ""
            assert await a.transport.probe([there], peer_of(seed(77))) == ""
            assert await a.transport.probe([], peer) == ""
            assert b.accepted.empty()

    run(test)


def test_stopping_closes_every_connection_and_may_be_repeated(make: Make) -> None:
    async def test() -> None:
        async with sides(make) as (a, b):
            here, _ = await a.dial(b)
            _, back = await b.dial(a)
            await b.transport.stop()
            await b.transport.stop()
            assert await fault(here.receive()) == "disconnected"
            assert await fault(back.receive()) == "disconnected"
            assert await fault(b.transport.dial(a.transport.addresses, a.transport.peer)) == (
                "unreachable"
            )

    run(test)


def test_a_transport_that_never_started_can_be_stopped_and_dials_nobody(make: Make) -> None:
    async def test() -> None:
        async with sides(make, 1) as (a,):
            idle = make(seed(50))
            assert await fault(idle.dial(a.transport.addresses, a.transport.peer)) == "unreachable"
            await idle.stop()

    run(test)


def test_many_connections_at_once_stay_apart(make: Make) -> None:
    async def test() -> None:
        async with sides(make, 5) as everyone:

            async def exchange(a: Side, b: Side) -> None:
                here = await a.transport.dial(b.transport.addresses, b.transport.peer)
                await here.send(a.transport.peer.encode())
                assert await here.receive() == b.transport.peer.encode()
                await here.close()

            async def answer(side: Side, count: int) -> None:
                for _ in range(count):
                    there = await side.accepted.get()
                    assert await there.receive() == there.remote.encode()
                    await there.send(side.transport.peer.encode())

            pairs = list(itertools.permutations(everyone, 2))
            await asyncio.gather(
                *(exchange(a, b) for a, b in pairs), *(answer(side, 4) for side in everyone)
            )

    run(test)


def test_a_cancelled_dial_leaves_both_sides_usable(make: Make) -> None:
    async def test() -> None:
        async with sides(make) as (a, b):
            for pause in (0.0, 0.002, 0.01):
                dial = asyncio.create_task(
                    a.transport.dial(b.transport.addresses, b.transport.peer)
                )
                await asyncio.sleep(pause)
                if not dial.cancel():
                    await dial.result().close()
                await asyncio.gather(dial, return_exceptions=True)
            here = await a.transport.dial(b.transport.addresses, b.transport.peer)
            await here.send(b"after")
            found = None
            while found is None:
                candidate = await b.accepted.get()
                try:
                    found = await candidate.receive()
                except RemoteFault:
                    continue
            assert found == b"after"

    run(test)


def test_frames_that_arrive_within_a_rounding_of_each_other_keep_nobody_awake(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sleeps, rounds, connections = 0, 20, 40
    sleep = asyncio.sleep

    async def counted(seconds: float) -> None:
        nonlocal sleeps
        sleeps += 1
        assert sleeps < 3 * rounds * connections, "readers spin"
        await sleep(seconds)

    async def test() -> None:
        net = MemoryNetwork(0.02, bandwidth=1e11)
        async with sides(net.transport) as (a, b):
            ends = [await a.dial(b) for _ in range(connections)]
            monkeypatch.setattr(asyncio, "sleep", counted)
            for _ in range(rounds):
                for size, (here, _) in enumerate(ends, 1):
                    await here.send(bytes(size))
                await asyncio.gather(*(there.receive() for _, there in ends))

    run_virtual(test())
