"""Nodes that nobody can dial are reached over relays: a network on the virtual clock."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from ricochet_network.memory_transport import MemoryNetwork
from ricochet_network.peers import PeerNetwork
from ricochet_network.relay_book import RelayLimits
from ricochet_network.vigil import CHECK_RELAYED
from ricochet_network.virtual_time import run_virtual
from ricochet_protocol.advert import Advert
from ricochet_protocol.conversation import Turn
from ricochet_protocol.errors import RemoteFault
from ricochet_protocol.ids import Address, ModelId, NetworkId, PeerId, Period, RequestId
from ricochet_protocol.messages import Ask, Chunk, Reply, Request
from ricochet_protocol.multiaddr import is_circuit
from ricochet_protocol.signing import peer_of

NETWORK = NetworkId("test:1")
UNIX = 1_800_000_000.0
SETTLED = 20.0
"""Seconds after which a node knows that nobody can dial it, and others know over whom they can."""
NODE = 9
CLIENT = 20


def seed(n: int) -> bytes:
    return n.to_bytes(32, "big")


def peer(n: int) -> PeerId:
    return peer_of(seed(n))


def place(n: int) -> str:
    return f"/ip4/8.{n}.0.1/tcp/4001"


async def echo(_: PeerId, request: Request) -> AsyncIterator[Reply]:
    """Every word of the prompt, a tenth of a second each."""
    assert isinstance(request, Ask)
    for word in request.turns[0].content.split():
        await asyncio.sleep(0.1)
        yield Chunk(word)


class World:
    """Peer `n` is at 8.`n`.0.1 and advertises; peer 1 is the first, `CLIENT` only calls."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self.net = MemoryNetwork(latency=0.01)
        self.peers: dict[int, PeerNetwork] = {}
        self._stack = stack
        self._advertising: dict[int, asyncio.Task[None]] = {}

    async def join(self, n: int, relay: RelayLimits | None = RelayLimits()) -> PeerNetwork:  # noqa: B008 - frozen
        transport = self.net.transport(seed(n), place(n), relay)
        peers = PeerNetwork(
            transport,
            seed(n),
            NETWORK,
            [f"{place(1)}/p2p/{peer(1)}"],
            None if n == CLIENT else echo,
            clock=lambda: UNIX + asyncio.get_running_loop().time(),
        )
        self._stack.push_async_callback(peers.stop)
        await peers.start()
        self.peers[n] = peers
        if n != CLIENT:
            task = asyncio.create_task(self._advertise(n))
            self._advertising[n] = task
            self._stack.callback(task.cancel)
        return peers

    async def _advertise(self, n: int) -> None:
        """As a node does: when its addresses change, and in time."""
        peers = self.peers[n]
        for seq in itertools.count(1):
            advertised = peers.addresses
            await peers.publish(
                Advert(
                    peer=peers.peer,
                    addresses=advertised,
                    operator=Address("0x" + f"{n:040x}"),
                    network=NETWORK,
                    models=(),
                    region="",
                    version="1",
                    seq=seq,
                    issued_at=int(UNIX + asyncio.get_running_loop().time()),
                    ttl=300,
                )
            )
            for _ in range(60):
                await asyncio.sleep(2)
                if peers.addresses != advertised:
                    break

    async def kill(self, n: int) -> None:
        self._advertising[n].cancel()
        self.net.kill(peer(n))
        await self.peers.pop(n).stop()

    async def say(self, text: str, caller: int = CLIENT, callee: int = NODE) -> str:
        """What a call brings."""
        turns = (Turn("user", text),)
        request = Ask(RequestId("0" * 32), Period(1), ModelId("m"), turns, 9, deadline=100)
        words = []
        async with self.peers[caller].call(peer(callee), request) as replies:
            async for reply in replies:
                assert isinstance(reply, Chunk)
                words.append(reply.text)
        return " ".join(words)

    def relays(self, n: int = NODE) -> set[int]:
        """The numbers of the peers over which a peer can be dialled."""
        held = self.peers[n].contact().relays
        return {one for one in self.peers if peer(one) in held}

    def way(self, caller: int = CLIENT, callee: int = NODE) -> str:
        """How a link runs: straight, over a relay, or not at all."""
        links = {one.peer: one for one in self.peers[caller].links()}
        if peer(callee) not in links:
            return "none"
        return "straight" if links[peer(callee)].relay is None else "over"


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        yield World(stack)


def run(test: Callable[[World], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with world() as w:
            w.net.hidden.add(place(NODE))
            await test(w)

    run_virtual(whole())


async def gathered(w: World, *relays: int, limits: RelayLimits | None = RelayLimits()) -> None:  # noqa: B008 - frozen
    """Relays, the node that nobody can dial, and a client that has no link to it."""
    for n in relays:
        await w.join(n, limits)
    await w.join(NODE)
    await asyncio.sleep(SETTLED)
    w.net.hidden.add(place(CLIENT))
    await w.join(CLIENT, None)
    await asyncio.sleep(1)


def test_a_node_that_cannot_be_dialled_is_called_over_a_relay() -> None:
    async def test(w: World) -> None:
        await gathered(w, 1, 2, 3)
        node = w.peers[NODE]
        assert node.contact().reached is False
        assert len(w.relays()) == 2
        assert all(is_circuit(one) for one in node.addresses)
        assert node.listens == (f"{place(NODE)}/p2p/{node.peer}",)
        assert w.way() == "none", "nobody keeps a relay busy with a link that he does not use"
        assert await w.say("from behind a router") == "from behind a router"
        assert w.way() == "over"
        assert w.net.connections(peer(CLIENT), peer(NODE)) == 0
        await asyncio.sleep(90)
        assert w.way() == "none", "a circuit without calls is given back"
        assert await w.say("again") == "again"

    run(test)


def test_a_reservation_is_renewed_as_long_as_it_is_needed() -> None:
    async def test(w: World) -> None:
        await gathered(w, 1, 2, limits=RelayLimits(period=90))
        for _ in range(4):
            assert len(w.relays()) == 2
            assert await w.say("still here") == "still here"
            await asyncio.sleep(60)

    run(test)


def test_the_death_of_a_relay_leads_to_another_one() -> None:
    async def test(w: World) -> None:
        await gathered(w, 1, 2, 3, 4)
        assert await w.say("before") == "before"
        first = w.relays()
        dead = max(first)
        await w.kill(dead)
        await asyncio.sleep(10)
        assert dead not in w.relays() and len(w.relays()) == 2
        assert await w.say("after") == "after"
        known = {one.advert.peer for one in w.peers[CLIENT].directory()}
        assert peer(NODE) in known and peer(dead) not in known

    run(test)


def test_a_relay_that_carries_all_it_may_is_no_reason_to_think_the_node_dead() -> None:
    async def test(w: World) -> None:
        await gathered(w, 1, 2, limits=RelayLimits(circuits=0))
        with pytest.raises(RemoteFault) as caught:
            await w.say("anything")
        assert caught.value.code == "busy" and caught.value.wait
        known = {one.advert.peer for one in w.peers[CLIENT].directory()}
        assert peer(NODE) in known

    run(test)


@pytest.mark.parametrize("limits", [None, RelayLimits(reservations=0)])
def test_without_a_willing_relay_a_node_says_where_it_listens(limits: RelayLimits | None) -> None:
    async def test(w: World) -> None:
        await gathered(w, 1, 2, limits=limits)
        node = w.peers[NODE]
        assert node.contact().reached is False and not node.contact().relays
        assert node.addresses == node.listens
        with pytest.raises(RemoteFault) as caught:
            await w.say("anything")
        assert caught.value.code == "unreachable"
        assert await w.say("over its own link", caller=1) == "over its own link"

    run(test)


def test_who_can_be_dialled_needs_no_relay() -> None:
    async def test(w: World) -> None:
        w.net.hidden.clear()
        await gathered(w, 1, 2)
        assert not w.relays()
        assert await w.say("hello") == "hello"
        assert w.way() == "straight"

    run(test)


def test_an_opened_port_is_named_first_while_the_reservations_last() -> None:
    async def test(w: World) -> None:
        await gathered(w, 1, 2, limits=RelayLimits(period=150))
        w.net.hidden.clear()
        await asyncio.sleep(70)
        node = w.peers[NODE]
        assert node.contact().reached is True and w.relays()
        assert node.addresses[0] == node.listens[0] and is_circuit(node.addresses[1])
        await asyncio.sleep(100)
        assert node.addresses == node.listens

    run(test)


def test_a_circuit_ends_at_its_limit_and_the_next_call_gets_another() -> None:
    async def test(w: World) -> None:
        await gathered(w, 1, 2, limits=RelayLimits(data=20_000))
        long = " ".join(["word"] * 2_000)
        with pytest.raises(RemoteFault) as caught:
            await w.say(long)
        assert caught.value.code == "disconnected"
        await asyncio.sleep(2)
        assert await w.say("short") == "short"

    run(test)


def test_who_is_called_gone_is_looked_for_over_its_relays_for_long_enough() -> None:
    """Three dials' worth: to the relay, to the peer, and their handshakes."""

    async def test(w: World) -> None:
        w.net.latency = 0.3
        await gathered(w, 1, 2)
        here = w.peers[CLIENT]
        for n in (1, 2):  # so that the relay has to be dialled as well
            await here._links.evict(peer(n))
        here._vigil.hear_untrusted([peer(NODE)])
        await asyncio.sleep(CHECK_RELAYED + 1)
        assert peer(NODE) in {one.advert.peer for one in here.directory()}
        assert w.way() == "over"
        await asyncio.sleep(90)
        await w.kill(NODE)
        await asyncio.sleep(15)
        assert peer(NODE) not in {one.advert.peer for one in here.directory()}

    run(test)


def test_a_straight_link_takes_the_place_of_one_over_a_relay() -> None:
    async def test(w: World) -> None:
        await gathered(w, 1, 2)
        assert await w.say("hello") == "hello"
        w.net.hidden.clear()
        slow = asyncio.create_task(w.say("one two three four five six seven eight nine ten"))
        await asyncio.sleep(0.5)
        here = w.peers[CLIENT]
        connection = await here._transport.dial([place(NODE)], peer(NODE))
        here._links._tasks.spawn(here._links._carry(here._links._adopt(connection), connection))
        await asyncio.sleep(0.1)
        assert w.way() == "straight"
        assert (await slow).endswith("ten"), "what is under way over the relay ends there"
        assert await w.say("and on") == "and on"
        await asyncio.sleep(5)
        assert not any(wire.relay for wire in w.net._wires)

    run(test)
