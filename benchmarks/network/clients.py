"""The calling side of each contender, on plain asyncio: one call, and one streamed answer."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final, Protocol

from benchmarks.network.servers import NETWORK, PROMPT, RATES, SEED, WORD

from ricochet_network.libp2p_transport import Libp2pTransport
from ricochet_network.peers import PeerNetwork
from ricochet_protocol.framing import PREFIX, encode_frame
from ricochet_protocol.ids import ModelId, Period, RequestId
from ricochet_protocol.messages import Ask, Chunk, Turn
from ricochet_protocol.signing import peer_of

CONCURRENT: Final = 50
SERVER: Final = peer_of(SEED)


class Client(Protocol):
    """One contender's."""

    async def call(self) -> None:
        """Ask, and take the answer of one word."""

    async def stream(self, words: int) -> None:
        """Ask, and take an answer of that many messages."""


def question(words: int, model: str = "m", prompt: int = PROMPT) -> Ask:
    """An ask for that many words."""
    turns = (Turn("user", "x" * prompt),)
    return Ask(RequestId("0" * 32), Period(1), ModelId(model), turns, max_tokens=words, deadline=9)


class Ours:
    """Over `peers`, whose link is dialled by the first call."""

    def __init__(self, peers: PeerNetwork) -> None:
        self._peers = peers

    async def call(self) -> None:
        await self.stream(1)

    async def stream(self, words: int) -> None:
        async with self._peers.call(SERVER, question(words)) as replies:
            assert sum([1 async for _ in replies]) == words

    async def text(self, asked: Ask) -> str:
        """The text of the first reply, as soon as it is there."""
        async with self._peers.call(SERVER, asked) as replies:
            reply = await anext(replies)
            assert isinstance(reply, Chunk)
            return reply.text


@contextlib.asynccontextmanager
async def ours(address: str) -> AsyncIterator[Ours]:
    seed = bytes([2]) * 32
    peers = PeerNetwork(Libp2pTransport(seed), seed, NETWORK, [address], rates=RATES)
    await peers.start()
    try:
        yield Ours(peers)
    finally:
        await peers.stop()


class Echo:
    """A connection for each call at once, since it has no multiplexing."""

    def __init__(self) -> None:
        self.idle: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = (
            asyncio.Queue()
        )

    async def call(self) -> None:
        await self.stream(1)

    async def stream(self, words: int) -> None:
        reader, writer = await self.idle.get()
        writer.write(encode_frame(words.to_bytes(4, "big") + bytes(2 * PROMPT)))
        for _ in range(words):
            length = int.from_bytes(await reader.readexactly(PREFIX), "big")
            assert await reader.readexactly(length) == WORD.encode()
        self.idle.put_nowait((reader, writer))


@contextlib.asynccontextmanager
async def echo(port: int) -> AsyncIterator[Echo]:
    client = Echo()
    for _ in range(CONCURRENT):
        client.idle.put_nowait(await asyncio.open_connection("127.0.0.1", port))
    try:
        yield client
    finally:
        while not client.idle.empty():
            _, writer = client.idle.get_nowait()
            writer.close()
            await writer.wait_closed()


class Http:
    """httpx with a pool of connections that are kept."""

    def __init__(self, port: int) -> None:
        import httpx

        limits = httpx.Limits(max_connections=CONCURRENT, max_keepalive_connections=CONCURRENT)
        url = f"http://127.0.0.1:{port}"
        self.http = httpx.AsyncClient(base_url=url, limits=limits, timeout=60, trust_env=False)

    async def call(self) -> None:
        response = await self.http.post("/ask", json=self._question(1))
        assert response.json() == {"text": WORD}

    async def stream(self, words: int) -> None:
        async with self.http.stream("POST", "/stream", json=self._question(words)) as response:
            assert sum([1 async for _ in response.aiter_lines()]) == words

    def _question(self, words: int) -> dict[str, object]:
        turns = [{"role": "user", "content": "x" * PROMPT}]
        return {"request_id": "0" * 32, "model": "m", "turns": turns, "max_tokens": words}


@contextlib.asynccontextmanager
async def fastapi(port: int) -> AsyncIterator[Http]:
    client = Http(port)
    async with client.http:
        yield client


OPENED: Final = {"ours": ours, "echo": echo, "fastapi": fastapi}
