"""Quick streams read in gulps: who rests and who never does, and that nothing is lost by it."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import closing
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ricochet_node import gulps
from ricochet_node.gulps import GULP_SECONDS, LARGE, QUICK_SECONDS, Gulps, Pace
from ricochet_node.http_client import Answer, BrokenAnswer, HttpClient

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\nTransfer-Encoding: chunked\r\n\r\n"
STREAM = HEAD % b"text/event-stream"
SECONDS = 0.2
"""Of a rest in these tests: long beside any delay of a busy machine."""


def rests(gaps: list[float], size: int = 100) -> list[bool]:
    pace, now, told = Pace(), 100.0, []
    for gap in gaps:
        now += gap
        told.append(pace.heard(size, now))
    return told


def test_a_stream_rests_after_four_quick_reads() -> None:
    assert rests([1.0] + [QUICK_SECONDS / 2] * 5) == [False] * 4 + [True, True]


@given(st.lists(st.floats(min_value=QUICK_SECONDS * 1.001, max_value=10)))
def test_a_slow_stream_never_rests(gaps: list[float]) -> None:
    assert not any(rests(gaps))


@given(st.lists(st.floats(min_value=0, max_value=1), max_size=4))
def test_nor_does_the_beginning_of_any(gaps: list[float]) -> None:
    assert not any(rests(gaps))


def test_nor_what_comes_in_large_reads() -> None:
    assert not any(rests([0.0] * 20, size=LARGE))


def test_the_time_of_a_rest_is_no_pause_of_the_stream() -> None:
    pace = Pace()
    for _ in range(5):
        pace.heard(1, 0.0)
    pace.rested(GULP_SECONDS)
    assert pace.heard(1, GULP_SECONDS + QUICK_SECONDS / 2)


class Sleeper:
    def __init__(self) -> None:
        self.resting = False
        self.woken = asyncio.Event()

    def rest(self) -> None:
        self.resting = True

    def wake_up(self) -> None:
        self.resting = False
        self.woken.set()


def test_one_timer_wakes_all_and_closing_wakes_them_at_once() -> None:
    async def scenario() -> None:
        all_of_them = Gulps()
        first, second = Sleeper(), Sleeper()
        all_of_them.rest(first)
        all_of_them.rest(second)
        assert first.resting and second.resting
        async with asyncio.timeout(5):
            await first.woken.wait()
        assert not second.resting
        all_of_them.rest(first)
        all_of_them.close()
        assert not first.resting

    asyncio.run(scenario())


class Sender(NamedTuple):
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def send(self, data: bytes) -> None:
        self.writer.write(b"%x\r\n%b\r\n" % (len(data), data))


Client = Callable[[Answer, Sender], Awaitable[None]]


@pytest.fixture
def streamed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Runs a client beside the sending side of a stream that has just begun to rest."""
    monkeypatch.setattr(gulps, "GULP_SECONDS", SECONDS)
    monkeypatch.setattr(gulps, "QUICK_SECONDS", SECONDS)

    async def inner(client: Client, began: bytes) -> None:
        sending: asyncio.Future[Sender] = asyncio.get_running_loop().create_future()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(began)
            sending.set_result(Sender(reader, writer))

        async with (
            asyncio.timeout(10),
            await asyncio.start_server(serve, "127.0.0.1", 0) as listening,
            HttpClient() as http,
        ):
            port = listening.sockets[0].getsockname()[1]
            answer = await http.send("GET", f"http://127.0.0.1:{port}", "/", {})
            with closing(answer):
                sender = await sending
                for _ in range(gulps._QUICK):
                    sender.send(b"x")
                    assert await answer.read() == b"x"
                await client(answer, sender)
            sender.writer.close()

    def run(client: Client, began: bytes = STREAM) -> None:
        asyncio.run(inner(client, began))

    return run


def test_pieces_of_a_quick_stream_come_together_and_whole(streamed: Callable[..., None]) -> None:
    async def client(answer: Answer, sender: Sender) -> None:
        began = asyncio.get_running_loop().time()
        for letter in b"abcdef":
            sender.send(bytes([letter]))
            await sender.writer.drain()
        assert await answer.read() == b"abcdef"
        assert asyncio.get_running_loop().time() - began > SECONDS / 2
        sender.writer.write(b"0\r\n\r\n")
        assert await answer.read() == b""

    streamed(client)


def test_a_stream_that_is_cut_while_it_rests_is_broken(streamed: Callable[..., None]) -> None:
    async def client(answer: Answer, sender: Sender) -> None:
        sender.send(b"rest")
        sender.writer.close()
        assert await answer.read() == b"rest"
        with pytest.raises(BrokenAnswer):
            await answer.read()

    streamed(client)


def test_who_leaves_while_it_rests_hangs_up_at_once(streamed: Callable[..., None]) -> None:
    async def client(answer: Answer, sender: Sender) -> None:
        answer.close()
        assert await sender.reader.read() == b""

    streamed(client)


def test_a_whole_answer_never_rests(
    streamed: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    rested: list[object] = []
    monkeypatch.setattr(Gulps, "rest", lambda _, stream: rested.append(stream))

    async def client(answer: Answer, sender: Sender) -> None:
        for _ in range(8):
            sender.send(b"y")
            assert await answer.read() == b"y"
        assert bool(rested) is (answer.content_type == "text/event-stream")

    streamed(client, HEAD % b"application/json")
    streamed(client)
