"""The multiplexer over the in-memory network, in virtual time."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from ricochet_network.memory_transport import MemoryNetwork
from ricochet_network.multiplexer import Multiplexer, Serve
from ricochet_network.virtual_time import run_virtual
from ricochet_protocol import mux
from ricochet_protocol.errors import LocalFault, RemoteFault
from ricochet_protocol.ports import Connection
from ricochet_protocol.signing import peer_of

SEEDS = [bytes([n]) * 32 for n in range(1, 5)]
A, B = peer_of(SEEDS[0]), peer_of(SEEDS[1])


async def echo(request: bytes) -> AsyncGenerator[bytes, None]:
    yield request


@asynccontextmanager
async def wired(network: MemoryNetwork) -> AsyncIterator[tuple[Connection, Connection]]:
    """Two ends of one connection: the dialler's and the acceptor's."""
    dialler, acceptor = network.transport(SEEDS[0]), network.transport(SEEDS[1])
    accepted: asyncio.Future[Connection] = asyncio.get_running_loop().create_future()

    async def keep(connection: Connection) -> None:
        accepted.set_result(connection)
        await asyncio.Event().wait()

    await dialler.start(keep)
    await acceptor.start(keep)
    here = await dialler.dial(acceptor.addresses, acceptor.peer)
    try:
        yield here, await accepted
    finally:
        await dialler.stop()
        await acceptor.stop()


@asynccontextmanager
async def pair(
    there: Serve, here: Serve = echo, network: MemoryNetwork | None = None
) -> AsyncIterator[tuple[Multiplexer, Multiplexer]]:
    """Two running multiplexers; `there` serves on the accepting side."""
    async with wired(network or MemoryNetwork()) as (near, far):
        muxes = Multiplexer(near, here), Multiplexer(far, there)
        async with asyncio.TaskGroup() as group:
            runs = [group.create_task(mux.run()) for mux in muxes]
            yield muxes
            for run in runs:
                run.cancel()


async def ask(multiplexer: Multiplexer, request: bytes) -> list[bytes]:
    async with multiplexer.call(request) as replies:
        return [reply async for reply in replies]


def virtual(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """A test written as a coroutine, run in virtual time."""

    def run() -> None:
        run_virtual(test())

    run.__name__ = test.__name__
    run.__doc__ = test.__doc__
    return run


@virtual
async def test_both_sides_call_at_once() -> None:
    async with pair(echo) as (near, far):
        calls = [ask(near, b"n%d" % n) for n in range(50)] + [
            ask(far, b"f%d" % n) for n in range(50)
        ]
        answers = await asyncio.gather(*calls)
        assert answers == [[b"n%d" % n] for n in range(50)] + [[b"f%d" % n] for n in range(50)]
        assert near.idle and far.idle


@virtual
async def test_messages_up_to_the_limit_pass_whole() -> None:
    big = bytes(range(256)) * (mux.MAX_MESSAGE // 256)
    async with pair(echo) as (near, _):
        assert await asyncio.gather(ask(near, big), ask(near, big[:-1])) == [[big], [big[:-1]]]


@virtual
async def test_a_message_above_the_limit_is_refused_here() -> None:
    async with pair(echo) as (near, _):
        for size in (0, mux.MAX_MESSAGE + 1):
            with pytest.raises(LocalFault) as caught:
                await ask(near, bytes(size))
            assert caught.value.code == "too_long"
        assert await ask(near, b"still here") == [b"still here"]


@virtual
async def test_a_reply_above_the_limit_fails_its_call_only() -> None:
    async def serve(request: bytes) -> AsyncGenerator[bytes, None]:
        yield bytes(mux.MAX_MESSAGE + 1) if request == b"big" else request

    async with pair(serve) as (near, _):
        with pytest.raises(RemoteFault) as caught:
            await ask(near, b"big")
        assert caught.value.code == "too_long"
        assert await ask(near, b"small") == [b"small"]


@virtual
async def test_a_consumer_that_stalls_blocks_no_other_call() -> None:
    produced = 0

    async def endless(request: bytes) -> AsyncGenerator[bytes, None]:
        nonlocal produced
        while request == b"endless":
            produced += 1
            yield bytes(1000)
        yield request

    async with pair(endless) as (near, _), near.call(b"endless") as stalled:
        await anext(stalled)
        assert await ask(near, b"other") == [b"other"]
        await asyncio.sleep(60)
        in_flight = produced
        assert in_flight <= mux.WINDOW // 1000 + 2
        for _ in range(10 * in_flight):
            await anext(stalled)


@virtual
async def test_a_large_reply_ahead_of_the_consumer_stays_within_one_message_and_a_window() -> None:
    produced = 0

    async def serve(request: bytes) -> AsyncGenerator[bytes, None]:
        nonlocal produced
        while True:
            produced += 1
            yield bytes(1024 * 1024)

    async with pair(serve) as (near, _), near.call(b"go") as replies:
        await asyncio.sleep(60)
        assert produced == 2
        for _ in range(5):
            assert len(await anext(replies)) == 1024 * 1024


@virtual
async def test_leaving_early_closes_the_handler() -> None:
    closed: list[bytes] = []

    async def serve(request: bytes) -> AsyncGenerator[bytes, None]:
        try:
            while True:
                yield bytes(1000)
                if request == b"waits":
                    await asyncio.sleep(3600)
        finally:
            closed.append(request)

    async with pair(serve) as (near, far):
        for request in (b"waits", b"sends"):
            async with near.call(request) as replies:
                await anext(replies)
            await asyncio.sleep(1)
        assert closed == [b"waits", b"sends"]
        assert near.idle and far.idle


@virtual
async def test_a_cancelled_caller_closes_the_handler() -> None:
    closed = asyncio.Event()

    async def serve(request: bytes) -> AsyncGenerator[bytes, None]:
        try:
            await asyncio.sleep(3600)
            yield request
        finally:
            closed.set()

    async with pair(serve) as (near, far):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await ask(near, b"x")
        async with asyncio.timeout(1):
            await closed.wait()
        await asyncio.sleep(0.1)
        assert near.idle and far.idle


@virtual
async def test_a_call_cancelled_while_its_request_is_sent_leaves_the_rest_intact() -> None:
    network = MemoryNetwork(latency=1.0)
    async with pair(echo, network=network) as (near, far):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3):
                await ask(near, bytes(mux.MAX_MESSAGE))
        assert await ask(near, b"next") == [b"next"]
        assert near.idle and far.idle


@virtual
async def test_a_handler_that_is_cancelled_before_it_begins_still_ends_its_call() -> None:
    async with wired(MemoryNetwork()) as (near, far):
        await near.send(mux.encode(mux.Data(1, b"x")))
        await near.send(mux.encode(mux.Cancel(1)))
        serving = asyncio.create_task(Multiplexer(far, echo).run())
        assert mux.decode_untrusted(await near.receive()) == mux.End(1)
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving


@virtual
async def test_a_handler_error_reaches_the_caller_without_our_details() -> None:
    async def serve(request: bytes) -> AsyncGenerator[bytes, None]:
        yield b"first"
        if request == b"known":
            raise RemoteFault("busy", "no free slot", "ask another peer")
        if request == b"own":
            raise LocalFault("disk_full", "cannot write", "free some space")
        raise ValueError("secret detail")

    async with pair(serve) as (near, _):
        for request, code, message in (
            (b"known", "busy", "no free slot"),
            (b"own", "internal", "cannot write"),
            (b"bug", "internal", "the peer failed inside"),
        ):
            async with near.call(request) as replies:
                assert await anext(replies) == b"first"
                with pytest.raises(RemoteFault) as caught:
                    await anext(replies)
            assert (caught.value.code, caught.value.message) == (code, message)
            assert caught.value.hint


@virtual
async def test_calls_beyond_the_limit_wait_for_their_turn() -> None:
    go = asyncio.Event()

    async def serve(request: bytes) -> AsyncGenerator[bytes, None]:
        await go.wait()
        yield request

    async with pair(serve) as (near, _):
        calls = [asyncio.create_task(ask(near, b"%d" % n)) for n in range(mux.MAX_CALLS + 20)]
        await asyncio.sleep(1)
        go.set()
        answers = await asyncio.gather(*calls)
        assert answers == [[b"%d" % n] for n in range(mux.MAX_CALLS + 20)]


@virtual
async def test_silence_ends_the_connection_and_every_call() -> None:
    network = MemoryNetwork()

    async def never(request: bytes) -> AsyncGenerator[bytes, None]:
        await asyncio.sleep(3600)
        yield request

    async with pair(never, network=network) as (near, _):
        calls = [asyncio.create_task(ask(near, b"x")) for _ in range(3)]
        await asyncio.sleep(60)
        assert not any(call.done() for call in calls), "pings keep a quiet connection alive"
        before = asyncio.get_running_loop().time()
        network.stall(B)
        for call in calls:
            with pytest.raises(RemoteFault) as caught:
                await call
            assert caught.value.code == "disconnected"
        assert asyncio.get_running_loop().time() - before <= 8
        with pytest.raises(RemoteFault):
            await ask(near, b"later")


@virtual
async def test_a_lost_connection_closes_the_handlers_of_the_other_side() -> None:
    network = MemoryNetwork()
    closed = asyncio.Event()

    async def serve(request: bytes) -> AsyncGenerator[bytes, None]:
        try:
            await asyncio.sleep(3600)
            yield request
        finally:
            closed.set()

    async with pair(serve, network=network) as (near, _):
        call = asyncio.create_task(ask(near, b"x"))
        await asyncio.sleep(1)
        network.drop(A, B)
        with pytest.raises(RemoteFault) as caught:
            await call
        assert caught.value.code == "disconnected"
        async with asyncio.timeout(1):
            await closed.wait()


def data(call_id: int, size: int = 1, more: bool = False) -> bytes:
    return mux.encode(mux.Data(call_id, bytes(size), more))


VIOLATIONS = {
    "unreadable": [b"\xc1garbage"],
    "id out of range": [data(-1)],
    "even id from the dialler": [data(2)],
    "id reuse after the end": [data(1), data(1)],
    "id below an earlier one": [data(5, more=True), data(3)],
    "empty fragment": [data(1, 0)],
    "end of a call it did not get": [mux.encode(mux.End(2))],
    "credit for an unseen call": [mux.encode(mux.Credit(1, 1))],
    "credit it never got": [data(1, more=True), mux.encode(mux.Credit(1, 1))],
    "credit overflow": [data(1), mux.encode(mux.Credit(1, mux.WINDOW))],
    "cancel of an unseen call": [mux.encode(mux.Cancel(1))],
    "cancel twice": [data(1), mux.encode(mux.Cancel(1)), mux.encode(mux.Cancel(1))],
    "more bytes than the window": [data(1, more=True)]
    + [data(3, mux.FRAGMENT, True)] * (mux.WINDOW // mux.FRAGMENT + 1),
    "too many calls": [data(2 * n + 1) for n in range(mux.MAX_CALLS + 1)],
    "asks and never reads": [
        frame
        for n in range(60_000)
        for frame in (data(2 * n + 1, 1, True), mux.encode(mux.Cancel(2 * n + 1)))
    ],
}


@pytest.mark.parametrize("frames", VIOLATIONS.values(), ids=VIOLATIONS.keys())
def test_a_violation_ends_the_connection_with_garbage(frames: list[bytes]) -> None:
    async def slow(request: bytes) -> AsyncGenerator[bytes, None]:
        try:
            await asyncio.sleep(3600)
            yield request
        finally:
            await asyncio.sleep(0.001)

    async def test() -> None:
        async with wired(MemoryNetwork()) as (near, far):
            serving = asyncio.create_task(Multiplexer(far, slow).run())
            with pytest.raises(RemoteFault) as closed:
                for frame in frames:
                    await near.send(frame)
                while True:
                    await near.receive()
            assert closed.value.code == "disconnected"
            assert (await serving).code == "garbage"

    run_virtual(test())


@virtual
async def test_an_overlong_request_ends_the_connection_with_garbage() -> None:
    async with wired(MemoryNetwork()) as (near, far):
        serving = asyncio.create_task(Multiplexer(far, echo).run())
        with pytest.raises(RemoteFault):
            sendable = mux.WINDOW
            for _ in range(mux.MAX_MESSAGE // mux.FRAGMENT + 1):
                while sendable < mux.FRAGMENT:
                    frame = mux.decode_untrusted(await near.receive())
                    sendable += frame.bytes if isinstance(frame, mux.Credit) else 0
                sendable -= mux.FRAGMENT
                await near.send(data(1, mux.FRAGMENT, more=True))
            while True:
                await near.receive()
        assert (await serving).code == "garbage"


@virtual
async def test_only_the_oldest_arriving_request_is_credited_ahead() -> None:
    async with wired(MemoryNetwork()) as (near, far):
        serving = asyncio.create_task(Multiplexer(far, echo, heartbeat=1e6).run())
        for call_id in (1, 3, 5):
            for _ in range(mux.WINDOW // mux.FRAGMENT):
                await near.send(data(call_id, mux.FRAGMENT, more=True))
        frames = [mux.decode_untrusted(await near.receive()) for _ in range(2)]
        assert frames == [mux.Credit(1, mux.WINDOW // 2)] * 2
        await near.send(mux.encode(mux.Cancel(1)))
        assert mux.decode_untrusted(await near.receive()) == mux.End(1)
        assert mux.decode_untrusted(await near.receive()) == mux.Credit(3, mux.WINDOW)
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving


@virtual
async def test_a_garbage_sender_fails_our_calls_to_it_with_garbage() -> None:
    async with wired(MemoryNetwork()) as (near, far):
        multiplexer = Multiplexer(near, echo)
        running = asyncio.create_task(multiplexer.run())
        call = asyncio.create_task(ask(multiplexer, b"x"))
        assert mux.decode_untrusted(await far.receive()) == mux.Data(1, b"x")
        await far.send(b"not a frame")
        for task in (call, asyncio.create_task(ask(multiplexer, b"later"))):
            with pytest.raises(RemoteFault) as caught:
                await task
            assert caught.value.code == "garbage"
        assert (await running).code == "garbage"


@virtual
async def test_what_a_peer_says_of_a_failure_is_made_safe_to_print() -> None:
    async with wired(MemoryNetwork()) as (near, far):
        multiplexer = Multiplexer(near, echo)
        running = asyncio.create_task(multiplexer.run())
        call = asyncio.create_task(ask(multiplexer, b"x"))
        await far.receive()
        failed = mux.Fail(1, "made_up", "\x1b[2Jred\n" + "y" * 9000, "\x07hint", wait=34)
        await far.send(mux.encode(failed))
        with pytest.raises(RemoteFault) as caught:
            await call
        assert caught.value.code == "internal"
        assert caught.value.message.startswith("[2Jredy") and len(caught.value.message) <= 500
        assert (caught.value.hint, caught.value.wait) == ("hint", 34)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
