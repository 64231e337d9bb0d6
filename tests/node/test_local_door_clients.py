"""OpenAI's own client at the local door of a real node: what reaches the provider, what comes back.

The node is real, from the door to the provider's double; the client is the `openai` package.
"""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from node_bench import MODEL, Bench, config, offer, running

from ricochet_node.door_tokens import DoorTokens
from ricochet_node.local_door import LocalDoor

FEATURES = ("json_object", "json_schema", "seed", "stop", "tools", "top_p")
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Knows no authority: reading all of them costs more than a test."""
HI: Any = [{"role": "user", "content": "hi"}]
SHAPE: Any = {
    "type": "json_schema",
    "json_schema": {"name": "shape", "schema": {"type": "object"}, "strict": True},
}
LOOK: Any = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}


@dataclass
class Owner:
    """A node with a door, and its owner's client."""

    bench: Bench
    client: openai.AsyncOpenAI

    async def create(self, **wanted: Any) -> Any:
        asked = {"model": MODEL, "messages": HI, "max_tokens": 20, **wanted}
        return await self.client.chat.completions.create(**asked)

    @property
    def sent(self) -> dict[str, Any]:
        """What the provider got last."""
        return self.bench.upstream.requests[-1]


@asynccontextmanager
async def owner(home: Path) -> AsyncIterator[Owner]:
    settings = config(offers=(offer(features=FEATURES, context=4_000),))
    tokens = DoorTokens(home)
    token = tokens.new("test", 0)
    async with running(home, settings) as bench:
        door = LocalDoor(
            bench.supply.own, bench.supply.capacity.own, tokens, lambda: bench.chain.now
        )
        async with (
            door.opened("127.0.0.1", 0) as url,
            httpx.AsyncClient(verify=NO_TLS) as http,
            openai.AsyncOpenAI(
                base_url=url, api_key=token, max_retries=0, timeout=20, http_client=http
            ) as client,
        ):
            yield Owner(bench, client)


Scenario = Callable[[Owner], Awaitable[None]]


@pytest.fixture
def run(tmp_path: Path) -> Callable[[Scenario], None]:
    def one(scenario: Scenario) -> None:
        async def inner() -> None:
            async with asyncio.timeout(60), owner(tmp_path) as it:
                await scenario(it)

        asyncio.run(inner())

    return one


def test_every_parameter_reaches_the_provider(run: Callable[[Scenario], None]) -> None:
    async def scenario(it: Owner) -> None:
        await it.create(stop=["END", "FIN"], seed=7, top_p=0.5, temperature=0.25)
        sent = it.sent
        assert (sent["stop"], sent["seed"], sent["top_p"]) == (["END", "FIN"], 7, 0.5)
        assert (sent["temperature"], sent["max_tokens"]) == (0.25, 20)
        await it.create(response_format={"type": "json_object"})
        assert it.sent["response_format"] == {"type": "json_object"}
        await it.create(response_format=SHAPE, stream=True)
        assert it.sent["response_format"] == SHAPE

    run(scenario)


def test_what_the_model_does_not_support_is_refused_by_name(
    run: Callable[[Scenario], None],
) -> None:
    async def scenario(it: Owner) -> None:
        it.bench.node.change(config(offers=(offer(features=("stop",)),)))
        for wanted, name in (
            ({"seed": 1}, "seed"),
            ({"response_format": {"type": "json_object"}}, "json_object"),
            ({"response_format": SHAPE}, "json_schema"),
            ({"tools": [LOOK]}, "tools"),
        ):
            with pytest.raises(openai.BadRequestError, match=name):
                await it.create(**wanted)
        with pytest.raises(openai.BadRequestError) as caught:
            await it.create(logprobs=True)
        assert caught.value.param == "logprobs"
        assert it.bench.upstream.requests == []

    run(scenario)


def test_calls_of_functions_are_streamed(run: Callable[[Scenario], None]) -> None:
    async def scenario(it: Owner) -> None:
        hear = {"type": "function", "function": {"name": "hear", "parameters": {}}}
        stream = await it.create(
            tools=[LOOK, hear],
            tool_choice="required",
            stream=True,
            stream_options={"include_usage": True},
        )
        parts = [part async for part in stream]
        assert it.sent["tool_choice"] == "required"
        said: dict[int, list[str]] = {}
        names = []
        for part in parts:
            for choice in part.choices:
                for call in choice.delta.tool_calls or ():
                    if call.function.name:
                        names.append((call.index, call.id, call.function.name))
                    said.setdefault(call.index, []).append(call.function.arguments)
        assert names == [(0, "c0", "look"), (1, "c1", "hear")]
        assert [json.loads("".join(said[index])) for index in (0, 1)] == [{"n": 0}, {"n": 1}]
        assert len(said[0]) > 1, "in pieces, as they came"
        assert parts[-2].choices[0].finish_reason == "tool_calls"
        assert parts[-1].usage.total_tokens > 0

    run(scenario)


FAULTS: dict[str, tuple[type[openai.APIStatusError], int, str]] = {
    "401": (openai.InternalServerError, 502, "upstream_auth"),
    "403": (openai.InternalServerError, 502, "upstream_auth"),
    "404": (openai.NotFoundError, 404, "model_not_found"),
    "429": (openai.RateLimitError, 429, "rate_limit_exceeded"),
    "429_bare": (openai.RateLimitError, 429, "rate_limit_exceeded"),
    "quota": (openai.InternalServerError, 502, "upstream"),
    "500": (openai.InternalServerError, 502, "upstream"),
    "500_html": (openai.InternalServerError, 502, "upstream"),
    "503": (openai.RateLimitError, 429, "rate_limit_exceeded"),
    "reset": (openai.InternalServerError, 502, "upstream"),
    "redirect": (openai.InternalServerError, 502, "upstream"),
    "garbage": (openai.InternalServerError, 502, "upstream"),
    "too_long": (openai.BadRequestError, 400, "context_length_exceeded"),
}
"""What OpenAI's client makes of each fault of a provider: its own error, status and code."""


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("kind", FAULTS)
def test_every_fault_of_a_provider_is_an_error_that_the_client_knows(
    run: Callable[[Scenario], None], kind: str, streamed: bool
) -> None:
    error, status, code = FAULTS[kind]

    async def scenario(it: Owner) -> None:
        it.bench.upstream.fault(kind)
        with pytest.raises(error) as caught:
            await it.create(stream=streamed)
        assert (caught.value.status_code, caught.value.code) == (status, code)
        assert caught.value.message and caught.value.type
        told = caught.value.response.headers.get("retry-after")
        assert told == ("7" if kind == "429" else told)
        assert len(it.bench.upstream.requests) == 1

    run(scenario)


BROKEN = {
    "cut": ("upstream", "api_error"),
    "cut_late": ("upstream", "api_error"),
    "error_after": ("rate_limit_exceeded", "rate_limit_error"),
    "filtered": ("refused", "invalid_request_error"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_stream_that_breaks_is_an_error_and_no_end(
    run: Callable[[Scenario], None], kind: str
) -> None:
    async def scenario(it: Owner) -> None:
        it.bench.upstream.fault(kind)
        ends = []
        with pytest.raises(openai.APIError) as caught:
            async for part in await it.create(stream=True):
                ends += [choice.finish_reason for choice in part.choices]
        assert not any(ends) and "secret words" not in str(caught.value)
        body: Any = caught.value.body
        assert (body["code"], body["type"]) == BROKEN[kind]

    run(scenario)
