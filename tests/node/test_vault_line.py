"""The line between node and vault: its frames, who gets on it, and calls beside each other."""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from vault_bench import BODY, SECRET, TOKEN, USED, Bench, running, streamed

from ricochet_node import vault_door
from ricochet_node.http_client import BrokenAnswer, Patience, Unreachable
from ricochet_node.vault import REFUSAL
from ricochet_node.vault_frames import (
    MAX_HELLO,
    BadFrame,
    Begun,
    Call,
    Cut,
    Cutter,
    Data,
    End,
    FromVault,
    Hello,
    Hold,
    Leave,
    Resume,
    ToVault,
    Whole,
    encode,
)
from ricochet_node.vault_link import VaultLink

NUMBER = st.integers(0, 2**63 - 1)
HEADERS = st.dictionaries(st.text(max_size=10), st.text(max_size=10), max_size=3)
REQUESTS: st.SearchStrategy[Any] = st.one_of(
    st.builds(Hello, st.text(max_size=40)),
    st.builds(Call, NUMBER, st.text(max_size=40), st.binary(max_size=300)),
    st.builds(Leave, NUMBER),
    st.builds(Hold, NUMBER),
    st.builds(Resume, NUMBER),
)
ANSWERS: st.SearchStrategy[Any] = st.one_of(
    st.builds(Whole, NUMBER, st.integers(100, 599), HEADERS, st.binary(max_size=300)),
    st.builds(Begun, NUMBER, st.integers(100, 599), HEADERS),
    st.builds(Data, NUMBER, st.binary(max_size=300)),
    st.builds(End, NUMBER, st.binary(max_size=300)),
    st.builds(Cut, NUMBER),
)
PATH = "/k/chat/completions"
JSON = json.dumps(BODY).encode()
SOON = Patience(10, 10)


def fed(cutter: Cutter[Any], data: bytes, at: list[int]) -> list[Any]:
    """What comes of `data`, cut at those places that lie inside it."""
    edges = sorted({0, len(data), *(place for place in at if place < len(data))})
    pieces = [data[a:b] for a, b in pairwise(edges)]
    return [frame for piece in pieces for frame in cutter.feed_untrusted(piece)]


@given(
    st.lists(REQUESTS, max_size=8), st.lists(ANSWERS, max_size=8), st.lists(st.integers(0, 3000))
)
def test_frames_come_out_as_they_went_in_however_they_are_cut(
    asked: list[Any], answered: list[Any], at: list[int]
) -> None:
    assert fed(Cutter(ToVault), b"".join(map(encode, asked)), at) == asked
    assert fed(Cutter(FromVault), b"".join(map(encode, answered)), at) == answered


@given(st.lists(st.binary(max_size=80), max_size=6), st.sampled_from([ToVault, FromVault]))
def test_any_bytes_are_frames_or_none(pieces: list[bytes], kind: Any) -> None:
    cutter: Cutter[Any] = Cutter(kind, MAX_HELLO)
    try:
        for piece in pieces:
            for frame in cutter.feed_untrusted(piece):
                assert isinstance(frame, msgspec.Struct)
    except BadFrame:
        pass


@given(REQUESTS, ANSWERS)
def test_neither_side_takes_what_only_the_other_says(asked: Any, answered: Any) -> None:
    for kind, frame in ((FromVault, asked), (ToVault, answered)):
        with pytest.raises(BadFrame):
            fed(Cutter(kind), encode(frame), [])


def on_a_line(home: Path, scenario: Callable[[Bench, VaultLink], Awaitable[None]]) -> None:
    async def run() -> None:
        async with running(home) as it:
            link = VaultLink(it.vault.frames_port, TOKEN)
            try:
                await asyncio.wait_for(scenario(it, link), 20)
            finally:
                link.close()

    asyncio.run(run())


async def body_of(answer: Any) -> bytes:
    try:
        parts = []
        while data := await answer.read():
            parts.append(data)
        return b"".join(parts)
    finally:
        answer.close()


STRANGERS = {
    "a browser": b"GET /k/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "tls": bytes.fromhex("1603010200010001fc0303") + bytes(500),
    "another token": encode(Hello("token-of-another-boot")),
    "no text for a token": encode(Hello(TOKEN)).replace(TOKEN.encode(), b"\xff" * len(TOKEN)),
    "no hello": encode(Call(1, PATH, JSON)),
    "a short call": encode(Call(1, PATH, b"")),
    "a long hello": encode(Hello("t" * MAX_HELLO)),
    "a hello twice": encode(Hello(TOKEN)) * 2,
    "a number twice": encode(Hello(TOKEN)) + encode(Call(1, "/k", b"")) * 2,
}


@pytest.mark.parametrize("said", STRANGERS.values(), ids=STRANGERS)
def test_who_does_not_begin_with_the_token_hears_nothing(tmp_path: Path, said: bytes) -> None:
    async def scenario(it: Bench, _: VaultLink) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", it.vault.frames_port)
        writer.write(said)
        heard = b""
        with contextlib.suppress(ConnectionResetError):
            heard = await reader.read()
        writer.close()
        assert heard == b"" and it.provider.seen == []

    on_a_line(tmp_path, scenario)


def test_who_says_nothing_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vault_door, "HELLO_SECONDS", 0.05)

    async def scenario(it: Bench, _: VaultLink) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", it.vault.frames_port)
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        writer.close()

    on_a_line(tmp_path, scenario)


def test_a_node_with_another_token_gets_no_answer(tmp_path: Path) -> None:
    async def scenario(it: Bench, _: VaultLink) -> None:
        other = VaultLink(it.vault.frames_port, "token-of-another-boot")
        with pytest.raises(BrokenAnswer):
            await other.send(PATH, JSON, SOON)
        other.close()
        assert it.provider.seen == []

    on_a_line(tmp_path, scenario)


def test_a_call_on_the_line_is_checked_counted_and_audited_as_one_over_http(tmp_path: Path) -> None:
    async def scenario(it: Bench, link: VaultLink) -> None:
        it.provider.answer = streamed(USED)
        text = await body_of(await link.send(PATH, JSON, SOON))
        assert b"completion_tokens" in text and it.spent() == 19
        (request,) = it.provider.seen
        assert request.headers["Authorization"] == f"Bearer {SECRET}"
        assert len(it.audited()) == 1
        for target, changes in (
            ("/other/chat/completions", {}),
            ("/k/models/../x", {}),
            ("/k/chat/completions?x=1", {}),
            (PATH, {"model": "dear"}),
            (PATH, {"max_tokens": -1}),
        ):
            body = {**BODY, **changes}
            answer = await link.send(target, json.dumps(body).encode(), SOON)
            found = answer.status, answer.headers.get(REFUSAL.lower())
            answer.close()
            assert found == await it.call(target, body) and found[1], target
        assert len(it.provider.seen) == 1

    on_a_line(tmp_path, scenario)


def test_calls_beside_each_other_get_their_own_answers_and_one_that_leaves_is_ended(
    tmp_path: Path,
) -> None:
    ended = asyncio.Event()

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        asked = json.loads(await request.read())["max_tokens"]
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"data: %d\n\n" % asked)
        if asked == 1:
            try:
                await asyncio.sleep(15)
            finally:
                ended.set()
        await response.write_eof()
        return response

    async def scenario(it: Bench, link: VaultLink) -> None:
        it.provider.answer = answer

        def body(number: int) -> bytes:
            return json.dumps({**BODY, "max_tokens": number}).encode()

        left = await link.send(PATH, body(1), SOON)
        assert await left.read() == b"data: 1\n\n"
        answers = [link.send(PATH, body(number), SOON) for number in range(2, 12)]
        texts = [await body_of(one) for one in await asyncio.gather(*answers)]
        assert texts == [b"data: %d\n\n" % number for number in range(2, 12)]
        left.close()
        await ended.wait()

    on_a_line(tmp_path, scenario)


def test_a_slow_reader_holds_back_his_own_call_only(tmp_path: Path) -> None:
    size = 8 * 1024 * 1024
    sent = 0

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        if json.loads(await request.read())["max_tokens"] == 1:
            for _ in range(size // 65536):
                await response.write(b":" + b"x" * 65534 + b"\n")
                sent += 65536
        await response.write_eof()
        return response

    async def scenario(it: Bench, link: VaultLink) -> None:
        it.provider.answer = answer
        slow = await link.send(PATH, json.dumps({**BODY, "max_tokens": 1}).encode(), SOON)
        for _ in range(20):
            assert await body_of(await link.send(PATH, JSON, SOON)) == b""
        assert sent < size
        assert len(await body_of(slow)) == size == sent

    on_a_line(tmp_path, scenario)


def test_a_line_that_ends_breaks_its_answers_and_the_next_call_has_a_new_one(
    tmp_path: Path,
) -> None:
    async def scenario(it: Bench, link: VaultLink) -> None:
        it.provider.answer = streamed(USED)
        assert await body_of(await link.send(PATH, JSON, SOON))
        link.close()
        assert await body_of(await link.send(PATH, JSON, SOON))
        gone = VaultLink(9, TOKEN)
        with pytest.raises(Unreachable):
            await gone.send(PATH, JSON, SOON)

    on_a_line(tmp_path, scenario)


def test_patience_with_an_answer_ends(tmp_path: Path) -> None:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        await asyncio.sleep(15)
        return web.Response()

    async def scenario(it: Bench, link: VaultLink) -> None:
        it.provider.answer = answer
        with pytest.raises(TimeoutError):
            await link.send(PATH, JSON, Patience(0.05, 0.05))

    on_a_line(tmp_path, scenario)
