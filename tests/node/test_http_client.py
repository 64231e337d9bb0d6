"""The client of vault and providers, against servers that keep, cut and garble their answers."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import closing

import pytest

from ricochet_node.http_client import MAX_HEAD, BrokenAnswer, HttpClient, Unreachable

WHOLE = b"HTTP/1.1 200 OK\r\nContent-Type: application/json; x=y\r\nContent-Length: 2\r\n\r\n{}"
STREAM = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
)


class Server:
    """Answers each request with the next of `answers`; None hangs up."""

    def __init__(self, *answers: bytes | None) -> None:
        self.answers = list(answers)
        self.requests: list[bytes] = []
        self.connections = 0
        self.tasks: list[asyncio.Task[None]] = []
        self.ended = asyncio.Event()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self.tasks.append(task)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].split(b"\r")[0] or 0)
                self.requests.append(head + await reader.readexactly(length))
                answer = self.answers.pop(0)
                if answer is None:
                    break
                writer.write(answer)
                if b"Connection: close" in answer or b"Length" not in answer:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            self.ended.set()
        writer.close()


def run(server: Server, scenario: Callable[[HttpClient, str], Awaitable[None]]) -> None:
    async def inner() -> None:
        async with asyncio.timeout(10):
            async with await asyncio.start_server(server, "127.0.0.1", 0) as listening:
                port = listening.sockets[0].getsockname()[1]
                async with HttpClient() as client:
                    await scenario(client, f"http://127.0.0.1:{port}/base")
            await asyncio.gather(*server.tasks)

    asyncio.run(inner())


async def body(client: HttpClient, origin: str) -> tuple[int, str, bytes]:
    with closing(await client.send("POST", origin, "/x", {"A": "b"}, b"body")) as answer:
        parts = b""
        while data := await answer.read():
            parts += data
        return answer.status, answer.content_type, parts


def test_a_whole_answer_leaves_its_connection_for_the_next() -> None:
    server = Server(WHOLE, WHOLE)

    async def scenario(client: HttpClient, origin: str) -> None:
        for _ in range(2):
            assert await body(client, origin) == (200, "application/json", b"{}")
        assert server.connections == 1
        netloc = origin.removeprefix("http://").removesuffix("/base").encode()
        assert server.requests[0] == (
            b"POST /base/x HTTP/1.1\r\nHost: " + netloc + b"\r\nA: b\r\n"
            b"Content-Length: 4\r\n\r\nbody"
        )

    run(server, scenario)


@pytest.mark.parametrize(
    ("first", "kind"),
    [(STREAM, b"abcde"), (WHOLE.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"), b"{}")],
)
def test_after_a_stream_or_a_farewell_another_connection_is_made(first: bytes, kind: bytes) -> None:
    server = Server(first, WHOLE)

    async def scenario(client: HttpClient, origin: str) -> None:
        assert (await body(client, origin))[2] == kind
        await body(client, origin)
        assert server.connections == 2

    run(server, scenario)


def test_a_body_without_a_length_ends_with_its_connection() -> None:
    async def scenario(client: HttpClient, origin: str) -> None:
        assert (await body(client, origin))[2] == b"all of it"

    run(Server(b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\n\r\nall of it"), scenario)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\nshort",
        STREAM.removesuffix(b"0\r\n\r\n"),
        STREAM.replace(b"2\r\nde", b"zz\r\nde"),
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * MAX_HEAD + b"\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"",
        None,
    ],
)
def test_what_is_cut_or_no_http_is_broken(answer: bytes | None) -> None:
    async def scenario(client: HttpClient, origin: str) -> None:
        with pytest.raises(BrokenAnswer):
            await body(client, origin)

    run(Server(answer), scenario)


def test_nothing_is_sent_twice_when_a_kept_connection_fails() -> None:
    server = Server(WHOLE, None, WHOLE)

    async def scenario(client: HttpClient, origin: str) -> None:
        await body(client, origin)
        with pytest.raises(BrokenAnswer):
            await body(client, origin)
        assert len(server.requests) == 2
        await body(client, origin)
        assert server.connections == 2

    run(server, scenario)


def test_closing_before_the_end_hangs_up() -> None:
    server = Server(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nbegun")

    async def scenario(client: HttpClient, origin: str) -> None:
        answer = await client.send("POST", origin, "/x", {}, b"")
        assert await answer.read() == b"begun"
        answer.close()
        await server.ended.wait()

    run(server, scenario)


def test_a_slow_reader_holds_the_sender_back_and_loses_nothing() -> None:
    size = 3_000_000

    async def scenario(client: HttpClient, origin: str) -> None:
        with closing(await client.send("GET", origin, "/x", {})) as answer:
            await asyncio.sleep(0)
            received = 0
            while data := await answer.read():
                received += len(data)
        assert received == size

    head = f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode()
    run(Server(head + b"x" * size), scenario)


def test_no_connection_is_told_apart_and_no_header_becomes_two() -> None:
    async def scenario(client: HttpClient, origin: str) -> None:
        with pytest.raises(Unreachable):
            await client.send("GET", "http://127.0.0.1:9", "/", {})
        with pytest.raises(ValueError):
            await client.send("GET", origin, "/", {"A": "b\r\nC: d"})

    run(Server(), scenario)
