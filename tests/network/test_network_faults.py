"""Faults of the wire itself, over real sockets: lines that go dead, lie, stop short, or swell."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import pytest
from test_network_libp2p import NETWORK, PATIENCE, ask, directory_is, peer_process, seed

from ricochet_network.libp2p_transport import Libp2pConnection, Libp2pTransport
from ricochet_network.memory_transport import MemoryNetwork
from ricochet_network.peers import PeerNetwork
from ricochet_network.virtual_time import run_virtual
from ricochet_protocol.errors import RemoteFault
from ricochet_protocol.ids import PeerId
from ricochet_protocol.messages import Ask, Chunk, Reply, Request
from ricochet_protocol.signing import peer_of


async def words(peer: PeerId, request: Request) -> AsyncIterator[Reply]:
    """The prompt's words; the model `slow` then hangs."""
    assert isinstance(request, Ask)
    for word in request.turns[0].content.split():
        yield Chunk(word)
    if request.model == "slow":
        await asyncio.Event().wait()


async def answer(peers: PeerNetwork, peer: PeerId, text: str) -> list[Reply]:
    async with asyncio.timeout(PATIENCE), peers.call(peer, ask(text)) as replies:
        return [reply async for reply in replies]


Mangle = Callable[[bytes], bytes]


class Line:
    """A TCP line to a port that can be bent while it is used."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.dead = False
        """Bytes vanish, and nobody is told: what a router that lost its table does."""
        self.mangle: Mangle = lambda data: data
        self._writers: list[asyncio.StreamWriter] = []

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers += [writer, back]
        try:
            await asyncio.gather(self._copy(reader, back), self._copy(there, writer))
        finally:
            writer.close()
            back.close()

    def cut(self) -> None:
        """Close every connection on the line."""
        for writer in self._writers:
            writer.close()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                if not self.dead:
                    writer.write(self.mangle(data))
                    await writer.drain()
        writer.close()


@asynccontextmanager
async def lined() -> AsyncIterator[tuple[PeerNetwork, PeerNetwork, Line]]:
    """A node, a client that knows it only through a line, and the line."""
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(asyncio.timeout(2 * PATIENCE))
        node = PeerNetwork(Libp2pTransport(seed(1)), seed(1), NETWORK, handler=words, heartbeat=0.2)
        stack.push_async_callback(node.stop)
        await node.start()
        line = Line(int(node.addresses[0].split("/")[4]))
        server = await asyncio.start_server(line.carry, "127.0.0.1", 0)
        stack.callback(server.close)
        stack.callback(line.cut)
        address = f"/ip4/127.0.0.1/tcp/{server.sockets[0].getsockname()[1]}/p2p/{node.peer}"
        client = PeerNetwork(Libp2pTransport(seed(2)), seed(2), NETWORK, [address], heartbeat=0.2)
        stack.push_async_callback(client.stop)
        await client.start()
        yield node, client, line


async def fails_and_recovers(harm: Callable[[Line], None], mend: Callable[[Line], None]) -> None:
    async with lined() as (node, client, line):
        with pytest.raises(RemoteFault) as caught:
            async with client.call(node.peer, ask("word", "slow")) as replies:
                assert await anext(replies) == Chunk("word")
                harm(line)
                await anext(replies)
        assert caught.value.code in ("disconnected", "garbage")
        mend(line)
        while True:  # a dial may have failed just before
            try:
                assert await answer(client, node.peer, "back again") == [
                    Chunk("back"),
                    Chunk("again"),
                ]
                return
            except RemoteFault:
                await asyncio.sleep(0.05)


def test_a_line_that_dies_without_a_word_is_noticed_and_dialled_again() -> None:
    def set_dead(line: Line, dead: bool) -> None:
        line.dead = dead
        if not dead:
            line.cut()

    asyncio.run(
        fails_and_recovers(lambda line: set_dead(line, True), lambda line: set_dead(line, False))
    )


def test_a_flipped_bit_ends_its_connection_and_nothing_else() -> None:
    def flip(data: bytes) -> bytes:
        return data[:-1] + bytes([data[-1] ^ 1])

    asyncio.run(
        fails_and_recovers(
            lambda line: setattr(line, "mangle", flip),
            lambda line: setattr(line, "mangle", lambda data: data),
        )
    )


def test_a_line_that_is_cut_in_the_middle_of_a_frame_is_dialled_again() -> None:
    def cut(line: Line) -> None:
        line.mangle = lambda data: data[: len(data) // 2]
        asyncio.get_running_loop().call_later(0.3, line.cut)

    asyncio.run(fails_and_recovers(cut, lambda line: setattr(line, "mangle", lambda data: data)))


BOMBS = {
    "the longest length there is": b"\xff\xff\xff\xff" + bytes(70_000),
    "a length of nothing": bytes(4),
    "no msgpack": b"\x00\x00\x00\x04\xc1\xc1\xc1\xc1",
    "a map that claims four billion entries": b"\x00\x00\x00\x05\xdf\xff\xff\xff\xff",
    "arrays in arrays": b"\x00\x00\xff\xff" + b"\x91" * 0xFFFF,
    "noise": random.Random(1).randbytes(100_000),
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS.keys())
def test_a_frame_bomb_ends_its_connection_and_costs_nothing(bomb: bytes) -> None:
    async def test() -> None:
        async with lined() as (node, client, _):
            transport = Libp2pTransport(seed(3))

            async def nobody(_: object) -> None:
                """Nobody dials the bomber."""

            await transport.start(nobody)
            connection = await transport.dial(node.addresses, node.peer)
            assert isinstance(connection, Libp2pConnection)
            before = resident()
            await connection.outgoing.put(bomb)
            async with asyncio.timeout(PATIENCE):
                with pytest.raises(RemoteFault):
                    while True:
                        await connection.receive()
            assert resident() - before < 8 * 1024 * 1024
            assert await answer(client, node.peer, "calm") == [Chunk("calm")]
            await transport.stop()

    asyncio.run(test())


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.deep
def test_a_peer_that_dies_in_mid_stream_and_comes_back_elsewhere_is_found_again() -> None:
    async def test() -> None:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(asyncio.timeout(4 * PATIENCE))
            client = PeerNetwork(Libp2pTransport(seed(1)), seed(1), NETWORK)
            stack.push_async_callback(client.stop)
            await client.start()
            victim = peer_of(seed(12))
            async with peer_process(12, client.addresses[0]) as (process, _):
                await directory_is(client, {victim})
                with pytest.raises(RemoteFault) as caught:
                    async with client.call(victim, ask("word", "slow")) as replies:
                        assert await anext(replies) == Chunk("word")
                        process.kill()
                        await anext(replies)
                assert caught.value.code == "disconnected"
            await directory_is(client, set())
            await stack.enter_async_context(peer_process(12, client.addresses[0]))
            await directory_is(client, {victim})
            assert await answer(client, victim, "new life") == [Chunk("new"), Chunk("life")]

    asyncio.run(test())


def test_a_reader_that_stalls_for_a_minute_loses_nothing_and_holds_up_nobody() -> None:
    text = " ".join(f"{n}" * 100 for n in range(3000))

    async def test() -> None:
        net = MemoryNetwork(latency=0.01)
        node = PeerNetwork(net.transport(seed(1)), seed(1), NETWORK, handler=words)
        await node.start()
        client = PeerNetwork(net.transport(seed(2)), seed(2), NETWORK, node.addresses)
        await client.start()
        async with client.call(node.peer, ask(text)) as replies:
            got = [await anext(replies)]
            for _ in range(60):
                await asyncio.sleep(1)
                async with asyncio.timeout(0.5):
                    assert await answer(client, node.peer, "quick") == [Chunk("quick")]
            got += [reply async for reply in replies]
        assert got == [Chunk(word) for word in text.split()]
        await client.stop()
        await node.stop()

    run_virtual(test())
