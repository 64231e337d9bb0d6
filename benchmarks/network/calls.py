"""What one connection does: every figure of calls, streams, bodies and dials.

CPU time is that of both processes, all threads; it says more than a rate when the machine has
other work. Delays of a first token are told by the monotonic clock, which processes share.
"""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from benchmarks.network.clients import CONCURRENT, OPENED, SERVER, Client, Ours, question
from benchmarks.network.other import Other
from benchmarks.network.servers import LARGE, LARGE_WORD, STAMPED

from ricochet_network.libp2p_transport import Libp2pTransport

STREAMS: Final = 8
"""Answers that stream at once, when what they make together is measured."""
Figures = dict[str, float]


@dataclass(frozen=True)
class Size:
    """How much of everything is measured."""

    warm: int = 300
    calls: int = 2000
    words: int = 20_000
    first_tokens: int = 30
    bodies: int = 5
    body: int = 3_900_000
    growth: int = 20_000
    nodes: int = 50
    rounds: int = 5
    dials: int = 11


async def of_contender(name: str, other: Other, size: Size) -> Figures:
    """What every contender is measured by."""
    async with OPENED[name](await other.ask("where")) as client:
        await client.call()
        figures = await _calls(client, other, size)
        figures |= await _streams(client, other, size)
        if isinstance(client, Ours):
            figures |= await _first_token(client, size) | await _bodies(client, size)
    if name == "ours":
        figures |= await _dials(await other.ask("where"), size)
    return figures


async def _calls(client: Client, other: Other, size: Size) -> Figures:
    warm = sorted([await _seconds(client.call) for _ in range(size.warm)])
    before = await _cpu(other)
    elapsed = await _seconds(lambda: at_once(client, size.calls))
    used = await _cpu(other) - before
    return {
        "warm_p50_ms": 1e3 * statistics.median(warm),
        "warm_p99_ms": 1e3 * warm[size.warm * 99 // 100],
        "requests_per_s": size.calls / elapsed,
        "cpu_ms_per_request": 1e3 * used / size.calls,
    }


async def at_once(client: Client, calls: int) -> None:
    """That many calls, `CONCURRENT` of them at any time."""

    async def some(count: int) -> None:
        for _ in range(count):
            await client.call()

    each, more = divmod(calls, CONCURRENT)
    await asyncio.gather(*(some(each + (n < more)) for n in range(CONCURRENT)))


async def _streams(client: Client, other: Other, size: Size) -> Figures:
    one = await _seconds(lambda: client.stream(size.words))
    each = size.words // STREAMS
    before = await _cpu(other)

    async def together() -> None:
        await asyncio.gather(*(client.stream(each) for _ in range(STREAMS)))

    several = await _seconds(together)
    return {
        "words_per_s_one_stream": size.words / one,
        "words_per_s_together": each * STREAMS / several,
        "cpu_us_per_word": 1e6 * (await _cpu(other) - before) / (each * STREAMS),
    }


async def _first_token(client: Ours, size: Size) -> Figures:
    delays = []
    for _ in range(size.first_tokens):
        stamp = await client.text(question(1, STAMPED))
        delays.append(time.perf_counter() - float(stamp))
    return {"first_token_delay_ms": 1e3 * statistics.median(delays)}


async def _bodies(client: Ours, size: Size) -> Figures:
    sent, received = [], []
    for _ in range(size.bodies):
        asked = question(1, prompt=size.body)
        sent.append(await _seconds(lambda asked=asked: client.text(asked)))
        wanted = question(size.body // LARGE_WORD, LARGE)
        received.append(await _seconds(lambda wanted=wanted: client.text(wanted)))
    return {
        "request_mb_per_s": size.body / 1e6 / statistics.median(sent),
        "reply_mb_per_s": size.body / 1e6 / statistics.median(received),
    }


async def _dials(address: str, size: Size) -> Figures:
    transport = Libp2pTransport(bytes([3]) * 32)

    async def accept(_: object) -> None:
        raise AssertionError("nobody dials here")

    await transport.start(accept)
    try:
        times = []
        for _ in range(size.dials):
            start = time.perf_counter()
            connection = await transport.dial([address], SERVER)
            times.append(time.perf_counter() - start)
            await connection.close()
    finally:
        await transport.stop()
    return {"cold_dial_ms": 1e3 * statistics.median(times)}


async def _seconds(work: Callable[[], Awaitable[object]]) -> float:
    start = time.perf_counter()
    await work()
    return time.perf_counter() - start


async def _cpu(other: Other) -> float:
    return time.process_time() + float(await other.ask("cpu"))
