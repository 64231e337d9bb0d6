"""Many peers in one process on the virtual clock: the same seed gives the same history.

Peer `n` has seed and place `n`. Peers keep few links (`MESH`), because what a network of 200 costs
here are its connections, and because few links are the harder case: news takes more hops, and most
peers have no link to the one that dies. Each signature is verified once and not by every peer, and
nobody looks for cycles of garbage meanwhile: that changes nothing that can be seen, and halves the
time of 200 peers.
"""

import asyncio
import gc
import random
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cache
from unittest.mock import patch

from ricochet_network.memory_transport import MemoryNetwork
from ricochet_network.peers import PeerNetwork
from ricochet_protocol import advert
from ricochet_protocol.advert import Advert
from ricochet_protocol.ids import Address, NetworkId, PeerId
from ricochet_protocol.signing import peer_of, statement_is_from

NETWORK = NetworkId("simulation:1")
UNIX = 1_800_000_000.0
MESH = 3
TTL = 600


def seed_of(n: int) -> bytes:
    return n.to_bytes(32, "big")


@cache
def peer(n: int) -> PeerId:
    return peer_of(seed_of(n))


def place(n: int) -> str:
    return f"/memory/{n}/p2p/{peer(n)}"


def now() -> float:
    return asyncio.get_running_loop().time()


class Simulation:
    """`nodes` are those that run; whoever is taken out of it by `kill` is dead."""

    def __init__(self, stack: AsyncExitStack, seed: int, latency: float, mesh: int) -> None:
        self.rng = random.Random(seed)
        self.net = MemoryNetwork(latency, rng=random.Random(seed))
        self.nodes: dict[int, PeerNetwork] = {}
        self.events: list[tuple[float, str]] = []
        self._stack = stack
        self._mesh = mesh
        self._seqs: dict[int, int] = {}

    async def join(self, n: int, bootstrap: Sequence[int] = (), *, skew: float = 0.0) -> None:
        """Start peer `n`, whose clock is wrong by `skew` seconds, and let it advertise."""
        peers = PeerNetwork(
            self.net.transport(seed_of(n), f"/memory/{n}"),
            seed_of(n),
            NETWORK,
            [place(one) for one in bootstrap],
            clock=lambda: UNIX + now() + skew,
            rng=random.Random(self.rng.random()),
            mesh=self._mesh,
        )
        self._stack.push_async_callback(peers.stop)
        await peers.start()
        self.nodes[n] = peers
        self.events.append((now(), f"{n} joins"))
        await self.publish(n, skew=skew)

    async def join_all(self, numbers: Iterable[int], bootstrap: Sequence[int]) -> None:
        await asyncio.gather(*(self.join(n, bootstrap) for n in numbers))

    async def publish(self, n: int, *, skew: float = 0.0) -> None:
        self._seqs[n] = self._seqs.get(n, 0) + 1
        await self.nodes[n].publish(
            Advert(
                peer=peer(n),
                addresses=self.nodes[n].addresses,
                operator=Address("0x" + f"{n:040x}"),
                network=NETWORK,
                models=(),
                region="",
                version="1",
                seq=self._seqs[n],
                issued_at=int(UNIX + now() + skew),
                ttl=TTL,
            )
        )

    async def kill(self, n: int) -> None:
        """As `kill -9` does: its connections break."""
        self.net.kill(peer(n))
        await self._bury(n)

    async def freeze(self, n: int) -> None:
        """As a cut cable does: nobody is told, it is only silent."""
        self.net.stall(peer(n))
        del self.nodes[n]
        self.events.append((now(), f"{n} falls silent"))

    async def _bury(self, n: int) -> None:
        self.events.append((now(), f"{n} dies"))
        await self.nodes.pop(n).stop()

    def split(self, left: Collection[int], right: Collection[int]) -> None:
        for a in left:
            for b in right:
                self.net.partition(peer(a), peer(b))

    def heal(self, left: Collection[int], right: Collection[int]) -> None:
        for a in left:
            for b in right:
                self.net.heal(peer(a), peer(b))

    def view(self, n: int) -> set[PeerId]:
        return {signed.advert.peer for signed in self.nodes[n].directory()}

    def complete(self) -> bool:
        """Whether everybody knows exactly those who run."""
        alive = {peer(n) for n in self.nodes}
        return all(self.view(n) == alive for n in self.nodes)

    def knowing(self, n: int) -> int:
        """How many directories a peer is in."""
        return sum(peer(n) in self.view(one) for one in self.nodes if one != n)

    def holding(self, n: int, seq: int) -> int:
        """How many peers have that advert of a peer, or a newer one."""
        return sum(
            any(one.advert.peer == peer(n) and one.advert.seq >= seq for one in node.directory())
            for node in self.nodes.values()
        )

    async def until_complete(self, limit: float) -> float:
        """Seconds until everybody knows exactly those who run; AssertionError after `limit`."""
        start = now()
        while not self.complete():
            assert now() - start < limit, f"{limit} s were not enough"
            await asyncio.sleep(0.1)
        return now() - start


@asynccontextmanager
async def simulation(
    seed: int, *, latency: float = 0.02, mesh: int = MESH
) -> AsyncIterator[Simulation]:
    collecting = gc.isenabled()
    gc.disable()
    try:
        with patch.object(advert, "statement_is_from", cache(statement_is_from)):
            async with AsyncExitStack() as stack:
                yield Simulation(stack, seed, latency, mesh)
    finally:
        if collecting:
            gc.enable()
