"""Our yamux and py-libp2p's own speak to each other, over real Noise and real sockets."""

import random
import socket
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as create_noise_key_pair
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.peer.id import ID
from libp2p.security.noise.transport import Transport as Noise
from libp2p.stream_muxer.exceptions import MuxedStreamEOF, MuxedStreamError, MuxedStreamReset
from libp2p.stream_muxer.yamux.yamux import Yamux as Theirs

from ricochet_network.libp2p_tcp import BufferedTcp
from ricochet_network.libp2p_yamux import UNREAD, Yamux
from ricochet_network.quota import MemoryBudget

SECONDS = 20
BIG = 1_000_003
"""Bytes: four windows, and no multiple of anything."""
Ends = tuple[Any, Any]


@asynccontextmanager
async def connected(who_dials: str) -> Any:
    """Ours and theirs, at the two ends of one connection."""
    pairs = [create_new_key_pair(bytes([n]) * 32) for n in (1, 2)]
    noises = [Noise(one, noise_privkey=create_noise_key_pair().private_key) for one in pairs]
    sockets = [trio.SocketStream(trio.socket.from_stdlib_socket(s)) for s in socket.socketpair()]
    raws = [RawConnection(BufferedTcp(s), not n) for n, s in enumerate(sockets)]
    secured: list[Any] = [None, None]

    async def dial() -> None:
        secured[0] = await noises[0].secure_outbound(raws[0], ID.from_pubkey(pairs[1].public_key))

    async def answer() -> None:
        secured[1] = await noises[1].secure_inbound(raws[1])

    with trio.fail_after(SECONDS):
        async with trio.open_nursery() as handshake:
            handshake.start_soon(dial)
            handshake.start_soon(answer)
        if who_dials == "theirs":
            secured.reverse()
        ours = Yamux(secured[0], MemoryBudget(UNREAD))
        theirs = Theirs(secured[1], ID.from_pubkey(pairs[0].public_key))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ours.run)
            nursery.start_soon(theirs.start)
            yield ours, theirs
            nursery.cancel_scope.cancel()
        for one in sockets:
            await trio.aclose_forcefully(one)


async def stream_of(opener: Any, taker: Any) -> Ends:
    """A stream's ends, at who opens it and at the other; its first byte is there and read."""
    opened = await opener.open_stream()
    await opened.write(b"!")
    accepted = await taker.accept_stream()
    assert await accepted.read(1) == b"!"
    return opened, accepted


async def all_of(stream: Any) -> bytes:
    data = b""
    try:
        while True:
            data += await stream.read(65536)
    except MuxedStreamEOF:
        return data


def each_way(test: Callable[[Any, Any], Awaitable[None]]) -> Any:
    """Run a test with either dialling and either opening."""

    @pytest.mark.parametrize("who_dials", ["ours", "theirs"])
    @pytest.mark.parametrize("who_opens", ["ours", "theirs"])
    def tested(who_dials: str, who_opens: str) -> None:
        async def main() -> None:
            async with connected(who_dials) as (ours, theirs):
                await (test(ours, theirs) if who_opens == "ours" else test(theirs, ours))

        trio.run(main)

    return tested


async def _big_bodies(opener: Any, taker: Any) -> None:
    ends = await stream_of(opener, taker)
    texts = [random.Random(n).randbytes(BIG) for n in (1, 2)]

    async def send(stream: Any, text: bytes) -> None:
        await stream.write(text)
        await stream.close()

    async def take(stream: Any, text: bytes) -> None:
        assert await all_of(stream) == text

    async with trio.open_nursery() as nursery:
        for stream, sent, expected in zip(ends, texts, texts[::-1], strict=True):
            nursery.start_soon(send, stream, sent)
            nursery.start_soon(take, stream, expected)


async def _many_streams(opener: Any, taker: Any) -> None:
    async def converse(number: int, here: Any, there: Any) -> None:
        for turn in range(20):
            said = f"{number}:{turn}".encode()
            await here.write(said)
            assert await there.read(64) == said
            here, there = there, here

    async with trio.open_nursery() as nursery:
        for number in range(10):
            nursery.start_soon(converse, number, *await stream_of(opener, taker))


async def _end(opener: Any, taker: Any) -> None:
    here, there = await stream_of(opener, taker)
    await here.write(b"question")
    await here.close()
    assert await all_of(there) == b"question"
    await there.write(b"answer")
    await there.close()
    assert await all_of(here) == b"answer"


async def _reset(opener: Any, taker: Any) -> None:
    here, there = await stream_of(opener, taker)
    other = await stream_of(opener, taker)
    await here.reset()
    with pytest.raises(MuxedStreamError):  # theirs calls it an end, once it has forgotten it
        await there.read(1)
    with pytest.raises(MuxedStreamError):
        await there.write(b"x")
    await other[1].write(b"alive")
    assert await other[0].read(5) == b"alive"


test_big_bodies_cross_both_ways_at_once = each_way(_big_bodies)
test_many_streams_converse = each_way(_many_streams)
test_an_end_is_heard_and_the_other_way_stays_open = each_way(_end)
test_a_reset_is_heard_and_no_other_stream_suffers = each_way(_reset)


@pytest.mark.parametrize("who_dials", ["ours", "theirs"])
def test_its_pings_are_answered(who_dials: str) -> None:
    async def main() -> None:
        async with connected(who_dials) as (_, theirs):
            while not theirs.rtt():  # noqa: ASYNC110 - it pings as soon as it runs and says nothing
                await trio.sleep(0.001)

    trio.run(main)


@pytest.mark.parametrize("who_dials", ["ours", "theirs"])
def test_when_it_closes_ours_ends(who_dials: str) -> None:
    async def main() -> None:
        async with connected(who_dials) as (ours, theirs):
            here, _ = await stream_of(ours, theirs)
            await theirs.close()
            with pytest.raises(MuxedStreamReset):
                await here.read(1)

    trio.run(main)
