"""What a peer can do to another is bounded, remembered and forgiven; in virtual time."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ricochet_network import conduct, door_guard, quota
from ricochet_network.conduct import Conduct, Event, Offence, Score, Standing
from ricochet_network.door_guard import DoorGuard
from ricochet_network.links import MAX_CONNECTIONS
from ricochet_network.memory_transport import MemoryNetwork
from ricochet_network.multiplexer import ARRIVAL, IDLE, Multiplexer
from ricochet_network.peers import PeerNetwork
from ricochet_network.quota import Bucket, MemoryBudget, Quotas, Rates
from ricochet_network.virtual_time import run_virtual
from ricochet_protocol.advert import Advert, SignedAdvert, sign_advert
from ricochet_protocol.errors import RemoteFault
from ricochet_protocol.ids import Address, NetworkId
from ricochet_protocol.messages import Announce, GetAdverts, Reply
from ricochet_protocol.mux import FRAGMENT, Data, Ping, encode
from ricochet_protocol.ports import Connection
from ricochet_protocol.signing import peer_of

NETWORK = NetworkId("test:1")
UNIX = 1_800_000_000.0
PEER = peer_of(bytes(32))


def seed(n: int) -> bytes:
    return n.to_bytes(32, "big")


def unix() -> float:
    return UNIX + asyncio.get_running_loop().time()


def advert(n: int, *, seq: int = 1, issued_at: float = UNIX) -> SignedAdvert:
    peer = peer_of(seed(n))
    return sign_advert(
        seed(n),
        Advert(
            peer=peer,
            addresses=(f"/memory/{n}/p2p/{peer}",),
            operator=Address("0x" + f"{n:040x}"),
            network=NETWORK,
            models=(),
            region="",
            version="1",
            seq=seq,
            issued_at=int(issued_at),
            ttl=600,
        ),
    )


def forged(n: int) -> SignedAdvert:
    return SignedAdvert(advert(n).advert, bytes(64))


class World:
    def __init__(self, stack: AsyncExitStack) -> None:
        self.net = MemoryNetwork(latency=0.001)
        self.stack = stack

    async def peer(
        self, n: int, bootstrap: Sequence[str] = (), rates: Rates = quota.RATES
    ) -> PeerNetwork:
        transport = self.net.transport(seed(n))
        peers = PeerNetwork(transport, seed(n), NETWORK, bootstrap, clock=unix, rates=rates)
        self.stack.push_async_callback(peers.stop)
        await peers.start()
        return peers

    async def raw(self, n: int, node: PeerNetwork) -> Callable[[], "asyncio.Future[Connection]"]:
        """Makes connections to the node for a peer that speaks as the test likes."""
        transport = self.net.transport(seed(n))

        async def ignore(_: Connection) -> None:
            await asyncio.Event().wait()

        await transport.start(ignore)
        self.stack.push_async_callback(transport.stop)
        return lambda: asyncio.ensure_future(transport.dial(node.addresses, node.peer))


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        yield World(stack)


async def said(client: PeerNetwork, node: PeerNetwork, *adverts: SignedAdvert) -> None:
    async with client.call(node.peer, Announce(adverts)) as replies:
        assert [reply async for reply in replies] == []


async def snapshot(client: PeerNetwork, node: PeerNetwork) -> list[Reply]:
    async with client.call(node.peer, GetAdverts()) as replies:
        return [reply async for reply in replies]


async def until_closed(connection: Connection) -> float:
    with suppress(RemoteFault):
        while True:
            await connection.receive()
    return asyncio.get_running_loop().time()


# The score.

TABLE = {
    (Standing.WELCOME, Event.OVER): Standing.BANNED,
    (Standing.WELCOME, Event.BAR): Standing.BARRED,
    (Standing.BANNED, Event.UNDER): Standing.WELCOME,
    (Standing.BANNED, Event.BAR): Standing.BARRED,
    (Standing.BANNED, Event.UNBAR): Standing.WELCOME,
    (Standing.BARRED, Event.UNBAR): Standing.WELCOME,
}


@pytest.mark.parametrize(("standing", "event"), list(product(Standing, Event)))
def test_the_table_of_standings(standing: Standing, event: Event) -> None:
    moved = Score(0.0, 0.0, standing).after(event)
    assert moved.standing is TABLE.get((standing, event), standing)


@given(
    st.lists(
        st.one_of(
            st.sampled_from(Offence),
            st.floats(0, 7200),
            st.just("bar"),
            st.just("unbar"),
        ),
        max_size=40,
    )
)
def test_a_score_is_what_time_and_offences_make_it(steps: list[Offence | float | str]) -> None:
    now, barred, banned, value = UNIX, False, False, 0.0
    book = Conduct(lambda: now)
    for step in steps:
        if isinstance(step, Offence):
            value = min(conduct.CAP, value + step.weight)
            newly = not banned and not barred and value >= conduct.BAN
            assert book.blame(PEER, step) is newly
            banned = banned or newly
        elif isinstance(step, float):
            now += step
            value *= 0.5 ** (step / conduct.HALF_LIFE)
            banned = banned and value > conduct.PARDON
        elif step == "bar":
            assert book.bar([PEER]) == (() if barred else (PEER,))
            barred, banned = True, False
        elif barred:
            assert book.bar([]) == ()
            barred, value = False, 0.0
        else:
            book.unbar(PEER)
            banned, value = False, 0.0
        assert book.score(PEER).value == pytest.approx(value, abs=1e-3)
        assert book.refused(PEER) is (barred or banned)


def test_the_longest_ban_ends_within_an_hour() -> None:
    now = UNIX
    book = Conduct(lambda: now)
    for _ in range(1000):
        book.blame(PEER, Offence.FORGED)
    now += 49 * 60
    assert book.refused(PEER)
    now += 60
    assert not book.refused(PEER)


def test_scores_outlive_a_process_and_bars_do_not() -> None:
    first, second = Conduct(lambda: UNIX), Conduct(lambda: UNIX + 60)
    others = [peer_of(seed(n)) for n in (1, 2)]
    for _ in range(3):
        first.blame(PEER, Offence.FORGED)
    first.blame(others[0], Offence.STALE)
    first.bar([others[1]])
    for peer, score in first.scores().items():
        second.restore(peer, score)
    assert second.refused(PEER) and not second.refused(others[1])
    assert 0 < second.score(others[0]).value < Offence.STALE.weight


def test_the_number_of_scores_is_bounded_and_the_worst_are_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(conduct, "MAX_SCORED", 3)
    book = Conduct(lambda: UNIX)
    peers = [peer_of(seed(n)) for n in range(1, 6)]
    book.bar([peers[0]])
    for _ in range(2):
        book.blame(peers[1], Offence.FORGED)
    book.blame(peers[2], Offence.STALE)
    book.blame(peers[3], Offence.FORGED)
    book.blame(peers[4], Offence.STALE)
    assert set(book.scores()) == {peers[0], peers[1], peers[3]}


# What earns it.


def test_a_forger_is_banned_closed_and_pardoned_and_disturbs_nobody() -> None:
    async def test() -> None:
        async with world() as w:
            node = await w.peer(1)
            liar, other = await w.peer(2, node.addresses), await w.peer(3, node.addresses)
            await liar.publish(advert(2).advert)
            await asyncio.sleep(1)
            assert [one.advert.peer for one in node.directory()] == [liar.peer]
            await said(liar, node, forged(8))
            with suppress(RemoteFault):
                await said(liar, node, forged(9))
            await asyncio.sleep(1)
            assert node.directory() == () and w.net.connections(liar.peer, node.peer) == 0
            with pytest.raises(RemoteFault):
                await snapshot(liar, node)
            with pytest.raises(RemoteFault) as caught:
                await snapshot(node, liar)
            assert caught.value.code == "refused" and "unban" in caught.value.hint
            assert await snapshot(other, node) == []
            await said(other, node, advert(2, seq=2))
            assert node.directory() == ()
            await asyncio.sleep(800)
            assert await snapshot(liar, node) == []

    run_virtual(test())


def test_an_honest_relay_of_what_is_out_of_date_is_not_banned() -> None:
    async def test() -> None:
        async with world() as w:
            node = await w.peer(1)
            relay = await w.peer(2, node.addresses)
            await said(relay, node, *(advert(n, seq=2) for n in range(10, 60)))
            await said(relay, node, *(advert(n, seq=1) for n in range(10, 60)))
            await said(relay, node, *(advert(n, issued_at=UNIX - 1000) for n in range(60, 110)))
            assert await snapshot(relay, node) != []

    run_virtual(test())


def test_who_replays_on_and_on_is_banned() -> None:
    async def test() -> None:
        async with world() as w:
            node = await w.peer(1)
            liar = await w.peer(2, node.addresses)
            await said(liar, node, advert(9, seq=2))
            with pytest.raises(RemoteFault):
                for _ in range(100):
                    await said(liar, node, advert(9, seq=1))

    run_virtual(test())


def test_who_breaks_the_protocol_twice_is_not_let_in_again() -> None:
    async def test() -> None:
        async with world() as w:
            node = await w.peer(1)
            dial = await w.raw(20, node)
            for _ in range(2):
                bad = await dial()
                await bad.send(b"garbage")
                await until_closed(bad)
            start = asyncio.get_running_loop().time()
            assert await until_closed(await dial()) - start < 0.1

    run_virtual(test())


# Quotas.


def test_requests_beyond_the_quota_are_refused_and_a_lasting_flood_is_banned() -> None:
    rates = Rates(requests=10, burst=3)

    async def test() -> None:
        async with world() as w:
            node = await w.peer(1, rates=rates)
            client = await w.peer(2, node.addresses)
            quiet = await w.peer(3, node.addresses)
            refusals = 0
            for _ in range(50):
                try:
                    await said(client, node)
                except RemoteFault as fault:
                    assert (fault.code, fault.wait) == ("busy", 1)
                    refusals += 1
            assert 30 <= refusals <= 41
            await asyncio.sleep(10)
            await said(client, node)
            with pytest.raises(RemoteFault) as caught:
                for _ in range(10_000):
                    with suppress(RemoteFault):
                        await said(client, node)
                    await asyncio.sleep(0.01)
                    if not w.net.connections(client.peer, node.peer):
                        await said(client, node)
            assert caught.value.code in {"disconnected", "unreachable"}
            await said(quiet, node)

    run_virtual(test())


def test_adverts_beyond_the_quota_are_refused() -> None:
    async def test() -> None:
        async with world() as w:
            node = await w.peer(1, rates=Rates(adverts=1, adverts_burst=10))
            client = await w.peer(2, node.addresses)
            await said(client, node, *(advert(n) for n in range(10, 20)))
            with pytest.raises(RemoteFault) as caught:
                await said(client, node, *(advert(n) for n in range(20, 25)))
            late = {peer_of(seed(n)) for n in range(20, 25)}
            assert caught.value.code == "busy"
            assert late.isdisjoint(one.advert.peer for one in node.directory())
            await asyncio.sleep(5)
            await said(client, node, *(advert(n) for n in range(20, 25)))
            assert late <= {one.advert.peer for one in node.directory()}

    run_virtual(test())


def test_bytes_beyond_the_quota_are_read_later_and_none_is_lost() -> None:
    rate, size = 100_000.0, 1_000_000

    async def echo(request: bytes) -> AsyncGenerator[bytes, None]:
        yield b"%d" % len(request)

    async def test() -> None:
        async with joined(echo, Rates(bytes=rate, burst=1.0)) as (near, _):
            start = asyncio.get_running_loop().time()
            async with near[0].call(bytes(size)) as replies:
                assert [reply async for reply in replies] == [b"%d" % size]
            took = asyncio.get_running_loop().time() - start
            assert 0.85 * size / rate <= took <= 1.1 * size / rate

    run_virtual(test())


def test_the_quotas_of_many_peers_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quota, "MAX_QUOTAS", 10)
    quotas = Quotas(Rates(requests=1, burst=1), lambda _: None)
    for n in range(50):
        quotas.request_untrusted(peer_of(seed(n)), 1, 0.0)
    assert len(quotas._quotas) == 10


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0.1, 20)), max_size=50))
def test_a_bucket_never_gives_more_than_rate_and_burst(takes: list[tuple[float, float]]) -> None:
    bucket, now, taken = Bucket(2.0, 10.0), 0.0, 0.0
    for wait, amount in takes:
        now += wait
        if bucket.take(amount, now):
            taken += amount
        assert taken <= 10.0 + 2.0 * now + 1e-6


def test_only_so_many_connections_of_one_peer_are_kept() -> None:
    async def test() -> None:
        async with world() as w:
            node = await w.peer(1)
            dial = await w.raw(20, node)
            held = [await dial() for _ in range(MAX_CONNECTIONS)]
            for connection in held:
                # An open call keeps a connection that another has replaced.
                await connection.send(encode(Data(1, b"x", more=True)))
            start = asyncio.get_running_loop().time()
            assert await until_closed(await dial()) - start < 0.1
            assert w.net.connections(peer_of(seed(20)), node.peer) == MAX_CONNECTIONS

    run_virtual(test())


# Time and memory.


@asynccontextmanager
async def joined(
    serve: Callable[[bytes], AsyncGenerator[bytes, None]],
    rates: Rates = quota.RATES,
    memory: MemoryBudget | None = None,
    count: int = 1,
) -> AsyncIterator[tuple[list[Multiplexer], list["asyncio.Task[RemoteFault]"]]]:
    """Callers of one acceptor, whose multiplexers share a budget; those in order of dialling."""
    net = MemoryNetwork(latency=0.001)
    target = net.transport(seed(1))
    served: list[asyncio.Task[RemoteFault]] = []

    async def accept(connection: Connection) -> None:
        task = asyncio.ensure_future(Multiplexer(connection, serve, 2.0, memory, rates).run())
        served.append(task)
        await task

    await target.start(accept)
    near, running = [], []
    for n in range(count):
        transport = net.transport(seed(2 + n))
        await transport.start(lambda _: asyncio.sleep(0))
        near.append(Multiplexer(await transport.dial(target.addresses, target.peer), serve))
        running.append(asyncio.create_task(near[-1].run()))
        await asyncio.sleep(0.01)
    try:
        yield near, served
    finally:
        for task in (*running, *served):
            task.cancel()
        await asyncio.gather(*running, *served, return_exceptions=True)
        await target.stop()


def test_when_memory_runs_out_the_largest_holder_is_closed_and_others_are_served() -> None:
    budget = MemoryBudget(1_000_000)

    async def serve(request: bytes) -> AsyncGenerator[bytes, None]:
        if len(request) > 1000:
            await asyncio.sleep(10)
        yield b"%d" % len(request)

    async def ask(near: Multiplexer, size: int) -> list[bytes]:
        async with near.call(bytes(size)) as replies:
            return [reply async for reply in replies]

    async def test() -> None:
        async with joined(serve, memory=budget, count=2) as (near, served):
            modest = asyncio.create_task(ask(near[1], 300_000))
            await asyncio.sleep(1)
            greedy = [asyncio.create_task(ask(near[0], 200_000)) for _ in range(6)]
            for fault in await asyncio.gather(*greedy, return_exceptions=True):
                assert isinstance(fault, RemoteFault) and fault.code == "disconnected"
            assert (await served[0]).code == "garbage"
            assert await modest == [b"300000"] and budget.total <= 300_000
            assert await ask(near[1], 900_000) == [b"900000"]
            await asyncio.sleep(1)
            assert budget.total == 0

    run_virtual(test())


def test_a_request_that_does_not_arrive_is_given_up() -> None:
    async def test() -> None:
        async with world() as w:
            node = await w.peer(1)
            slow = await (await w.raw(20, node))()
            await slow.send(encode(Data(1, bytes(FRAGMENT), more=True)))

            async def trickle() -> None:
                while True:
                    await slow.send(encode(Data(1, b"x", more=True)))
                    await asyncio.sleep(1)

            trickling = asyncio.create_task(trickle())
            assert ARRIVAL <= await until_closed(slow) <= ARRIVAL + 5
            trickling.cancel()
            await asyncio.gather(trickling, return_exceptions=True)

    run_virtual(test())


def test_a_connection_without_calls_is_closed() -> None:
    async def test() -> None:
        async with world() as w:
            node = await w.peer(1)
            idle = await (await w.raw(20, node))()
            closing = asyncio.create_task(until_closed(idle))
            # It answers nothing, so the greeting and the repairs of the node end unheard first.
            for n in range(int(IDLE * 2)):
                if closing.done():
                    break
                with suppress(RemoteFault):
                    await idle.send(encode(Ping(n)))
                await asyncio.sleep(1)
            assert await closing >= IDLE

    run_virtual(test())


# The door.


def test_the_door_is_bounded_by_address_and_in_all() -> None:
    guard = DoorGuard()
    visits = [guard.knock("192.0.2.1", 0.0) for _ in range(1000)]
    assert sum(visit is not None for visit in visits) == door_guard.HALF_OPEN_EACH
    assert guard.turned_away == 1000 - door_guard.HALF_OPEN_EACH
    assert guard.knock("192.0.2.2", 0.0) is not None
    others = [guard.knock(f"198.51.100.{n}", 0.0) for n in range(255)]
    assert sum(visit is not None for visit in others) == door_guard.HALF_OPEN - 33
    for visit in (*visits, *others):
        if visit is not None:
            visit.enter()
            visit.leave()
    assert (guard.half_open, guard.open) == (1, 1)


def test_an_address_begins_only_so_many_connections_a_second() -> None:
    guard, let_in = DoorGuard(), 0
    for n in range(10_000):
        if visit := guard.knock("192.0.2.1", n / 1000):
            let_in += 1
            visit.leave()
    assert let_in == pytest.approx(door_guard.BURST + 10 * door_guard.RATE, abs=1)


def test_an_address_keeps_only_so_many_connections_and_others_are_let_in() -> None:
    guard, kept = DoorGuard(), 0
    for n in range(1000):
        if visit := guard.knock("192.0.2.1", float(n)):
            visit.enter()
            kept += 1
    assert kept == door_guard.OPEN_EACH
    assert guard.knock("192.0.2.2", 1000.0) is not None


def test_addresses_of_one_network_are_one_source_and_sources_are_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(door_guard, "MAX_SOURCES", 3)
    guard = DoorGuard()
    for n in range(40):
        guard.knock(f"2001:db8:1:2::{n:x}", 0.0)
    assert guard.half_open == door_guard.HALF_OPEN_EACH
    assert guard.knock("2001:db8:1:3::1%eth0", 0.0) is not None
    assert guard.knock("::ffff:192.0.2.1", 0.0) is not None
    assert guard.knock("192.0.2.9", 0.0) is None
