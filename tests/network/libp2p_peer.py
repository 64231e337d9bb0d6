"""A peer in a process of its own, for tests that kill it: prints its address and serves calls.

Its first argument is the number of its seed, the second a bootstrap address or nothing.
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator

from ricochet_network.libp2p_transport import Libp2pTransport
from ricochet_network.peers import PeerNetwork
from ricochet_protocol.advert import Advert
from ricochet_protocol.ids import Address, NetworkId, PeerId
from ricochet_protocol.messages import Ask, Chunk, Reply, Request


async def serve(peer: PeerId, request: Request) -> AsyncIterator[Reply]:
    """Echoes the prompt's words; the model `slow` then hangs."""
    assert isinstance(request, Ask)
    for word in request.turns[0].content.split():
        yield Chunk(word)
    if request.model == "slow":
        await asyncio.sleep(3600)


async def main(number: int, bootstrap: list[str]) -> None:
    seed = number.to_bytes(32, "big")
    peers = PeerNetwork(Libp2pTransport(seed), seed, NetworkId("test:1"), bootstrap, serve)
    await peers.start()
    await peers.publish(
        Advert(
            peer=peers.peer,
            addresses=peers.addresses,
            operator=Address("0x" + "1" * 40),
            network=NetworkId("test:1"),
            models=(),
            region="",
            version="1",
            seq=time.time_ns(),
            issued_at=int(time.time()),
            ttl=600,
        )
    )
    print(peers.addresses[0], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2:]))
