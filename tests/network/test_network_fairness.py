"""Small messages are not held up by large ones: in the queue itself, and from call to answer."""

import asyncio
from collections.abc import AsyncGenerator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ricochet_network.memory_transport import QUEUE, MemoryNetwork
from ricochet_network.multiplexer import Multiplexer
from ricochet_network.outbox import Outbox
from ricochet_network.virtual_time import run_virtual
from ricochet_protocol.errors import RemoteFault
from ricochet_protocol.mux import FRAGMENT, MAX_MESSAGE, Data, End, Frame, decode_untrusted

LARGE = bytes(FRAGMENT)
SEEDS = bytes([1]) * 32, bytes([2]) * 32


def drained(outbox: Outbox) -> list[Frame]:
    """Every frame of the queue in the order in which it is sent."""

    async def drain() -> list[Frame]:
        sent: list[Frame] = []

        async def send(payload: bytes) -> None:
            sent.append(decode_untrusted(payload))

        task = asyncio.create_task(outbox.drain(send))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return sent

    return run_virtual(drain())


def test_a_small_body_overtakes_every_large_one_that_waits() -> None:
    outbox = Outbox()
    for call in range(1, 100, 2):
        outbox.post(Data(call, LARGE, more=True))
    outbox.post(Data(101, b"small"))
    outbox.post(End(101))
    assert drained(outbox)[:2] == [Data(101, b"small"), End(101)]


def test_large_calls_take_turns() -> None:
    outbox = Outbox()
    for call in (1, 3, 5):
        for _ in range(3):
            outbox.post(Data(call, LARGE, more=True))
    assert [frame.id for frame in drained(outbox) if isinstance(frame, Data)] == [1, 3, 5] * 3


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, FRAGMENT), st.booleans()), max_size=60))
def test_calls_keep_their_order_and_ids_rise_on_the_wire(
    posts: list[tuple[int, int, bool]],
) -> None:
    outbox, opened, expected = Outbox(), 0, dict[int, list[Frame]]()
    for chosen, size, new in posts:
        if new or not opened:
            opened += 1
            call = 2 * opened + 1
        else:
            call = 2 * (chosen % opened + 1) + 1
        frame = Data(call, bytes(size), more=True)
        outbox.post(frame, opens=call not in expected)
        expected.setdefault(call, []).append(frame)
    sent: dict[int, list[Frame]] = {}
    for frame in drained(outbox):
        assert isinstance(frame, Data)
        sent.setdefault(frame.id, []).append(frame)
    assert sent == expected
    assert list(sent) == sorted(sent)


@pytest.mark.parametrize("large", [1, 20])
def test_replies_of_four_mebibytes_delay_a_small_one_by_a_few_frames(large: int) -> None:
    """Besides what the wire itself holds (`QUEUE`), a small answer waits for some frames only."""
    bandwidth = 1_000_000.0

    async def serve(request: bytes) -> AsyncGenerator[bytes, None]:
        yield bytes(MAX_MESSAGE) if request == b"large" else request

    async def ask(near: Multiplexer, request: bytes) -> int:
        async with near.call(request) as replies:
            return sum([len(reply) async for reply in replies])

    async def test() -> None:
        net = MemoryNetwork(latency=0.001, bandwidth=bandwidth)
        a, b = (net.transport(seed) for seed in SEEDS)
        await a.start(lambda _: asyncio.sleep(0))
        ready = asyncio.Event()

        async def accept(connection: object) -> None:
            ready.set()
            await Multiplexer(connection, serve).run()  # type: ignore[arg-type]  # it is one

        await b.start(accept)
        near = Multiplexer(await a.dial(b.addresses, b.peer), serve)
        running = asyncio.create_task(near.run())
        await ready.wait()
        loads = [asyncio.create_task(ask(near, b"large")) for _ in range(large)]
        await asyncio.sleep(1)
        loop = asyncio.get_running_loop()
        waits = []
        for _ in range(10):
            start = loop.time()
            assert await ask(near, b"small") == 5
            waits.append(loop.time() - start)
        assert max(waits) < (QUEUE + 3 * FRAGMENT) / bandwidth
        assert sum(await asyncio.gather(*loads)) == large * MAX_MESSAGE
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await a.stop()
        await b.stop()

    run_virtual(test())


def test_a_peer_that_reads_no_answers_is_still_found_out() -> None:
    outbox = Outbox()
    with pytest.raises(RemoteFault):
        for call in range(1, 2**20, 2):
            outbox.post(End(call))
            outbox.check_flood_untrusted()
