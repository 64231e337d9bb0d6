"""Whether others can dial a peer: it asks them, and they dial nobody else."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from ricochet_network.memory_transport import MemoryNetwork
from ricochet_network.peers import PeerNetwork
from ricochet_network.virtual_time import run_virtual
from ricochet_protocol.advert import Advert
from ricochet_protocol.errors import RemoteFault
from ricochet_protocol.ids import Address, NetworkId
from ricochet_protocol.messages import DialBack, DialledBack
from ricochet_protocol.signing import peer_of

NETWORK = NetworkId("test:1")
UNIX = 1_800_000_000.0


def seed(n: int) -> bytes:
    return n.to_bytes(32, "big")


def place(n: int) -> str:
    return f"/ip4/8.{n}.0.1/tcp/4001"


class World:
    """Peer `n` is at 8.`n`.0.1; peer 1 is the first."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self.net = MemoryNetwork(latency=0.01)
        self._stack = stack

    async def join(self, n: int, *, announce: Sequence[str] = ()) -> PeerNetwork:
        peers = PeerNetwork(
            self.net.transport(seed(n), place(n)),
            seed(n),
            NETWORK,
            [f"{place(1)}/p2p/{peer_of(seed(1))}"],
            clock=lambda: UNIX,
            announce=announce,
        )
        self._stack.push_async_callback(peers.stop)
        await peers.start()
        return peers

    async def advertise(self, n: int, peers: PeerNetwork) -> None:
        await peers.publish(
            Advert(
                peer=peers.peer,
                addresses=peers.addresses,
                operator=Address("0x" + f"{n:040x}"),
                network=NETWORK,
                models=(),
                region="",
                version="1",
                seq=1,
                issued_at=int(UNIX),
                ttl=600,
            )
        )


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        yield World(stack)


@pytest.mark.parametrize("others", [1, 3])
@pytest.mark.parametrize("hidden", [False, True])
def test_a_node_learns_whether_others_can_dial_it(others: int, hidden: bool) -> None:
    async def test() -> None:
        async with world() as w:
            for n in range(1, others + 1):
                await w.join(n)
            if hidden:
                w.net.hidden.add(place(9))
            node = await w.join(9)
            await asyncio.sleep(20)
            assert node.contact().reached is None, "who offers nothing does not ask"
            await w.advertise(9, node)
            await asyncio.sleep(70)
            contact = node.contact()
            assert contact.reached is not hidden
            assert contact.reached_at == ("" if hidden else node.addresses[0])
            assert contact.seen_at == "8.9.0.1"
            if hidden:
                w.net.hidden.clear()
                await asyncio.sleep(70)
                assert node.contact().reached is True, "the owner has opened the port"

    run_virtual(test())


def test_a_forwarded_port_is_found_at_the_host_that_others_see() -> None:
    async def test() -> None:
        async with world() as w:
            for n in (1, 2, 3):
                await w.join(n)
            node = await w.join(9, announce=["/ip4/192.168.0.5/tcp/4001"])
            await w.advertise(9, node)
            await asyncio.sleep(80)
            assert node.contact().reached_at == f"{place(9)}/p2p/{node.peer}"

    run_virtual(test())


def test_nobody_has_third_parties_dialled_and_dials_back_are_few() -> None:
    async def test() -> None:
        async with world() as w:
            first, asker = await w.join(1), await w.join(2)
            await w.join(3)
            dialled: list[Sequence[str]] = []
            probe = first._reacher._probe

            async def spy(addresses: Sequence[str], peer: object) -> str:
                dialled.append(addresses)
                return await probe(addresses, asker.peer)

            first._reacher._probe = spy
            victims = (
                f"{place(3)}/p2p/{asker.peer}",
                "/dns4/8.2.0.1/tcp/4001",
                f"/ip4/8.2.0.1/tcp/4001/p2p/{peer_of(seed(3))}",
                "/ip4/8.2.0.1/udp/4001",
                "/ip4/127.0.0.1/tcp/22",
            )

            async def ask(addresses: Sequence[str]) -> DialledBack:
                async with asker.call(first.peer, DialBack(tuple(addresses))) as replies:
                    reply = await anext(replies)
                    assert isinstance(reply, DialledBack)
                    return reply

            assert await ask(victims) == DialledBack("", "8.2.0.1")
            assert not dialled
            with pytest.raises(RemoteFault) as caught:
                await ask(asker.addresses)
            assert caught.value.code == "busy" and caught.value.wait
            await asyncio.sleep(61)
            own = asker.addresses[0]
            assert await ask([*victims, own]) == DialledBack(own, "8.2.0.1")
            assert dialled == [[own]]

    run_virtual(test())
