"""Whom a peer meets first: remembered peers, and a registry that is nine tenths spam."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import cache
from itertools import islice
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ricochet_network import peer_memory
from ricochet_network.conduct import Score, Standing
from ricochet_network.directory import MAX_PEERS, Directory
from ricochet_network.memory_transport import MemoryNetwork
from ricochet_network.peer_memory import FIRST, MAX_AGE, PeerMemory
from ricochet_network.peers import PeerNetwork
from ricochet_network.virtual_time import run_virtual
from ricochet_protocol.advert import Advert, SignedAdvert, sign_advert
from ricochet_protocol.errors import LocalFault, RemoteFault
from ricochet_protocol.ids import Address, NetworkId, PeerId
from ricochet_protocol.messages import Announce, GetAdverts
from ricochet_protocol.money import Units
from ricochet_protocol.ports import NodeRecord
from ricochet_protocol.signing import peer_of
from ricochet_settlement.first_peers import FIRST_PEERS, first_peers
from ricochet_settlement.index_view import RankedNode

NETWORK = NetworkId("test:1")
UNIX = 1_800_000_000.0
OPERATOR = Address("0x" + "0a" * 20)


def seed(n: int) -> bytes:
    return n.to_bytes(32, "big")


@cache
def peer(n: int) -> PeerId:
    return peer_of(seed(n))


def unix() -> float:
    return UNIX + asyncio.get_running_loop().time()


def advert(n: int, addresses: Sequence[str]) -> SignedAdvert:
    return sign_advert(
        seed(n),
        Advert(
            peer=peer_of(seed(n)),
            addresses=tuple(addresses),
            operator=OPERATOR,
            network=NETWORK,
            models=(),
            region="",
            version="1",
            seq=1,
            issued_at=int(UNIX),
            ttl=600,
        ),
    )


class Shelf:
    """A store in memory whose disk can be full."""

    def __init__(self) -> None:
        self.data = b""
        self.full = False
        self.banned: frozenset[PeerId] = frozenset()

    def read(self) -> bytes:
        return self.data

    def write(self, data: bytes) -> None:
        if self.full:
            raise LocalFault("file_unwritable", "No space left on device", "make room")
        self.data = data

    def barred(self) -> frozenset[PeerId]:
        return self.banned


class World:
    def __init__(self, stack: AsyncExitStack) -> None:
        self.net = MemoryNetwork(latency=0.001)
        self.stack = stack

    async def peer(
        self,
        n: int,
        bootstrap: Sequence[str] = (),
        *,
        address: str = "",
        store: Shelf | None = None,
        public: bool = False,
        members: Sequence[PeerId] = (),
        announce: Sequence[str] = (),
    ) -> PeerNetwork:
        peers = PeerNetwork(
            self.net.transport(seed(n), address),
            seed(n),
            NETWORK,
            bootstrap,
            clock=unix,
            store=store,
            public=public,
            members=members,
            announce=announce,
        )
        self.stack.push_async_callback(peers.stop)
        await peers.start()
        return peers


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        yield World(stack)


def known(peers: PeerNetwork) -> set[PeerId]:
    return {signed.advert.peer for signed in peers.directory()}


# Remembered.


def test_a_peer_finds_its_network_again_when_every_bootstrap_peer_is_dead() -> None:
    async def test() -> None:
        async with world() as w:
            shelf = Shelf()
            first, friend = await w.peer(1), await w.peer(2, ("/memory/1/p2p/" + peer(1),))
            await friend.publish(advert(2, friend.addresses).advert)
            returning = await w.peer(3, first.addresses, store=shelf)
            await asyncio.sleep(61)
            await returning.stop()
            await first.stop()
            again = await w.peer(3, first.addresses, store=shelf)
            assert known(again) == {friend.peer}

    run_virtual(test())


def test_bans_outlive_the_process() -> None:
    async def test() -> None:
        async with world() as w:
            shelf = Shelf()
            node = await w.peer(1, store=shelf)
            liar = await w.peer(2, node.addresses)
            forged = SignedAdvert(advert(9, ["/memory/9"]).advert, bytes(64))
            with pytest.raises(RemoteFault):
                for _ in range(3):
                    async with liar.call(node.peer, Announce((forged,))) as replies:
                        assert [reply async for reply in replies] == []
                    await asyncio.sleep(1)
            await node.stop()
            again = await w.peer(1, store=shelf)
            with pytest.raises(RemoteFault) as caught:
                async with again.call(liar.peer, GetAdverts()):
                    pass
            assert caught.value.code == "refused"

    run_virtual(test())


def test_a_ban_by_hand_closes_and_its_end_lets_in_again() -> None:
    async def test() -> None:
        async with world() as w:
            shelf = Shelf()
            node = await w.peer(1, store=shelf)
            other = await w.peer(2, node.addresses)
            await other.publish(advert(2, other.addresses).advert)
            await asyncio.sleep(1)
            assert known(node) == {other.peer}
            shelf.banned = frozenset({other.peer})
            await asyncio.sleep(1.5)
            assert known(node) == set() and not w.net.connections(node.peer, other.peer)
            await asyncio.sleep(3600)
            assert not w.net.connections(node.peer, other.peer)
            shelf.banned = frozenset()
            await asyncio.sleep(40)
            assert w.net.connections(node.peer, other.peer)

    run_virtual(test())


def test_a_full_disk_under_the_store_stops_nothing_and_keeps_what_was_there(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def test() -> None:
        async with world() as w:
            shelf = Shelf()
            first = await w.peer(1)
            node = await w.peer(2, first.addresses, store=shelf)
            await asyncio.sleep(61)
            before = shelf.data
            assert first.peer.encode() in before
            shelf.full = True
            await asyncio.sleep(300)
            async with node.call(first.peer, GetAdverts()) as replies:
                assert [reply async for reply in replies] == []
            assert shelf.data == before
            shelf.full = False
            await asyncio.sleep(60)
            assert shelf.data != before

    run_virtual(test())
    told = [record for record in caplog.records if "not remembered" in record.message]
    assert len(told) == 1 and "No space left" in told[0].message


def test_what_is_remembered_is_bounded_recent_and_spread_out() -> None:
    shelf = Shelf()
    memory = PeerMemory(shelf)
    memory.load()
    for n in range(1, 400):
        memory.met(peer(n), [f"/ip4/8.{n % 200}.{n // 200}.1/tcp/1/p2p/{peer(n)}"] * 9, UNIX + n)
    memory.save({peer(n): Score(n, UNIX) for n in range(1, 400)})
    assert len(shelf.data) < 300_000
    again = PeerMemory(shelf)
    scores = again.load()
    assert len(scores) == peer_memory.MAX_SCORES and peer(399) in scores
    first = again.first(Random(1), UNIX + 400, public=True)
    assert len(first) == FIRST
    assert set(list(first)[: FIRST // 2]) == {peer(n) for n in range(396, 400)}
    assert again.first(Random(1), UNIX + 400, public=True) == first
    assert again.first(Random(1), UNIX + 401 + MAX_AGE, public=True) == {}


def test_remembered_peers_of_one_subnet_or_a_home_network_are_dialled_at_most_once() -> None:
    memory = PeerMemory(Shelf())
    for n in range(1, 50):
        memory.met(peer(n), [f"/ip4/8.8.{n}.1/tcp/1/p2p/{peer(n)}"], UNIX)
    for n in range(50, 60):
        memory.met(peer(n), [f"/ip4/10.{n}.0.1/tcp/1/p2p/{peer(n)}"], UNIX)
    assert len(memory.first(Random(1), UNIX, public=True)) == 1
    assert len(memory.first(Random(1), UNIX, public=False)) == FIRST


@given(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)))
def test_a_damaged_memory_is_an_empty_one(data: bytes) -> None:
    shelf = Shelf()
    shelf.data = data
    assert PeerMemory(shelf).load() == {}


@pytest.mark.parametrize(
    "data",
    [
        b'{"peers":[{"peer":"nobody","addresses":["/ip4/8.8.8.8/tcp/1"],"seen":1}]}',
        b'{"scores":[{"peer":"%s","score":1e9,"at":0,"banned":true}]}' % peer(1).encode(),
        b'{"peers":[{"peer":"%s","addresses":["\\u001b[2J"],"seen":1}]}' % peer(1).encode(),
        b'{"peers":[],"surprise":1}',
    ],
)
def test_a_memory_with_a_wrong_value_is_an_empty_one(data: bytes) -> None:
    shelf = Shelf()
    shelf.data = data
    memory = PeerMemory(shelf)
    assert memory.load() == {} and memory.first(Random(1), 1.0, public=False) == {}


def test_a_ban_is_restored_as_one() -> None:
    shelf = Shelf()
    PeerMemory(shelf).save({peer(1): Score(200.0, UNIX, Standing.BANNED)})
    assert PeerMemory(shelf).load() == {peer(1): Score(200.0, UNIX, Standing.BANNED)}


# Addresses and members.


def test_on_a_public_network_only_global_addresses_are_dialled() -> None:
    async def test() -> None:
        async with world() as w:
            node = await w.peer(1, address="/ip4/8.8.8.8/tcp/1", public=True)
            near = await w.peer(2, node.addresses, address="/ip4/192.168.1.5/tcp/1", public=True)
            far = await w.peer(3, node.addresses, address="/ip4/9.9.9.9/tcp/1", public=True)
            for n, one in ((2, near), (3, far)):
                await one.publish(advert(n, one.addresses).advert)
            await asyncio.sleep(10)
            late = await w.peer(4, node.addresses, address="/ip4/7.7.7.7/tcp/1", public=True)
            await asyncio.sleep(10)
            assert known(late) == {near.peer, far.peer}
            assert w.net.connections(late.peer, far.peer) == 1
            assert w.net.connections(late.peer, near.peer) == 0

    run_virtual(test())


def test_a_private_network_lets_in_only_its_members() -> None:
    async def test() -> None:
        async with world() as w:
            members = [peer(1), peer(2)]
            node = await w.peer(1, members=members)
            member = await w.peer(2, node.addresses, members=members)
            stranger = await w.peer(3, node.addresses)
            async with member.call(node.peer, GetAdverts()) as replies:
                assert [reply async for reply in replies] == []
            with pytest.raises(RemoteFault):
                async with stranger.call(node.peer, GetAdverts()):
                    pass
            with pytest.raises(RemoteFault) as caught:
                async with node.call(stranger.peer, GetAdverts()):
                    pass
            assert caught.value.code == "refused" and "members" in caught.value.hint
            said = Announce((advert(3, ["/memory/3"]),))
            async with member.call(node.peer, said) as replies:
                assert [reply async for reply in replies] == []
            assert known(node) == set()

    run_virtual(test())


def test_announced_addresses_go_out_in_place_of_those_listened_on() -> None:
    async def test() -> None:
        async with world() as w:
            node = await w.peer(1, announce=("/ip4/203.0.113.5/tcp/4001",))
            assert node.addresses == (f"/ip4/203.0.113.5/tcp/4001/p2p/{node.peer}",)

    run_virtual(test())


# Spam.


def test_a_source_that_answers_first_cannot_fill_the_directory() -> None:
    directory = Directory(peer(1), NETWORK)
    greedy, honest = peer(2), peer(3)
    for n in range(10, 10 + MAX_PEERS):
        directory.offer_untrusted(advert(n, ["/memory/9"]), greedy, 0.0, UNIX)
    late = [advert(n, ["/memory/9"]) for n in range(5000, 5100)]
    assert all(directory.offer_untrusted(one, honest, 0.0, UNIX) for one in late)
    live = {one.advert.peer for one in directory.live(0.0)}
    assert len(live) == MAX_PEERS and {one.advert.peer for one in late} <= live
    turns = [one.advert.peer for one in islice(directory.by_source(0.0), 20)]
    assert sum(one in {signed.advert.peer for signed in late} for one in turns) == 10


def test_a_peer_that_greets_us_keeps_the_place_that_another_gave_it() -> None:
    directory = Directory(peer(1), NETWORK)
    first, greeting = peer(2), advert(MAX_PEERS, ["/memory/9"])
    for n in range(10, 10 + MAX_PEERS):
        directory.offer_untrusted(advert(n, ["/memory/9"]), first, 0.0, UNIX)
    assert not directory.offer_untrusted(greeting, greeting.advert.peer, 0.0, UNIX), "no news"
    for n in range(5000, 5100):
        directory.offer_untrusted(advert(n, ["/memory/9"]), peer(3), 0.0, UNIX)
    live = {one.advert.peer for one in directory.live(0.0)}
    assert peer(MAX_PEERS) in live and peer(MAX_PEERS - 1) not in live


HONEST, SPAM = range(1, 21), range(100, 280)


def registry(draw: Random, *, one_subnet: bool) -> list[RankedNode]:
    """20 nodes that have earned something, and 180 that cost nothing but their entries."""
    nodes = []
    for n in HONEST:
        earned = Units(draw.randrange(1_000_000, 50_000_000))
        record = NodeRecord(OPERATOR, peer(n), (f"/ip4/8.{n}.0.1/tcp/1",), OPERATOR)
        nodes.append(RankedNode(record, earned))
    for n in SPAM:
        place = f"/ip4/9.9.{n % 256}.1/tcp/1" if one_subnet else f"/ip4/9.{n % 250}.0.1/tcp/1"
        nodes.append(RankedNode(NodeRecord(OPERATOR, peer(n), (place,), OPERATOR), Units(0)))
    draw.shuffle(nodes)
    return nodes


@pytest.mark.parametrize("one_subnet", [True, False])
def test_nine_tenths_of_spam_leave_a_newcomer_with_honest_first_peers(one_subnet: bool) -> None:
    honest = {peer(n) for n in HONEST}
    for number in range(50):
        nodes = registry(Random(number), one_subnet=one_subnet)
        chosen = first_peers(nodes, Random(number), development=False)
        good = sum(one.rpartition("/")[2] in honest for one in chosen)
        assert len(chosen) == FIRST_PEERS or one_subnet
        assert good >= FIRST_PEERS // 2
        assert not one_subnet or len(chosen) - good <= 1


@pytest.mark.parametrize("number", [0, pytest.param(1, marks=pytest.mark.deep)])
def test_spam_does_not_own_a_newcomers_view(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every registry entry answers; spam answers first, with more fakes than a directory holds."""
    monkeypatch.setattr("ricochet_network.directory.MAX_PEERS", 60)
    nodes = registry(Random(number), one_subnet=False)
    chosen = first_peers(nodes, Random(number), development=False)
    fakes = [advert(n, [f"/ip4/9.{n % 250}.9.9/tcp/1"]) for n in range(1000, 1060)]

    async def test() -> None:
        async with world() as w:
            start = f"/ip4/8.1.0.1/tcp/1/p2p/{peer(1)}"
            for n in HONEST:
                one = await w.peer(n, [start], address=f"/ip4/8.{n}.0.1/tcp/1", public=True)
                await one.publish(advert(n, one.addresses).advert)
            for n in SPAM:
                address = next(a for a in (*chosen, "") if not a or a.endswith(peer(n)))
                if address:
                    one = await w.peer(n, address=address.partition("/p2p/")[0], public=True)
                    await one.publish(advert(n, one.addresses).advert)
                    for fake in fakes:
                        with suppress(RemoteFault):
                            one._directory.offer_untrusted(fake, one.peer, 0.0, unix())
            newcomer = await w.peer(999, chosen, address="/ip4/7.7.7.7/tcp/1", public=True)
            await asyncio.sleep(15)
            honest = {peer(n) for n in HONEST}
            assert honest <= known(newcomer)
            linked = {link.peer for link in newcomer._links.current()}
            assert len(linked & honest) >= len(linked) / 2 and len(linked & honest) >= 15

    run_virtual(test())
