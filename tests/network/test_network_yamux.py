"""Our yamux, held against strangers, stalls and cancelled writers, in virtual time."""

import json
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from libp2p.stream_muxer.exceptions import (
    MuxedConnUnavailable,
    MuxedStreamClosed,
    MuxedStreamEOF,
    MuxedStreamReset,
)
from secured_pair import End, secured_pair
from trio.testing import MockClock, wait_all_tasks_blocked

from ricochet_network.libp2p_yamux import (
    ACK,
    BODY,
    DATA,
    FIN,
    FRAMES,
    FRAMES_AT_ONCE,
    GO_AWAY,
    HEADER,
    PENDING,
    PING,
    PINGS_AT_ONCE,
    RST,
    SYN,
    UNREAD,
    UNSENT,
    UPDATE,
    WINDOW,
    WRITE,
    Yamux,
    YamuxStream,
)
from ricochet_network.quota import MemoryBudget

Test = Callable[..., Awaitable[None]]


def frame(kind: int, flags: int, stream: int, value: int = 0, body: bytes = b"") -> bytes:
    return HEADER.pack(0, kind, flags, stream, value or len(body)) + body


class Alone:
    """One of ours that listens, and a stranger's hand on its line."""

    def __init__(self, nursery: trio.Nursery, budget: MemoryBudget | None = None) -> None:
        ours, self.theirs = secured_pair()
        ours, self.theirs = self.theirs, ours
        self.line: End = ours
        self.budget = budget or MemoryBudget(UNREAD)
        self.muxed = Yamux(self.line, self.budget)
        self.ended = trio.Event()
        nursery.start_soon(self._run)

    async def _run(self) -> None:
        await self.muxed.run()
        self.ended.set()

    async def hears(self, *frames: bytes) -> bytes:
        """What it says to these frames once it has come to rest."""
        for one in frames:
            self.line.feed(one)
        await wait_all_tasks_blocked()
        said: bytes = self.theirs.said()
        return said

    async def accepted(self, stream: int) -> YamuxStream:
        await self.hears(frame(UPDATE, SYN, stream))
        return await self.muxed.accept_stream()


def run(test: Test) -> None:
    """Run a test in virtual time; what it leaves running in its nursery is cancelled."""

    async def main() -> None:
        with trio.fail_after(3600):
            async with trio.open_nursery() as nursery:
                await test(nursery)
                nursery.cancel_scope.cancel()

    trio.run(main, clock=MockClock(autojump_threshold=0))


async def both(nursery: trio.Nursery) -> tuple[Yamux, Yamux, End, End]:
    here, there = secured_pair()
    budget = MemoryBudget(UNREAD)
    ends = Yamux(here, budget), Yamux(there, budget)
    for end in ends:
        nursery.start_soon(end.run)
    return *ends, here, there


async def read_all(stream: YamuxStream) -> bytes:
    data = b""
    try:
        while True:
            data += await stream.read(10_000)
    except MuxedStreamEOF:
        return data


def test_streams_of_both_sides_carry_more_than_a_window_both_ways() -> None:
    size = 3 * WINDOW + 17

    async def test(nursery: trio.Nursery) -> None:
        here, there, _, _ = await both(nursery)
        got: dict[tuple[int, str], bytes] = {}

        async def one(number: int, opener: Yamux, taker: Yamux) -> None:
            ends = await opener.open_stream(), await taker.accept_stream()
            texts = [random.Random(number + n).randbytes(size) for n in (0, 100)]

            async def send(stream: YamuxStream, text: bytes) -> None:
                await stream.write(text)
                await stream.close()

            async def take(stream: YamuxStream, text: bytes) -> None:
                assert await read_all(stream) == text

            async with trio.open_nursery() as all_four:
                for stream, sent, expected in zip(ends, texts, texts[::-1], strict=True):
                    all_four.start_soon(send, stream, sent)
                    all_four.start_soon(take, stream, expected)
            got[number, "done"] = b""

        async with trio.open_nursery() as streams:
            streams.start_soon(one, 1, here, there)
            streams.start_soon(one, 2, there, here)
        assert len(got) == 2

    run(test)


def test_an_end_is_heard_after_what_was_written_and_the_other_way_stays_open() -> None:
    async def test(nursery: trio.Nursery) -> None:
        here, there, _, _ = await both(nursery)
        asked = await here.open_stream()
        served = await there.accept_stream()
        await asked.write(b"question")
        await asked.close()
        assert await read_all(served) == b"question"
        await served.write(b"answer")
        await served.close()
        assert await read_all(asked) == b"answer"
        with pytest.raises(MuxedStreamClosed):
            await asked.write(b"more")

    run(test)


def test_a_reset_ends_both_directions_and_no_other_stream() -> None:
    async def test(nursery: trio.Nursery) -> None:
        here, there, _, _ = await both(nursery)
        first, second = await here.open_stream(), await here.open_stream()
        served, other = await there.accept_stream(), await there.accept_stream()
        await first.reset()
        for use in (served.read, first.read, lambda: served.write(b"x"), lambda: first.write(b"x")):
            with pytest.raises(MuxedStreamReset):
                await use()
        await second.write(b"alive")
        assert await other.read() == b"alive"

    run(test)


def test_the_end_of_the_connection_is_heard_by_all() -> None:
    async def test(nursery: trio.Nursery) -> None:
        here, there, line, _ = await both(nursery)
        stream = await here.open_stream()
        await (await there.accept_stream()).write(b"last words")
        await wait_all_tasks_blocked()
        line.hang_up()
        assert await stream.read() == b"last words"
        with pytest.raises(MuxedStreamReset):
            await stream.read()
        for use in (here.open_stream, here.accept_stream):
            with pytest.raises(MuxedConnUnavailable):
                await use()

    run(test)


def test_a_reader_that_stalls_holds_its_writer_at_a_window_and_nobody_else() -> None:
    async def test(nursery: trio.Nursery) -> None:
        here, there, line, _ = await both(nursery)
        stalled, other = await here.open_stream(), await here.open_stream()
        unread, read = await there.accept_stream(), await there.accept_stream()
        nursery.start_soon(stalled.write, bytes(2 * WINDOW))
        await wait_all_tasks_blocked()
        assert WINDOW <= line.written < WINDOW + 1000
        await other.write(b"undisturbed")
        assert await read.read() == b"undisturbed"
        for _ in range(60):
            await trio.sleep(1)
        assert len(await unread.read()) == WINDOW
        await wait_all_tasks_blocked()
        assert len(await unread.read()) == WINDOW, "and nothing was lost"

    run(test)


@pytest.mark.parametrize("seed", range(20))
def test_writers_that_are_cancelled_anywhere_leave_the_others_whole(seed: int) -> None:
    """Some streams' writers are cancelled at random steps; others share the connection."""
    chance = random.Random(seed)

    async def cancelled(stream: YamuxStream, other: YamuxStream) -> None:
        text = chance.randbytes(100_000)
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(stream.write, text)
                for _ in range(chance.randrange(40)):
                    await trio.lowlevel.checkpoint()
                scope.cancel()
        await stream.close()
        got = await read_all(other)
        assert text.startswith(got), "a prefix, of whole frames"
        assert len(got) in {0, BODY, len(text)}

    async def whole(stream: YamuxStream, other: YamuxStream) -> None:
        text = chance.randbytes(150_000)
        async with trio.open_nursery() as nursery:

            async def send() -> None:
                for at in range(0, len(text), 30_000):
                    await stream.write(text[at : at + 30_000])
                await stream.close()

            nursery.start_soon(send)
            assert await read_all(other) == text

    async def test(nursery: trio.Nursery) -> None:
        here, there, _, _ = await both(nursery)
        async with trio.open_nursery() as streams:
            for work in (cancelled, whole) * 4:
                stream = await here.open_stream()
                streams.start_soon(work, stream, await there.accept_stream())

    run(test)


def test_a_line_that_takes_nothing_ends_after_its_time_and_frees_whoever_writes() -> None:
    async def test(nursery: trio.Nursery) -> None:
        here, there, line, _ = await both(nursery)
        stream = await here.open_stream()
        await there.accept_stream()
        line.stalled, start = True, trio.current_time()
        with pytest.raises(MuxedConnUnavailable):
            await stream.write(b"x" * 20_000)
        assert WRITE <= trio.current_time() - start <= WRITE + 1
        with pytest.raises(MuxedStreamReset):
            await stream.read()

    run(test)


def test_a_connection_that_is_given_up_does_not_wait_for_a_line_that_takes_nothing() -> None:
    async def test(_: trio.Nursery) -> None:
        start = trio.current_time()
        async with trio.open_nursery() as own:
            here, there, line, _ = await both(own)
            stream = await here.open_stream()
            await there.accept_stream()
            line.stalled = True

            async def write() -> None:
                with suppress(MuxedConnUnavailable):
                    await stream.write(b"x" * 20_000)

            own.start_soon(write)
            await trio.sleep(1)
            own.cancel_scope.cancel()
        assert trio.current_time() - start < 3

    run(test)


def test_a_conversation_is_the_golden_vectors() -> None:
    path = Path(__file__).parent.parent / "vectors" / "wire.json"
    said = {
        name: bytes.fromhex(one["hex"])
        for name, one in json.loads(path.read_text("utf-8"))["yamux"].items()
    }

    async def test(nursery: trio.Nursery) -> None:
        alone = Alone(nursery)
        assert await alone.hears(said["open"]) == said["acknowledge"]
        stream = await alone.muxed.accept_stream()
        assert await alone.hears(said["ping"]) == said["pong"]
        await alone.hears(said["data"])
        assert await stream.read() == b"hello"
        await stream.write(b"hello")
        assert alone.theirs.said() == said["data"]
        await alone.hears(frame(DATA, 0, 1, body=bytes(WINDOW // 2 - 5)))
        await stream.read()
        assert await alone.hears() == said["credit"]
        await stream.close()
        assert await alone.hears() == said["end"]
        await stream.reset()
        assert await alone.hears() == said["reset"]
        assert await alone.hears(said["reset"], said["end"]) == b"", "it is over"

    run(test)


# What strangers send.


def test_a_ping_is_answered_with_its_own_value_and_a_pong_is_not() -> None:
    async def test(nursery: trio.Nursery) -> None:
        alone = Alone(nursery)
        said = await alone.hears(frame(PING, SYN, 0, 77), frame(PING, ACK, 0, 5))
        assert said == frame(PING, ACK, 0, 77)

    run(test)


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"\x01" + frame(PING, SYN, 0)[1:], id="another version"),
        pytest.param(frame(GO_AWAY, 0, 0), id="it goes away"),
        pytest.param(frame(9, 0, 0), id="a kind that there is not"),
        pytest.param(frame(DATA, 16, 1), id="a flag that there is not"),
        pytest.param(frame(DATA, 0, 1, WINDOW + 1), id="a frame above any window"),
        pytest.param(frame(UPDATE, SYN, 2), id="a stream with an id of ours"),
        pytest.param(frame(UPDATE, SYN, 0), id="a stream with no id"),
        pytest.param(frame(UPDATE, SYN, 1) * 2, id="a stream that is open"),
        pytest.param(frame(PING, SYN, 0, 1) * (int(PINGS_AT_ONCE) + 1), id="pings on and on"),
        pytest.param(
            frame(UPDATE, SYN, 1) + frame(DATA, 0, 1, body=bytes(WINDOW)) + frame(DATA, 0, 1, 1),
            id="the promise of a byte beyond its window",
        ),
    ],
)
def test_what_breaks_the_protocol_ends_the_connection(sent: bytes) -> None:
    async def test(nursery: trio.Nursery) -> None:
        alone = Alone(nursery)
        await alone.hears(sent + b"\0")
        assert alone.ended.is_set() and not alone.budget.total

    run(test)


def test_pings_at_a_rate_that_others_use_go_on() -> None:
    async def test(nursery: trio.Nursery) -> None:
        alone = Alone(nursery)
        for number in range(1, 500):
            assert await alone.hears(frame(PING, SYN, 0, number)) == frame(PING, ACK, 0, number)
            await trio.sleep(1)

    run(test)


def test_a_frame_bomb_is_refused_by_its_header() -> None:
    async def test(nursery: trio.Nursery) -> None:
        alone = Alone(nursery)
        await alone.hears(frame(DATA, 0, 1, 0xFFFF_FFFF))
        assert alone.ended.is_set()

    run(test)


def test_bytes_for_a_stream_that_is_gone_are_dropped() -> None:
    async def test(nursery: trio.Nursery) -> None:
        alone = Alone(nursery)
        stream = await alone.accepted(1)
        await stream.reset()
        said = await alone.hears(*(frame(DATA, 0, 1, body=bytes(WINDOW)) for _ in range(50)))
        assert said.endswith(frame(UPDATE, RST, 1)) and not alone.ended.is_set()
        assert alone.budget.total == 0

    run(test)


def test_streams_that_nobody_accepts_are_reset() -> None:
    async def test(nursery: trio.Nursery) -> None:
        alone = Alone(nursery)
        said = await alone.hears(*(frame(UPDATE, SYN, 2 * n + 1) for n in range(PENDING + 3)))
        assert said.count(frame(UPDATE, ACK, 1)) == 1
        late = [frame(UPDATE, RST, 2 * n + 1) for n in range(PENDING, PENDING + 3)]
        assert said.endswith(b"".join(late))

    run(test)


def test_who_reads_no_answers_is_not_answered_for_ever() -> None:
    async def test(nursery: trio.Nursery) -> None:
        alone = Alone(nursery)
        alone.line.stalled = True
        syn = b"".join(frame(UPDATE, SYN, 2 * n + 1) for n in range(UNSENT // HEADER.size + 2))
        alone.line.feed(syn)
        await trio.sleep(0.5)
        assert alone.ended.is_set()

    run(test)


def test_frames_on_and_on_are_read_at_a_pace() -> None:
    count = int(FRAMES_AT_ONCE + 3 * FRAMES)
    empty = frame(DATA, 0, 1) * 1000

    async def test(nursery: trio.Nursery) -> None:
        alone = Alone(nursery)
        start = trio.current_time()
        for _ in range(count // 1000):
            alone.line.feed(empty)
        await alone.hears()
        while alone.line.taken < count * HEADER.size:  # noqa: ASYNC110 - in virtual time
            await trio.sleep(0.1)
        assert 2.8 <= trio.current_time() - start <= 3.2

    run(test)


def test_when_too_much_is_unread_the_connection_that_holds_most_ends() -> None:
    async def test(nursery: trio.Nursery) -> None:
        budget = MemoryBudget(limit=2 * WINDOW)
        greedy, modest = Alone(nursery, budget), Alone(nursery, budget)
        kept = await modest.accepted(1)
        await modest.hears(frame(DATA, 0, 1, body=b"kept"))
        for number in (1, 3):
            await greedy.accepted(number)
            await greedy.hears(frame(DATA, 0, number, body=bytes(WINDOW)))
        assert greedy.ended.is_set() and not modest.ended.is_set()
        assert budget.total == 4
        assert await kept.read() == b"kept" and budget.total == 0

    run(test)


def test_what_is_reset_unread_is_no_longer_held() -> None:
    async def test(nursery: trio.Nursery) -> None:
        alone = Alone(nursery)
        stream = await alone.accepted(1)
        await alone.hears(frame(DATA, 0, 1, body=bytes(1000)), frame(UPDATE, RST, 1))
        assert alone.budget.total == 1000
        await stream.reset()
        assert alone.budget.total == 0

    run(test)


# Any bytes, cut anywhere.

FLAGS = st.sampled_from([0, SYN, ACK, FIN, RST, SYN | FIN, ACK | FIN])
IDS = st.sampled_from([0, 1, 2, 3, 5])
PROPER = st.one_of(
    st.builds(lambda flags, n, body: frame(DATA, flags, n, body=body), FLAGS, IDS, st.binary()),
    st.builds(lambda flags, n, size: frame(UPDATE, flags, n, size), FLAGS, IDS, st.integers(0, 99)),
    st.builds(lambda flags, n: frame(PING, flags, 0, n), FLAGS, st.integers(0, 99)),
)


async def outcome(nursery: trio.Nursery, parts: list[bytes]) -> tuple[Any, ...]:
    alone = Alone(nursery)
    said = await alone.hears(*(part for part in parts if part))
    return said, alone.ended.is_set(), alone.budget.total


@given(frames=st.lists(PROPER, max_size=12), cuts=st.lists(st.integers(0, 400), max_size=6))
@settings(max_examples=60, deadline=None)
def test_how_bytes_are_cut_changes_nothing(frames: list[bytes], cuts: list[int]) -> None:
    whole = b"".join(frames)
    at = sorted({0, len(whole), *(cut for cut in cuts if cut < len(whole))})
    parts = [whole[start:end] for start, end in pairwise(at)]

    async def test(nursery: trio.Nursery) -> None:
        said, ended, held = await outcome(nursery, [whole])
        again, also_ended, also_held = await outcome(nursery, parts)
        assert (ended, held) == (also_ended, also_held)
        if not ended:
            assert again == said

    run(test)


@given(data=st.one_of(st.binary(max_size=300), st.lists(PROPER, max_size=30).map(b"".join)))
@settings(max_examples=100, deadline=None)
def test_any_bytes_are_taken_or_end_the_connection_and_hold_no_more_than_they_are(
    data: bytes,
) -> None:
    async def test(nursery: trio.Nursery) -> None:
        _, ended, held = await outcome(nursery, [data])
        assert held <= len(data) and (not ended or held == 0)

    run(test)
