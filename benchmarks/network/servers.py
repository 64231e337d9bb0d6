"""The serving side of each contender; `python -m benchmarks.network.servers ours|echo|fastapi`.

All answer the same question, a prompt of `PROMPT` characters, with the same words. Ours and
FastAPI run on uvloop, which is what the product's node does and what uvicorn takes by itself; the
echo is plain asyncio. Rates of what one peer may ask are raised, or they would be what is measured.
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Final

import uvloop
from benchmarks.network.other import obey
from benchmarks.network.vitals import alive, cpu_seconds

from ricochet_network.libp2p_transport import Libp2pTransport
from ricochet_network.peers import PeerNetwork
from ricochet_network.quota import Rates
from ricochet_protocol.framing import FrameDecoder, encode_frame
from ricochet_protocol.ids import ModelId, NetworkId, PeerId
from ricochet_protocol.messages import Ask, Chunk, Reply, Request

NETWORK: Final = NetworkId("bench:1")
SEED: Final = bytes([1]) * 32
PROMPT: Final = 100
WORD: Final = "token "
STAMPED, LARGE = ModelId("stamped"), ModelId("large")
"""Models that answer with the time of their first token, and with one message of many words."""
LARGE_WORD: Final = 4
"""Characters for each token asked of `LARGE`."""
THINKING: Final = 0.02
"""Seconds before that first token: both sides have gone to sleep by then."""
RATES: Final = Rates(bytes=1e12, requests=1e9)


async def handler(peer: PeerId, request: Request) -> AsyncIterator[Reply]:
    """Answers an ask with as many words as it wants."""
    assert isinstance(request, Ask)
    if request.model == STAMPED:
        await asyncio.sleep(THINKING)
        yield Chunk(repr(time.perf_counter()))
    elif request.model == LARGE:
        yield Chunk("x" * (request.max_tokens * LARGE_WORD))
    else:
        for _ in range(request.max_tokens):
            yield Chunk(WORD)


async def ours() -> None:
    peers = PeerNetwork(Libp2pTransport(SEED), SEED, NETWORK, handler=handler, rates=RATES)
    await peers.start()

    async def where() -> str:
        return peers.addresses[0]

    try:
        await obey({"where": where, "cpu": cpu_seconds, "alive": alive})
    finally:
        await peers.stop()


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    decoder = FrameDecoder()
    while data := await reader.read(65536):
        for frame in decoder.feed_untrusted(data):
            for _ in range(int.from_bytes(frame[:4], "big")):
                writer.write(encode_frame(WORD.encode()))
                await writer.drain()
    writer.close()


async def echo() -> None:
    server = await asyncio.start_server(_echo, "127.0.0.1", 0)

    async def where() -> int:
        return int(server.sockets[0].getsockname()[1])

    async with server:
        await obey({"where": where, "cpu": cpu_seconds})


def _application() -> Any:
    from fastapi import FastAPI
    from fastapi.responses import StreamingResponse
    from pydantic import BaseModel

    class Turn(BaseModel):
        role: str
        content: str

    class Question(BaseModel):
        request_id: str
        model: str
        turns: list[Turn]
        max_tokens: int

    class Answer(BaseModel):
        text: str

    application = FastAPI()

    async def ask(question: Question) -> Answer:
        return Answer(text=WORD)

    async def stream(question: Question) -> StreamingResponse:
        async def words() -> AsyncIterator[str]:
            for _ in range(question.max_tokens):
                yield f"{WORD}\n"

        return StreamingResponse(words())

    application.post("/ask")(ask)
    application.post("/stream")(stream)
    return application


async def fastapi() -> None:
    import uvicorn

    server = uvicorn.Server(uvicorn.Config(_application(), port=0, log_level="critical"))
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.01)

    async def where() -> int:
        return int(server.servers[0].sockets[0].getsockname()[1])

    await obey({"where": where, "cpu": cpu_seconds})
    server.should_exit = True
    await serving


CONTENDERS: Final[dict[str, Callable[[], Coroutine[Any, Any, None]]]] = {
    "ours": ours,
    "echo": echo,
    "fastapi": fastapi,
}

if __name__ == "__main__":
    chosen = CONTENDERS[sys.argv[1]]
    (asyncio if chosen is echo else uvloop).run(chosen())
