"""How fast two processes call each other: JSON on stdout, against a plain asyncio echo.

    python benchmarks/network.py [--runs 5]

The same process pair measures both, one after the other: cold dial, warm calls one at a time, calls
at 50 at once, and the messages of one streamed reply. Figures are medians over the runs. The echo
has neither encryption nor multiplexing (it takes a connection for each call at once) nor flow
control; the ratio is what those cost in Python.
"""

import argparse
import asyncio
import json
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable

from ricochet_network.libp2p_transport import Libp2pTransport
from ricochet_network.peers import PeerNetwork
from ricochet_protocol.framing import PREFIX, FrameDecoder, encode_frame
from ricochet_protocol.ids import ModelId, NetworkId, PeerId, Period, RequestId
from ricochet_protocol.messages import Ask, Chunk, Reply, Request, Turn
from ricochet_protocol.signing import peer_of

NETWORK = NetworkId("bench:1")
SERVER = bytes([1]) * 32
WARM, CONCURRENT, CALLS, STREAMED = 300, 50, 2000, 20_000
Call = Callable[[int], Awaitable[int]]


def ask(messages: int) -> Ask:
    """Asks for a reply of this many messages."""
    turns = (Turn("user", "x" * 100),)
    return Ask(RequestId("0" * 32), Period(1), ModelId("m"), turns, max_tokens=messages, deadline=9)


async def handler(peer: PeerId, request: Request) -> AsyncIterator[Reply]:
    assert isinstance(request, Ask)
    for _ in range(request.max_tokens):
        yield Chunk("token ")


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    decoder = FrameDecoder()
    while data := await reader.read(65536):
        for frame in decoder.feed_untrusted(data):
            for _ in range(int.from_bytes(frame[:4], "big")):
                writer.write(encode_frame(b"token "))
                await writer.drain()
    writer.close()


async def serve() -> None:
    """The other process: prints where both servers listen."""
    peers = PeerNetwork(Libp2pTransport(SERVER), SERVER, NETWORK, handler=handler)
    await peers.start()
    plain = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = plain.sockets[0].getsockname()[1]
    print(json.dumps({"address": peers.addresses[0], "port": port}), flush=True)
    await asyncio.Event().wait()


async def measure(call: Call) -> dict[str, float]:
    """The figures of one connection; `call` makes one call and returns its messages."""

    async def timed(messages: int) -> float:
        start = time.perf_counter()
        assert await call(messages) == messages
        return time.perf_counter() - start

    async def worker(count: int) -> None:
        for _ in range(count):
            await timed(1)

    warm = sorted([await timed(1) for _ in range(WARM)])
    start = time.perf_counter()
    await asyncio.gather(*(worker(CALLS // CONCURRENT) for _ in range(CONCURRENT)))
    rate = CALLS / (time.perf_counter() - start)
    return {
        "warm_p50_ms": warm[WARM // 2] * 1e3,
        "warm_p99_ms": warm[WARM * 99 // 100] * 1e3,
        f"calls_per_s_{CONCURRENT}_at_once": rate,
        "streamed_messages_per_s": STREAMED / await timed(STREAMED),
    }


async def ricochet(address: str, run: int) -> dict[str, float]:
    seed = (1000 + run).to_bytes(32, "big")
    peers, peer = PeerNetwork(Libp2pTransport(seed), seed, NETWORK, [address]), peer_of(SERVER)

    async def call(messages: int) -> int:
        async with peers.call(peer, ask(messages)) as replies:
            return sum([1 async for _ in replies])

    try:
        start = time.perf_counter()
        await peers.start()
        await call(1)
        cold = time.perf_counter() - start
        return {"cold_start_dial_call_ms": cold * 1e3, **await measure(call)}
    finally:
        await peers.stop()


async def baseline(port: int) -> dict[str, float]:
    start = time.perf_counter()
    idle: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    for _ in range(CONCURRENT):
        idle.put_nowait(await asyncio.open_connection("127.0.0.1", port))

    async def call(messages: int) -> int:
        reader, writer = await idle.get()
        writer.write(encode_frame(messages.to_bytes(4, "big") + bytes(200)))
        for _ in range(messages):
            await reader.readexactly(int.from_bytes(await reader.readexactly(PREFIX), "big"))
        idle.put_nowait((reader, writer))
        return messages

    await call(1)
    cold = (time.perf_counter() - start) / CONCURRENT
    figures = await measure(call)
    while not idle.empty():
        idle.get_nowait()[1].close()
    return {"cold_start_dial_call_ms": cold * 1e3, **figures}


async def main(runs: int) -> None:
    server = await asyncio.create_subprocess_exec(
        sys.executable, __file__, "--serve", stdout=asyncio.subprocess.PIPE
    )
    try:
        assert server.stdout is not None
        where = json.loads(await server.stdout.readline())
        results = [
            (await ricochet(where["address"], run), await baseline(where["port"]))
            for run in range(runs)
        ]
    finally:
        server.kill()
        await server.wait()
    figures = {
        name: {key: round(statistics.median(one[n][key] for one in results), 3) for key in first}
        for n, (name, first) in enumerate(
            zip(("ricochet", "asyncio_echo"), results[0], strict=True)
        )
    }
    print(json.dumps({"runs": runs, **figures}, indent=2))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    asyncio.run(serve() if arguments.serve else main(arguments.runs))
