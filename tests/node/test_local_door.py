"""The owner's local door, used by real clients: answers, streams, errors, and who stays outside."""

import asyncio
import io
import json
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import httpx
import openai
import pytest

from ricochet_node.door_tokens import FILE_NAME, DoorTokens
from ricochet_node.local_door import LocalDoor
from ricochet_node.own_calls import Ended
from ricochet_protocol.advert import ModelOffer
from ricochet_protocol.answer import Answer, AnswerParts
from ricochet_protocol.chat_request import ChatRequest
from ricochet_protocol.conversation import ToolCall
from ricochet_protocol.errors import ConfigurationError, RemoteCode, RemoteFault, UsageError
from ricochet_protocol.ids import ModelId
from ricochet_protocol.messages import Ask, CallPiece, Chunk
from ricochet_protocol.money import PricePerMillion

OFFER = ModelOffer(
    id=ModelId("small"),
    context=1000,
    price_in=PricePerMillion(0),
    price_out=PricePerMillion(0),
    slots=1,
)


@dataclass
class Pool:
    """Stands for the node behind the door."""

    asks: list[Ask] = field(default_factory=list)
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    stall: bool = False

    async def room(self, wanted: ChatRequest) -> int:
        return 100

    async def whole(self, ask: Ask) -> tuple[Answer, Ended]:
        parts = AnswerParts(ask)
        async for piece in self.stream(ask):
            if isinstance(piece, Ended):
                return parts.whole_untrusted(), piece
            parts.add_untrusted(piece)
        raise AssertionError

    async def stream(self, ask: Ask) -> AsyncGenerator[Chunk | CallPiece | Ended, None]:
        self.asks.append(ask)
        try:
            if ask.model != OFFER.id:
                raise RemoteFault(RemoteCode.NO_MODEL, "the node does not offer this model")
            if ask.tools:
                yield CallPiece(index=0, id="c1", name="look", arguments='{"at":')
                yield CallPiece(index=0, id="", name="", arguments='"it"}')
                yield Ended("tool_calls", 11, 2)
                return
            if ask.turns[-1].content == "silence":
                yield Ended("stop", 11, 0)
                return
            yield Chunk("Hello")
            if self.stall:
                await asyncio.Event().wait()
            if ask.turns[-1].content == "break":
                raise RemoteFault(RemoteCode.UPSTREAM, "an answer that breaks off")
            yield Chunk(" there")
            yield Ended("stop", 11, 2)
        finally:
            self.closed.set()


@dataclass
class Opened:
    pool: Pool
    url: str
    token: str
    client: openai.AsyncOpenAI


@asynccontextmanager
async def door(home: Path, **limits: float) -> AsyncIterator[Opened]:
    tokens = DoorTokens(home)
    token = tokens.new("test", 0)
    pool = Pool()
    local = LocalDoor(pool, lambda: [OFFER], tokens, lambda: 5.0, **limits)
    async with local.opened("127.0.0.1", 0) as url:
        client = openai.AsyncOpenAI(base_url=url, api_key=token, max_retries=0, timeout=20)
        async with client:
            yield Opened(pool, url, token, client)


def run(home: Path, scenario: Callable[[Opened], Awaitable[None]]) -> None:
    async def inner() -> None:
        async with asyncio.timeout(30), door(home) as opened:
            await scenario(opened)

    asyncio.run(inner())


HI = [{"role": "user", "content": "hi"}]
LOOK = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]


def test_a_whole_answer(tmp_path: Path) -> None:
    async def scenario(opened: Opened) -> None:
        answer = await opened.client.chat.completions.create(model="small", messages=HI, seed=3)  # type: ignore[call-overload]
        assert answer.choices[0].message.content == "Hello there"
        assert answer.choices[0].finish_reason == "stop"
        assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (11, 2)
        (ask,) = opened.pool.asks
        assert (ask.seed, ask.max_tokens, ask.temperature) == (3, 100, 1.0)
        assert ask.allow_logging, "the owner's own: his setting decides"

    run(tmp_path, scenario)


def test_a_stream_with_usage(tmp_path: Path) -> None:
    async def scenario(opened: Opened) -> None:
        stream = await opened.client.chat.completions.create(  # type: ignore[call-overload]
            model="small",
            messages=HI,
            max_tokens=7,
            stream=True,
            stream_options={"include_usage": True},
        )
        parts = [part async for part in stream]
        text = "".join(part.choices[0].delta.content or "" for part in parts if part.choices)
        assert text == "Hello there"
        assert parts[-1].usage.total_tokens == 13
        assert parts[-2].choices[0].finish_reason == "stop"
        assert opened.pool.asks[0].max_tokens == 7

    run(tmp_path, scenario)


def test_a_stream_without_a_word_is_one_all_the_same(tmp_path: Path) -> None:
    async def scenario(opened: Opened) -> None:
        silence = [{"role": "user", "content": "silence"}]
        stream = await opened.client.chat.completions.create(  # type: ignore[call-overload]
            model="small", messages=silence, stream=True
        )
        first, last = [part.choices[0] async for part in stream]
        assert (first.delta.role, last.finish_reason) == ("assistant", "stop")

    run(tmp_path, scenario)


@pytest.mark.parametrize("streamed", [False, True])
def test_calls_of_functions(tmp_path: Path, streamed: bool) -> None:
    async def scenario(opened: Opened) -> None:
        create = opened.client.chat.completions.create
        if streamed:
            stream = await create(model="small", messages=HI, tools=LOOK, stream=True)  # type: ignore[call-overload]
            deltas = [part.choices[0].delta async for part in stream]
            calls = [call for delta in deltas for call in delta.tool_calls or ()]
            assert (calls[0].id, calls[0].function.name) == ("c1", "look")
            assert "".join(call.function.arguments for call in calls) == '{"at":"it"}'
            return
        answer = await create(model="small", messages=HI, tools=LOOK)  # type: ignore[call-overload]
        assert answer.choices[0].finish_reason == "tool_calls"
        (call,) = answer.choices[0].message.tool_calls
        assert (call.id, call.function.arguments) == ("c1", '{"at":"it"}')
        # A client sends the whole message back, with what the function returned.
        said = answer.choices[0].message.model_dump()
        result = {"role": "tool", "tool_call_id": "c1", "content": "a cat"}
        await create(model="small", messages=[*HI, said, result])  # type: ignore[call-overload]
        assert opened.pool.asks[-1].turns[1].tool_calls == (ToolCall("c1", "look", '{"at":"it"}'),)

    run(tmp_path, scenario)


def test_json_mode_reaches_the_ask(tmp_path: Path) -> None:
    async def scenario(opened: Opened) -> None:
        await opened.client.chat.completions.create(  # type: ignore[call-overload]
            model="small", messages=HI, response_format={"type": "json_object"}
        )
        assert opened.pool.asks[0].response_format.kind == "json_object"

    run(tmp_path, scenario)


def test_the_models(tmp_path: Path) -> None:
    async def scenario(opened: Opened) -> None:
        assert [model.id async for model in opened.client.models.list()] == ["small"]

    run(tmp_path, scenario)


def test_errors_are_those_that_clients_know(tmp_path: Path) -> None:
    async def scenario(opened: Opened) -> None:
        create = opened.client.chat.completions.create
        with pytest.raises(openai.NotFoundError) as unknown:
            await create(model="large", messages=HI)  # type: ignore[arg-type]
        assert unknown.value.code == "model_not_found"
        with pytest.raises(openai.BadRequestError) as twice:
            await create(model="small", messages=HI, n=2)  # type: ignore[arg-type]
        assert twice.value.param == "n"
        stranger = opened.client.with_options(api_key="rcht-guess")
        with pytest.raises(openai.AuthenticationError, match="node token new"):
            await stranger.models.list()
        with pytest.raises(openai.APIStatusError) as broken:
            await create(model="small", messages=[{"role": "user", "content": "break"}])
        assert broken.value.status_code == 502
        stream = await create(
            model="small", messages=[{"role": "user", "content": "break"}], stream=True
        )
        with pytest.raises(openai.APIError, match="breaks off"):
            async for _ in stream:
                pass

    run(tmp_path, scenario)


def test_a_client_that_leaves_ends_the_call(tmp_path: Path) -> None:
    async def scenario(opened: Opened) -> None:
        opened.pool.stall = True
        stream = await opened.client.chat.completions.create(  # type: ignore[call-overload]
            model="small", messages=HI, stream=True
        )
        async for part in stream:
            if part.choices[0].delta.content:
                break
        await stream.close()
        await opened.pool.closed.wait()

    run(tmp_path, scenario)


def test_pages_strangers_and_other_paths_stay_outside(tmp_path: Path) -> None:
    async def scenario(opened: Opened) -> None:
        good = {"Authorization": f"Bearer {opened.token}"}
        tries = [
            ({**good, "Origin": "https://evil.example"}, "GET", "/models", 403),
            ({**good, "Host": "evil.example"}, "GET", "/models", 403),
            ({}, "GET", "/models", 401),
            ({"Authorization": f"Basic {opened.token}"}, "GET", "/models", 401),
            (good, "POST", "/models", 405),
            (good, "GET", "/chat/completions", 405),
            (good, "GET", "/files", 404),
            (good, "GET", "/models", 200),
        ]
        async with aiohttp.ClientSession() as client:
            for headers, method, path, status in tries:
                async with client.request(method, opened.url + path, headers=headers) as reply:
                    assert reply.status == status, (headers, method, path)
                    body = await reply.json()
                    assert status == 200 or body["error"]["message"]
        assert opened.pool.asks == []

    run(tmp_path, scenario)


def test_a_body_without_end_is_refused(tmp_path: Path) -> None:
    async def scenario(opened: Opened) -> None:
        good = {"Authorization": f"Bearer {opened.token}"}
        async with (
            aiohttp.ClientSession(headers=good) as client,
            client.post(
                f"{opened.url}/chat/completions", data=io.BytesIO(b" " * (5 * 1024 * 1024))
            ) as reply,
        ):
            assert reply.status == 400
            assert "bytes" in (await reply.json())["error"]["message"]

    run(tmp_path, scenario)


def test_a_client_who_sends_slowly_is_not_waited_for_and_hinders_nobody(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with asyncio.timeout(30), door(tmp_path, read_seconds=0.3) as opened:
            place = opened.url.removeprefix("http://").removesuffix("/v1")
            host, port = place.split(":")
            head = (
                f"POST /v1/chat/completions HTTP/1.1\r\nHost: {place}\r\n"
                f"Authorization: Bearer {opened.token}\r\nContent-Length: 100\r\n\r\n{{"
            )
            slow = [await asyncio.open_connection(host, int(port)) for _ in range(20)]
            for index, (_, writer) in enumerate(slow):
                # Half of them do not even end their head.
                writer.write(head.encode() if index % 2 else head.encode()[:40])
            answer = await opened.client.chat.completions.create(model="small", messages=HI)  # type: ignore[call-overload]
            assert answer.choices[0].message.content == "Hello there"
            for reader, _ in slow[1::2]:
                assert (await reader.readline()).startswith(b"HTTP/1.1 408")
            for _, writer in slow:
                writer.close()
            assert len(opened.pool.asks) == 1

    asyncio.run(scenario())


def test_a_client_who_does_not_read_is_cut_off(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with asyncio.timeout(30), door(tmp_path, most_seconds=0.5) as opened:
            opened.pool.stall = True
            with pytest.raises(httpx.RemoteProtocolError):
                stream = await opened.client.chat.completions.create(  # type: ignore[call-overload]
                    model="small", messages=HI, stream=True
                )
                async for _ in stream:
                    pass
            await opened.pool.closed.wait()

    asyncio.run(scenario())


def test_a_revoked_token_opens_nothing_at_once(tmp_path: Path) -> None:
    async def scenario(opened: Opened) -> None:
        await opened.client.models.list()
        DoorTokens(tmp_path).revoke("test")
        with pytest.raises(openai.AuthenticationError):
            await opened.client.models.list()

    run(tmp_path, scenario)


def test_tokens_are_kept_as_hashes(tmp_path: Path) -> None:
    tokens = DoorTokens(tmp_path)
    made = [tokens.new(name, 7) for name in ("a", "b")]
    stored = (tmp_path / FILE_NAME).read_text()
    assert not any(token in stored for token in made)
    assert (tmp_path / FILE_NAME).stat().st_mode & 0o777 == 0o600
    assert tokens.list() == (("a", 7), ("b", 7))
    assert tokens.opens(made[1]) and not tokens.opens(made[1][:-1]) and not tokens.opens("")
    for name in ("a", "", "a b", "x" * 33):
        with pytest.raises(UsageError):
            tokens.new(name, 7)
    with pytest.raises(UsageError, match="no token"):
        tokens.revoke("c")


def test_a_damaged_token_file_is_told(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text("[{]")
    (tmp_path / FILE_NAME).chmod(0o600)
    with pytest.raises(ConfigurationError, match="damaged"):
        DoorTokens(tmp_path).opens("x")


_ANTHROPIC_STYLE = """
import asyncio, json, os, sys
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
import litellm
async def main():
    wanted = dict(
        model="hosted_vllm/small", max_tokens=50,
        api_base=sys.argv[1], api_key=sys.stdin.readline().strip(),
        messages=[{"role": "user", "content": "hi"}],
    )
    answer = await litellm.anthropic.messages.acreate(**wanted)
    print(json.dumps(answer, default=str))
    stream = await litellm.anthropic.messages.acreate(**wanted, stream=True)
    print(json.dumps(b"".join([part async for part in stream]).decode()))
asyncio.run(main())
"""


@pytest.mark.deep
def test_anthropics_messages_through_litellm(tmp_path: Path) -> None:
    async def scenario(opened: Opened) -> None:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-W", "ignore", "-c", _ANTHROPIC_STYLE, opened.url),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        out, err = await process.communicate(opened.token.encode() + b"\n")
        assert process.returncode == 0, err.decode()[-2000:]
        answer, streamed = (json.loads(line) for line in out.splitlines()[-2:])
        assert answer["content"][0]["text"] == "Hello there"
        assert answer["usage"]["output_tokens"] == 2
        lines = [line for line in streamed.splitlines() if line.startswith("data: ")]
        events = [json.loads(line.removeprefix("data: ")) for line in lines]
        deltas = [one["delta"] for one in events if one["type"] == "content_block_delta"]
        assert "".join(delta.get("text", "") for delta in deltas) == "Hello there"
        assert events[0]["type"] == "message_start" and events[-1]["type"] == "message_stop"
        (end,) = [one for one in events if one["type"] == "message_delta"]
        assert end["delta"]["stop_reason"] == "end_turn"
        assert end["usage"]["output_tokens"] == 2

    run(tmp_path, scenario)
