"""The server under both doors, spoken to in bytes: order, bounds, and how a connection ends."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from ricochet_node import http_server
from ricochet_node.http_request import Request
from ricochet_node.http_server import serving


@dataclass
class Bench:
    """A handler that answers by path, and what it has seen."""

    port: int = 0
    seconds: float = 20
    seen: list[tuple[str, str, bytes]] = field(default_factory=list)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, request: Request) -> None:
        body = b""
        if request.path == "/wait":
            self.waiting.set()
            try:
                await asyncio.Event().wait()
            finally:
                self.cancelled.set()
        if request.path == "/broken":
            raise ValueError("a defect")
        while request.path != "/unread" and (data := await request.read()):
            body += data
        self.seen.append((request.method, request.target, body))
        if request.path == "/stream":
            stream = request.begin(200, {"Content-Type": "text/plain"})
            await stream.write(b"one")
            stream.end(b"two")
            return
        request.answer(200, request.target.encode(), {"Content-Type": "text/plain"})

    async def send(self, data: bytes) -> bytes:
        """All that is answered to these bytes until the server closes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(data)
        answer = await reader.read()
        writer.close()
        return answer


def run(scenario: Callable[[Bench], Awaitable[None]], seconds: float = 20) -> None:
    async def inner() -> None:
        it = Bench(seconds=seconds)
        async with asyncio.timeout(20), serving(it.handle, "127.0.0.1", 0, it.seconds) as port:
            it.port = port
            await scenario(it)

    asyncio.run(inner())


def get(path: str, *headers: str, version: str = "1.1") -> bytes:
    return "\r\n".join((f"GET {path} HTTP/{version}", "Host: x", *headers, "", "")).encode()


LAST = "Connection: close"


def test_requests_that_come_ahead_are_answered_in_their_order() -> None:
    async def scenario(it: Bench) -> None:
        post = b"POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
        answer = await it.send(get("/a") + post + get("/c?q", LAST))
        assert it.seen == [("GET", "/a", b""), ("POST", "/b", b"abc"), ("GET", "/c?q", b"")]
        assert answer.index(b"/a") < answer.index(b"/b") < answer.index(b"/c?q")
        too_many = await it.send(get("/wait") + get("/a") * 40)
        assert too_many == b"", "what is being answered is cut, not mixed up"

    run(scenario)


def test_a_stream_has_chunks_or_for_old_clients_ends_with_its_connection() -> None:
    async def scenario(it: Bench) -> None:
        assert (await it.send(get("/stream", LAST))).endswith(
            b"\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"
        )
        old = await it.send(get("/stream", version="1.0"))
        assert old.endswith(b"\r\n\r\nonetwo") and b"chunked" not in old

    run(scenario)


def test_what_is_no_request_is_told_so_and_a_defect_tells_nothing() -> None:
    async def scenario(it: Bench) -> None:
        told: list[str] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: told.append(str(context)))
        broken = b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        for data, status in (
            (broken + b"no size\r\n", b"400"),
            (b"\x16\x03\x01 hello\r\n\r\n", b"400"),
            (b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n", b"400"),
            (get("/a", "Content-Length: 1", "Transfer-Encoding: chunked"), b"400"),
            (get("/a", "X: " + "y" * http_server.MAX_HEAD), b"400"),
            (get("/a")[:-2] + b"X: " + b"y" * http_server.MAX_HEAD * 2, b"431"),
            (get("/broken"), b"500"),
        ):
            answer = await it.send(data)
            assert answer.split()[1] == status, data[:60]
            assert b"defect" not in answer
        assert it.seen == []
        (defect,) = told
        assert "ValueError at " in defect and __file__ in defect and "a defect" not in defect
        offered = await it.send(get("/a", "Connection: Upgrade", "Upgrade: h2c"))
        assert offered.startswith(b"HTTP/1.1 200"), "an offer may be left alone"

    run(scenario)


def test_a_client_that_hangs_up_ends_its_handler() -> None:
    async def scenario(it: Bench) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", it.port)
        writer.write(get("/wait"))
        await it.waiting.wait()
        writer.close()
        await it.cancelled.wait()

    run(scenario)


def test_a_body_that_waits_for_leave_gets_it_and_one_not_wanted_ends_the_connection() -> None:
    async def scenario(it: Bench) -> None:
        head = b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
        reader, writer = await asyncio.open_connection("127.0.0.1", it.port)
        writer.write(head % b"/a")
        assert await reader.readline() == b"HTTP/1.1 100 Continue\r\n"
        writer.write(b"abc")
        await reader.readuntil(b"/a")
        assert it.seen == [("POST", "/a", b"abc")]
        writer.close()
        refused = await it.send(head % b"/unread")
        assert refused.startswith(b"HTTP/1.1 200") and b"Connection: close" in refused

    run(scenario)


def test_an_answer_that_takes_too_long_is_cut() -> None:
    async def scenario(it: Bench) -> None:
        assert await it.send(get("/wait")) == b""
        await it.cancelled.wait()

    run(scenario, seconds=0.05)


def test_a_head_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "HEAD_SECONDS", 0.05)

    async def scenario(it: Bench) -> None:
        assert await it.send(get("/a")[:20]) == b""
        assert b" 200 " in await it.send(get("/a")), "a kept connection ends the same way"

    run(scenario)
