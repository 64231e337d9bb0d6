"""What is no HTTP at the doors of this machine: answered in their own shape, in no log, no harm."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st
from node_bench import OPERATOR

from ricochet_node.admin import FILE_NAME, Admin
from ricochet_node.door_tokens import DoorTokens
from ricochet_node.http_server import DEFECT, NO_HTTP
from ricochet_node.local_door import LocalDoor
from ricochet_node.metrics import Metrics
from ricochet_node.plain_server import PlainServer
from ricochet_protocol.ids import PeerId

SECRET = "hush-hush"
POST = "POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n"
NO_REQUESTS = {
    "no target": "GET\r\n\r\n",
    "another version": "GET /" + SECRET + " HTTP/9.9\r\n\r\n",
    "TLS": "\x16\x03\x01\x02\x00\x01\x00\x01" + "\x00" * 60,
    "zeros": "\x00" * 100 + "\r\n\r\n",
    "HTTP/2": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a header without a colon": "GET / HTTP/1.1\r\nAuthorization Bearer " + SECRET + "\r\n\r\n",
    "a blank in a name": "GET / HTTP/1.1\r\nHo st: " + SECRET + "\r\n\r\n",
    "an endless header": "GET / HTTP/1.1\r\nX: " + SECRET + "a" * 70_000 + "\r\n\r\n",
    "two hosts": "GET /v1/models HTTP/1.1\r\nHost: {host}\r\nHost: " + SECRET + "\r\n\r\n",
    "a bad address": "GET http://[" + SECRET + "/ HTTP/1.1\r\nHost: x\r\n\r\n",
    "bytes in a path": "GET /\xff\xfe" + SECRET + " HTTP/1.1\r\nHost: x\r\n\r\n",
    "a negative length": POST + "Content-Length: -1\r\n\r\n" + SECRET,
    "two lengths": POST + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n" + SECRET,
    "a chunk of no size": POST + "Transfer-Encoding: chunked\r\n\r\n" + SECRET + "\r\n",
    "gzip that is none": POST + "Content-Encoding: gzip\r\nContent-Length: 9\r\n\r\n" + SECRET,
}


async def say(place: str, said: bytes) -> tuple[int, bytes]:
    """Status and body of what comes back before the connection ends; 0 when nothing does."""
    host, port = place.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(said)
    try:
        async with asyncio.timeout(3):
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    except ConnectionError:
        return 0, b""
    finally:
        writer.close()
    return (int(head.split()[1]) if head else 0), body


@asynccontextmanager
async def door(home: Path) -> AsyncIterator[tuple[str, str]]:
    tokens = DoorTokens(home)

    nobody: Any = None  # nothing of this is a request, and asking it would be a defect
    local = LocalDoor(nobody, lambda: [], tokens, lambda: 0.0)
    async with local.opened("127.0.0.1", 0) as url:
        yield url.removeprefix("http://").removesuffix("/v1"), tokens.new("test", 0)


def test_no_http_at_the_local_door(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        async with door(tmp_path) as (place, token):
            for what, said in NO_REQUESTS.items():
                filled = said.replace("{host}", place).replace("{token}", token)
                status, body = await say(place, filled.encode("latin-1"))
                assert status == 400, what
                error = json.loads(body)["error"]
                assert (error["message"], error["type"]) == (NO_HTTP, "invalid_request_error"), what
            good = f"GET /v1/models HTTP/1.1\r\nHost: {place}\r\nAuthorization: Bearer {token}\r\n"
            assert (await say(place, f"{good}Connection: close\r\n\r\n".encode()))[0] == 200

    with caplog.at_level(logging.DEBUG):
        asyncio.run(scenario())
    assert SECRET not in caplog.text
    assert [record for record in caplog.records if record.levelno > logging.DEBUG] == []


class Owner:
    """Answers all that the admin API has; notes that it was asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.funds = self.claim = self.withdraw = self.settle = self._answer
        self.drain = self.resume = self.stop = self._answer

    async def _answer(self) -> dict[str, Any]:
        self.asked += 1
        return {}

    def status(self) -> dict[str, Any]:
        self.asked += 1
        return {}


PAGES = ("/status", "/funds", "/claim", "/withdraw", "/settle", "/drain", "/resume", "/stop")
TEXT = st.text(st.characters(min_codepoint=1, max_codepoint=255, exclude_characters="\r\n"))
REQUESTS = st.tuples(
    st.sampled_from(["GET", "POST", "PUT", "OPTIONS", "get", ""]) | TEXT,
    st.sampled_from([*PAGES, "/Status", "/stop/", "//stop", "/status/../stop", "*"]) | TEXT,
    st.sampled_from(["HTTP/1.1", "HTTP/1.0", "HTTP/3", ""]),
    st.lists(st.tuples(st.sampled_from(["Host", "Origin", "Content-Length"]) | TEXT, TEXT)),
    st.booleans(),
)


@settings(max_examples=25, derandomize=True, database=None, deadline=None)
@given(requests=st.lists(REQUESTS, max_size=8))
def test_whatever_is_said_to_the_admin_api_only_its_own_requests_do_anything(
    tmp_path_factory: pytest.TempPathFactory, requests: list[Any]
) -> None:
    home = tmp_path_factory.mktemp("home")

    async def scenario() -> None:
        owner = Owner()
        async with Admin(owner).running(home, PeerId("p"), OPERATOR, ()):
            run = json.loads((home / FILE_NAME).read_text())
            for method, path, version, headers, knows in requests:
                lines = [f"{method} {path} {version}", "Host: x", "Connection: close"]
                lines += [f"{name}: {value}" for name, value in headers]
                lines += [f"Authorization: Bearer {run['token']}"] * knows
                asked = owner.asked
                said = "\r\n".join([*lines, "", ""]).encode("latin-1")
                status, body = await say(run["url"].removeprefix("http://"), said)
                assert status in (0, 200, 400, 403, 404), (said, body)
                if status:
                    assert isinstance(json.loads(body), dict)
                assert (owner.asked > asked) is (status == 200)
                assert status != 200 or (knows and path in PAGES and method in ("GET", "POST"))
            good = f"GET /status HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {run['token']}\r\n"
            status, _ = await say(
                run["url"].removeprefix("http://"), f"{good}Connection: close\r\n\r\n".encode()
            )
            assert status == 200

    asyncio.run(scenario())


def test_a_defect_is_logged_without_what_was_said(caplog: pytest.LogCaptureFixture) -> None:
    async def fails(_: web.BaseRequest) -> web.StreamResponse:
        raise RuntimeError(SECRET)

    async def scenario() -> None:
        server = PlainServer(fails, lambda status, text: web.Response(status=status, text=text))
        runner = web.ServerRunner(server)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            place = f"127.0.0.1:{runner.addresses[0][1]}"
            assert await say(place, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n") == (500, DEFECT.encode())
        finally:
            await runner.cleanup()

    asyncio.run(scenario())
    (record,) = caplog.records
    assert "RuntimeError at " in record.getMessage() and Path(__file__).name in caplog.text
    assert SECRET not in caplog.text


def test_the_metrics_answer_only_what_asks_for_them() -> None:
    async def scenario() -> None:
        status = {"models": [], "keys": [], **dict.fromkeys(("earned", "unclaimed"), 0)}
        status |= dict.fromkeys(("open_calls", "peers_known", "peers_connected"), 0)
        async with Metrics(lambda: status).served("127.0.0.1", 0) as url:
            place = url.removeprefix("http://").removesuffix("/metrics")
            for line, wanted in (("GET /metrics HTTP/1.1", 200), ("GET / HTTP/1.1", 404)):
                said = f"{line}\r\nHost: x\r\nConnection: close\r\n\r\n"
                assert (await say(place, said.encode()))[0] == wanted
            assert await say(place, b"nothing\r\n\r\n") == (400, f"{NO_HTTP}\n".encode())

    asyncio.run(scenario())
