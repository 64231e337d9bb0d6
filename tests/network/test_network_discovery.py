"""Peers on the in-memory network find each other, stay complete and forget the dead."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from ricochet_network.directory import MAX_PEERS, Directory, batches
from ricochet_network.memory_transport import MemoryNetwork
from ricochet_network.peers import PeerNetwork
from ricochet_network.virtual_time import run_virtual
from ricochet_protocol import mux
from ricochet_protocol.advert import Advert, ModelOffer, SignedAdvert, sign_advert
from ricochet_protocol.errors import ConfigurationError, RemoteFault
from ricochet_protocol.ids import Address, ModelId, NetworkId, PeerId
from ricochet_protocol.messages import Adverts, Announce, GetAdverts, Reply, encode
from ricochet_protocol.money import PricePerMillion
from ricochet_protocol.signing import peer_of

NETWORK = NetworkId("test:1")
UNIX = 1_800_000_000.0


def seed(n: int) -> bytes:
    return n.to_bytes(32, "big")


def unix() -> float:
    """Time of day that moves with the virtual clock."""
    return UNIX + asyncio.get_running_loop().time()


def advert(
    n: int,
    *,
    seq: int = 1,
    ttl: int = 600,
    addresses: tuple[str, ...] | None = None,
    network: NetworkId = NETWORK,
    issued_at: int = int(UNIX),
) -> Advert:
    peer = peer_of(seed(n))
    offer = ModelOffer(
        ModelId("smollm2"), 2048, PricePerMillion(100_000), PricePerMillion(200_000), 2
    )
    return Advert(
        peer=peer,
        addresses=addresses or (f"/memory/{n}/p2p/{peer}",),
        operator=Address("0x" + f"{n:040x}"),
        network=network,
        models=(offer,),
        region="test",
        version="1",
        seq=seq,
        issued_at=issued_at,
        ttl=ttl,
    )


def peers_of(network: PeerNetwork) -> set[PeerId]:
    return {signed.advert.peer for signed in network.directory()}


class World:
    """Peers on one in-memory network; peer `n` has place `n`, and 1 is everybody's bootstrap."""

    def __init__(self, stack: AsyncExitStack, latency: float = 0.001) -> None:
        self.net = MemoryNetwork(latency)
        self._stack = stack
        self._next = 1

    async def join(self, *, advertise: bool = True, ttl: int = 600) -> PeerNetwork:
        n, self._next = self._next, self._next + 1
        first = f"/memory/1/p2p/{peer_of(seed(1))}"
        peers = PeerNetwork(self.net.transport(seed(n)), seed(n), NETWORK, [first], clock=unix)
        self._stack.push_async_callback(peers.stop)
        await peers.start()
        if advertise:
            await peers.publish(advert(n, ttl=ttl, addresses=peers.addresses))
        return peers


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        yield World(stack)


def test_three_nodes_find_and_connect_to_each_other_from_one_bootstrap_address() -> None:
    async def test() -> None:
        async with world() as w:
            nodes = [await w.join() for _ in range(3)]
            await asyncio.sleep(1)
            everyone = {node.peer for node in nodes}
            assert all(peers_of(node) == everyone for node in nodes)
            await asyncio.sleep(5)
            for a, b in ((0, 1), (0, 2), (1, 2)):
                assert w.net.connections(nodes[a].peer, nodes[b].peer) == 1

    run_virtual(test())


def test_a_late_joiner_is_complete_when_start_returns() -> None:
    async def test() -> None:
        async with world() as w:
            nodes = [await w.join() for _ in range(3)]
            await asyncio.sleep(60)
            client = await w.join(advertise=False)
            assert peers_of(client) == {node.peer for node in nodes}
            await asyncio.sleep(1)
            assert all(client.peer not in peers_of(node) for node in nodes)

    run_virtual(test())


def test_a_dead_node_leaves_every_directory_and_may_return() -> None:
    async def test() -> None:
        async with world() as w:
            nodes = [await w.join() for _ in range(3)]
            await asyncio.sleep(60)
            w.net.kill(nodes[2].peer)
            await asyncio.sleep(10)
            alive = {nodes[0].peer, nodes[1].peer}
            assert peers_of(nodes[0]) == peers_of(nodes[1]) == alive
            await asyncio.sleep(120)
            assert peers_of(nodes[0]) == alive, "a snapshot brought the dead back"
            await nodes[2].stop()
            w._next = 3
            again = PeerNetwork(
                w.net.transport(seed(3)), seed(3), NETWORK, nodes[0].addresses, clock=unix
            )
            w._stack.push_async_callback(again.stop)
            await again.start()
            await again.publish(advert(3, seq=2, addresses=again.addresses))
            await asyncio.sleep(1)
            assert again.peer in peers_of(nodes[0]) and again.peer in peers_of(nodes[1])

    run_virtual(test())


def test_a_hanging_node_leaves_the_directory_and_comes_back_with_the_same_advert() -> None:
    async def test() -> None:
        async with world() as w:
            nodes = [await w.join() for _ in range(3)]
            await asyncio.sleep(60)
            w.net.stall(nodes[1].peer)
            await asyncio.sleep(8 + 10)
            assert nodes[1].peer not in peers_of(nodes[0]) | peers_of(nodes[2])
            w.net.resume(nodes[1].peer)
            await asyncio.sleep(180)
            assert nodes[1].peer in peers_of(nodes[0]) & peers_of(nodes[2])

    run_virtual(test())


def test_an_unreachable_bootstrap_peer_neither_prevents_start_nor_is_given_up() -> None:
    async def test() -> None:
        async with AsyncExitStack() as stack:
            w = World(stack)
            w._next = 2
            w.net.transport(seed(99))  # takes place 1 and never starts
            lonely = await w.join()
            await asyncio.sleep(300)
            assert peers_of(lonely) == {lonely.peer}
            transport = w.net.transport(seed(1), "/memory/1")
            bootstrap = PeerNetwork(transport, seed(1), NETWORK, clock=unix)
            stack.push_async_callback(bootstrap.stop)
            await bootstrap.start()
            await asyncio.sleep(31)
            assert lonely.peer in peers_of(bootstrap)

    run_virtual(test())


def test_adverts_die_by_our_clock_unless_renewed() -> None:
    async def test() -> None:
        async with world() as w:
            a, b = await w.join(ttl=60), await w.join(ttl=60)
            await asyncio.sleep(50)
            await a.publish(advert(1, seq=2, ttl=60, addresses=a.addresses))
            await asyncio.sleep(20)
            assert peers_of(a) == peers_of(b) == {a.peer}

    run_virtual(test())


def test_publish_refuses_what_is_not_ours_or_not_newer() -> None:
    async def test() -> None:
        async with world() as w:
            node = await w.join()
            for wrong in (
                advert(2, seq=9),
                advert(1, seq=9, network=NetworkId("other:1")),
                advert(1, seq=1),
            ):
                with pytest.raises(ValueError):
                    await node.publish(wrong)

    run_virtual(test())


def big(n: int, wide: int = 0) -> Advert:
    offers = tuple(
        ModelOffer(
            ModelId(f"{i:02d}" + "漢" * wide + "x" * (126 - wide)),
            1,
            PricePerMillion(1),
            PricePerMillion(1),
            1,
        )
        for i in range(64)
    )
    peer = peer_of(seed(n))
    return Advert(
        peer=peer,
        addresses=tuple(f"/memory/{n}/{'x' * 180}/p2p/{peer}" for _ in range(8)),
        operator=Address("0x" + "1" * 40),
        network=NETWORK,
        models=offers,
        region="",
        version="",
        seq=1,
        issued_at=int(UNIX),
        ttl=600,
    )


REFUSED = {
    "forged": SignedAdvert(advert(9), sign_advert(seed(8), advert(9)).signature),
    "stale": sign_advert(seed(9), advert(9, issued_at=int(UNIX) - 16 * 60)),
    "from the future": sign_advert(seed(9), advert(9, issued_at=int(UNIX) + 16 * 60)),
    "foreign network": sign_advert(seed(9), advert(9, network=NetworkId("other:1"))),
    "oversized": sign_advert(seed(9), big(9, wide=126)),
    "not signed": SignedAdvert(advert(9), b""),
}


@pytest.mark.parametrize("signed", REFUSED.values(), ids=REFUSED.keys())
def test_an_advert_that_cannot_be_believed_is_neither_kept_nor_passed_on(
    signed: SignedAdvert,
) -> None:
    async def test() -> None:
        async with world() as w:
            nodes = [await w.join() for _ in range(2)]
            liar = PeerNetwork(
                w.net.transport(seed(7)), seed(7), NETWORK, nodes[0].addresses, clock=unix
            )
            w._stack.push_async_callback(liar.stop)
            await liar.start()
            good = sign_advert(seed(6), advert(6))
            async with liar.call(nodes[0].peer, Announce((signed, good))) as replies:
                assert [reply async for reply in replies] == []
            expected = {nodes[0].peer, nodes[1].peer, good.advert.peer}
            assert peers_of(nodes[0]) == expected
            await asyncio.sleep(0.1)
            assert signed.advert.peer not in peers_of(nodes[1])

    run_virtual(test())


def test_a_peer_cannot_speak_for_us() -> None:
    async def test() -> None:
        async with world() as w:
            a, b = [await w.join() for _ in range(2)]
            own = a.directory()[0]
            async with b.call(a.peer, Announce((sign_advert(seed(1), advert(1, seq=99)),))) as r:
                assert [reply async for reply in r] == []
            assert a.directory()[0] == own

    run_virtual(test())


def test_a_directory_is_bounded_and_keeps_what_it_knows() -> None:
    directory = Directory(peer_of(seed(1)), NETWORK)
    source = peer_of(seed(2))
    for n in range(10, 10 + MAX_PEERS):
        assert directory.offer_untrusted(sign_advert(seed(n), advert(n)), source, 0.0, UNIX)
    with pytest.raises(RemoteFault):
        directory.offer_untrusted(sign_advert(seed(5), advert(5)), source, 0.0, UNIX)
    assert directory.offer_untrusted(sign_advert(seed(10), advert(10, seq=2)), source, 0.0, UNIX)
    assert len(directory.live(0.0)) == MAX_PEERS
    later = 3600.0
    fresh = sign_advert(seed(5), advert(5, issued_at=int(UNIX + later)))
    assert directory.offer_untrusted(fresh, source, later, UNIX + later)
    assert directory.live(later) == (fresh,)


def test_a_ttl_runs_from_the_first_sight_of_a_seq() -> None:
    directory = Directory(peer_of(seed(1)), NETWORK)
    signed = sign_advert(seed(2), advert(2, ttl=60))
    other = peer_of(seed(3))
    assert directory.offer_untrusted(signed, other, 0.0, UNIX)
    assert not directory.offer_untrusted(signed, other, 59.0, UNIX)
    assert directory.live(59.0) == (signed,)
    assert not directory.offer_untrusted(signed, other, 61.0, UNIX)
    assert directory.live(61.0) == ()


def test_a_removed_peer_returns_by_its_own_word_or_after_a_minute() -> None:
    directory = Directory(peer_of(seed(1)), NETWORK)
    signed = sign_advert(seed(2), advert(2))
    other = peer_of(seed(3))
    directory.offer_untrusted(signed, other, 0.0, UNIX)
    peer = signed.advert.peer
    directory.remove(peer, 0.0)
    assert not directory.offer_untrusted(signed, other, 59.0, UNIX)
    assert directory.get(peer, 59.0) is None
    assert directory.offer_untrusted(signed, peer, 59.0, UNIX)
    assert directory.get(peer, 59.0) == signed
    directory.remove(peer, 59.0)
    assert directory.offer_untrusted(signed, other, 119.0, UNIX)
    assert directory.get(peer, 119.0) == signed
    directory.remove(peer, 120.0)
    forged = SignedAdvert(signed.advert, bytes(64))
    with pytest.raises(RemoteFault):
        directory.offer_untrusted(forged, peer, 130.0, UNIX)
    assert directory.get(peer, 130.0) is None


def test_an_older_seq_changes_nothing() -> None:
    directory = Directory(peer_of(seed(1)), NETWORK)
    newer = sign_advert(seed(2), advert(2, seq=5))
    directory.offer_untrusted(newer, newer.advert.peer, 0.0, UNIX)
    older = sign_advert(seed(2), advert(2, seq=4))
    assert not directory.offer_untrusted(older, older.advert.peer, 0.0, UNIX)
    assert directory.live(0.0) == (newer,)


def test_a_directory_of_the_largest_adverts_fits_its_messages() -> None:
    largest = sign_advert(seed(2), big(2))
    for batch in batches([largest] * 600):
        assert len(encode(Adverts(batch))) <= mux.MAX_MESSAGE
    assert sum(len(batch) for batch in batches([largest] * 600)) == 600


@pytest.mark.parametrize(
    "address", ["", "/ip4/127.0.0.1/tcp/1", "/ip4/127.0.0.1/tcp/1/p2p/abc", "/p2p/0OIl"]
)
def test_a_bad_bootstrap_address_is_a_configuration_error(address: str) -> None:
    async def test() -> None:
        with pytest.raises(ConfigurationError) as caught:
            PeerNetwork(MemoryNetwork().transport(seed(1)), seed(1), NETWORK, [address])
        assert caught.value.code == "bad_bootstrap" and caught.value.hint

    run_virtual(test())


def test_what_gossip_loses_is_repaired_within_a_minute() -> None:
    async def test() -> None:
        async with world() as w:
            nodes = [await w.join() for _ in range(3)]
            await asyncio.sleep(30)
            w.net.partition(nodes[0].peer, nodes[2].peer)
            w.net.partition(nodes[1].peer, nodes[2].peer)
            await nodes[2].publish(advert(3, seq=2, addresses=nodes[2].addresses))
            await asyncio.sleep(30)
            assert all(node.peer not in peers_of(nodes[0]) for node in nodes[2:])
            w.net.heal(nodes[0].peer, nodes[2].peer)
            w.net.heal(nodes[1].peer, nodes[2].peer)
            await asyncio.sleep(90)
            everyone = {node.peer for node in nodes}
            assert all(peers_of(node) == everyone for node in nodes)

    run_virtual(test())


def test_the_same_seed_of_randomness_gives_the_same_network() -> None:
    async def once() -> list[float]:
        loop = asyncio.get_running_loop()
        async with AsyncExitStack() as stack:
            net = MemoryNetwork(latency=0.01)
            rng = random.Random(1)
            times = []
            for n in (1, 2, 3):
                first = f"/memory/1/p2p/{peer_of(seed(1))}"
                peers = PeerNetwork(
                    net.transport(seed(n)), seed(n), NETWORK, [first], clock=unix, rng=rng
                )
                stack.push_async_callback(peers.stop)
                await peers.start()
                await peers.publish(advert(n, addresses=peers.addresses))
                times.append(loop.time())
            await asyncio.sleep(100)
            return [*times, float(len(peers.directory()))]

    assert run_virtual(once()) == run_virtual(once())


def test_a_snapshot_is_served_to_anyone() -> None:
    async def test() -> None:
        async with world() as w:
            node = await w.join()
            client = await w.join(advertise=False)
            got: list[Reply] = []
            async with client.call(node.peer, GetAdverts()) as replies:
                got = [reply async for reply in replies]
            assert got == [Adverts(node.directory())]

    run_virtual(test())
