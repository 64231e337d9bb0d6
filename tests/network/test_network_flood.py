"""A real flood over TCP: a thousand connection attempts a second, and what they cost a peer."""

import asyncio
import socket
from contextlib import suppress
from pathlib import Path

from ricochet_network import door_guard
from ricochet_network.libp2p_transport import Libp2pTransport
from ricochet_network.peers import PeerNetwork
from ricochet_protocol.ids import NetworkId
from ricochet_protocol.messages import GetAdverts

NETWORK = NetworkId("test:1")
ATTEMPTS, SECONDS = 1000, 2.0
PAGE = 4096


def seed(n: int) -> bytes:
    return n.to_bytes(32, "big")


def resident() -> int:
    """Bytes of memory that this process, node and flood together, really uses."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


async def attempt(port: int) -> None:
    """Connect from an address of the flood's own, say nothing, and stay while that is allowed."""
    loop = asyncio.get_running_loop()
    with socket.socket() as one:
        one.setblocking(False)
        one.bind(("127.0.0.2", 0))
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(SECONDS):
                await loop.sock_connect(one, ("127.0.0.1", port))
                await loop.sock_recv(one, 1000)
                await loop.sock_recv(one, 1000)


def test_a_thousand_connection_attempts_a_second_cost_little_and_lock_nobody_out() -> None:
    async def test() -> None:
        transport = Libp2pTransport(seed(1))
        node = PeerNetwork(transport, seed(1), NETWORK)
        client = PeerNetwork(Libp2pTransport(seed(2)), seed(2), NETWORK)
        await node.start()
        await client.start()
        port = int(node.addresses[0].split("/")[4])
        loop, before, most = asyncio.get_running_loop(), resident(), 0
        start = loop.time()
        flood = []
        for n in range(int(ATTEMPTS * SECONDS)):
            flood.append(asyncio.create_task(attempt(port)))
            most = max(most, transport._guard.half_open)
            if (ahead := start + n / ATTEMPTS - loop.time()) > 0:
                await asyncio.sleep(ahead)
            if n == ATTEMPTS:
                newcomer = PeerNetwork(Libp2pTransport(seed(3)), seed(3), NETWORK, node.addresses)
                async with asyncio.timeout(5):
                    await newcomer.start()
                    async with newcomer.call(node.peer, GetAdverts()) as replies:
                        assert [reply async for reply in replies] == []
        took = loop.time() - start
        await asyncio.gather(*flood)
        assert most <= door_guard.HALF_OPEN_EACH + 1
        allowed = door_guard.BURST + door_guard.RATE * (took + SECONDS)
        assert transport._guard.turned_away >= ATTEMPTS * SECONDS - allowed - 1
        assert resident() - before < 64 * 1024 * 1024
        await newcomer.stop()
        await client.stop()
        await node.stop()

    asyncio.run(test())
