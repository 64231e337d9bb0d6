"""How fast a network of real peers hears of a change and fills a newcomer's directory.

Half of the peers live here, half in a process of their own (this module, run as a program), all
with sockets, Noise and yamux, and with the product's own number of links. Who has heard is looked
at every few milliseconds; the other half tells when by the monotonic clock that both share.
"""

import asyncio
import statistics
import time
from contextlib import AsyncExitStack
from typing import Any, Final

from benchmarks.network.other import obey, other
from benchmarks.network.servers import NETWORK

from ricochet_network.libp2p_transport import Libp2pTransport
from ricochet_network.peers import PeerNetwork
from ricochet_protocol.advert import Advert
from ricochet_protocol.ids import Address

LOOK: Final = 0.005
"""Seconds between looks: peers tell nobody that their directory has changed."""
FIRST: Final = 3
"""Peers that a newcomer knows."""
SETTLE: Final = 3.0
"""Seconds between rounds, in which what one round has set off comes to its end."""


class Swarm:
    """The peers of one process, by number."""

    def __init__(self) -> None:
        self.peers: dict[int, PeerNetwork] = {}

    async def join(self, number: int, first: list[str]) -> str:
        """Start one; its address."""
        seed = (100 + number).to_bytes(32, "big")
        peers = self.peers[number] = PeerNetwork(Libp2pTransport(seed), seed, NETWORK, first)
        await peers.start()
        await self.publish(number)
        return peers.addresses[0]

    async def publish(self, number: int) -> tuple[str, int]:
        """Its advert anew; its peer id and `seq`."""
        peers, seq = self.peers[number], time.time_ns() // 1_000_000
        advert = Advert(
            peer=peers.peer,
            addresses=peers.addresses,
            operator=Address(f"0x{number:040x}"),
            network=NETWORK,
            models=(),
            region="",
            version="1",
            seq=seq,
            issued_at=int(time.time()),
            ttl=600,
        )
        await peers.publish(advert)
        return peers.peer, seq

    async def heard(self, peer: str, seq: int) -> float:
        """When all of them have this advert."""
        waiting = list(self.peers.values())
        while waiting:
            waiting = [one for one in waiting if (peer, seq) not in _held(one)]
            await asyncio.sleep(LOOK if waiting else 0)
        return time.perf_counter()

    async def complete(self, count: int) -> float:
        """When all of them know that many."""
        while any(len(one.directory()) < count for one in self.peers.values()):  # noqa: ASYNC110
            await asyncio.sleep(LOOK)
        return time.perf_counter()

    async def stop(self) -> None:
        for one in self.peers.values():
            await one.stop()


async def swarm(count: int, rounds: int) -> dict[str, Any]:
    """The measure, with `count` peers besides a newcomer in each round."""
    async with AsyncExitStack() as stack:
        others = await stack.enter_async_context(other("swarm"))
        here = Swarm()
        stack.push_async_callback(here.stop)
        first: list[str] = []
        for number in range(count):
            join = here.join if number % 2 == 0 else _there(others)
            address = await join(number, first[:FIRST])
            first.append(address)
        await asyncio.gather(here.complete(count), others.ask("complete", count))
        await asyncio.sleep(SETTLE)
        spread, late = [], []
        for _ in range(rounds):
            start = time.perf_counter()
            advert = await here.publish(0)
            ends = await asyncio.gather(here.heard(*advert), others.ask("heard", *advert))
            spread.append(max(ends) - start)
            await asyncio.sleep(SETTLE)
        for number in range(rounds):
            late.append(await _late(count, 1000 + number, first[:FIRST]))
            await asyncio.sleep(SETTLE)
    return {
        "peers": count,
        "advert_everywhere_s": round(statistics.median(spread), 3),
        "newcomer_complete_s": round(statistics.median(late), 3),
    }


async def _late(count: int, number: int, first: list[str]) -> float:
    """Seconds from the start of a newcomer until it knows all; it advertises nothing."""
    seed = (100 + number).to_bytes(32, "big")
    peers = PeerNetwork(Libp2pTransport(seed), seed, NETWORK, first)
    start = time.perf_counter()
    try:
        starting = asyncio.create_task(peers.start())
        while len(peers.directory()) < count:  # noqa: ASYNC110
            await asyncio.sleep(LOOK)
        elapsed = time.perf_counter() - start
        await starting
        return elapsed
    finally:
        await peers.stop()


def _there(others: Any) -> Any:
    return lambda number, first: others.ask("join", number, first)


def _held(peers: PeerNetwork) -> set[tuple[str, int]]:
    return {(signed.advert.peer, signed.advert.seq) for signed in peers.directory()}


async def _serve() -> None:
    here = Swarm()
    try:
        await obey({"join": here.join, "complete": here.complete, "heard": here.heard})
    finally:
        await here.stop()


if __name__ == "__main__":
    asyncio.run(_serve())
