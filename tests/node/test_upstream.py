"""Calls through a real vault to the provider double: text, usage, and every way to fail."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from doubles.upstream import UpstreamDouble, answer_to
from ricochet_node import upstream as upstream_module
from ricochet_node.direct import DirectUpstream
from ricochet_node.faults import ProviderFault, Reason
from ricochet_node.http_client import HttpClient
from ricochet_node.keystore import Keystore
from ricochet_node.upstream import Upstream, Usage
from ricochet_node.vault_link import VaultLink
from ricochet_node.vault_process import VaultProcess
from ricochet_protocol.conversation import AnswerFormat, Tool, ToolCall, ToolChoice, Turn
from ricochet_protocol.errors import RemoteCode, RemoteFault
from ricochet_protocol.ids import ModelId, Period, RequestId
from ricochet_protocol.messages import Ask, CallPiece, Chunk

KEY = "sk-test-0123456789abcdef"


def ask(prompt: str = "tell me all of it", max_tokens: int = 50) -> Ask:
    return Ask(
        request_id=RequestId("0" * 32),
        period=Period(1),
        model=ModelId("m"),
        turns=(Turn("user", prompt),),
        max_tokens=max_tokens,
        deadline=60,
    )


Scenario = Callable[[UpstreamDouble, Upstream], Awaitable[None]]


@contextlib.asynccontextmanager
async def running(home: Path) -> AsyncIterator[tuple[UpstreamDouble, Upstream]]:
    async with UpstreamDouble([KEY]) as double, HttpClient() as client:
        Keystore(home / "keys.json").add("words", "main", "double", double.base_url, KEY)
        vault = await VaultProcess.start(home / "keys.json", "words", ["main"])
        try:
            yield double, DirectUpstream(client, vault.link)
        finally:
            await vault.stop()


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Scenario], None]]:
    """Runs scenarios one after the other with one vault: starting one costs 0.6 s."""
    with asyncio.Runner() as runner:
        context = running(tmp_path_factory.mktemp("upstream"))
        double, upstream = runner.run(context.__aenter__())

        def run(scenario: Scenario) -> None:
            double.reset()
            runner.run(scenario(double, upstream))  # type: ignore[arg-type] # a coroutine

        yield run
        runner.run(context.__aexit__(None, None, None))


async def collect(upstream: Upstream, value: Ask) -> tuple[str, Usage]:
    *pieces, usage = [piece async for piece in upstream.stream("main", "real-model", value)]
    assert isinstance(usage, Usage)
    return "".join(piece.text for piece in pieces if isinstance(piece, Chunk)), usage


def test_text_then_usage(bench: Callable[[Scenario], None]) -> None:
    async def scenario(double: UpstreamDouble, upstream: Upstream) -> None:
        words = answer_to("tell me all of it", 50)
        text, usage = await collect(upstream, ask())
        assert text == " ".join(words)
        assert usage == Usage(finish="stop", tokens=(5, len(words)))
        (request,) = double.requests
        assert request["model"] == "real-model"
        assert request["messages"] == [{"role": "user", "content": "tell me all of it"}]
        assert (request["max_tokens"], request["temperature"]) == (50, 0.0)
        _, usage = await collect(upstream, ask(max_tokens=3))
        assert usage == Usage(finish="length", tokens=(5, 3))
        double.fault("no_usage", times=1)
        assert (await collect(upstream, ask()))[1] == Usage(finish="stop", tokens=None)

    bench(scenario)


def test_parameters_arrive_and_calls_come_back(bench: Callable[[Scenario], None]) -> None:
    value = Ask(
        request_id=RequestId("0" * 32),
        period=Period(1),
        model=ModelId("m"),
        turns=(
            Turn("user", "how is it?"),
            Turn("assistant", "", (ToolCall("c9", "look", "{}"),)),
            Turn("tool", "wet", tool_call_id="c9"),
            Turn("user", "and there?"),
        ),
        max_tokens=50,
        deadline=60,
        top_p=0.5,
        stop=("END",),
        seed=7,
        response_format=AnswerFormat("json_schema", "shape", '{"type": "object"}', strict=True),
        tools=(Tool("look", "Look out.", '{"type":"object"}'), Tool("hear", "", "{}")),
        tool_choice=ToolChoice("function", "look"),
    )

    async def scenario(double: UpstreamDouble, upstream: Upstream) -> None:
        *pieces, usage = [piece async for piece in upstream.stream("main", "real-model", value)]
        assert isinstance(usage, Usage)
        assert usage.finish == "tool_calls" and usage.tokens is not None
        assert pieces == [
            CallPiece(0, "c0", "look", ""),
            CallPiece(0, "", "", '{"n":'),
            CallPiece(0, "", "", "0}"),
            CallPiece(1, "c1", "hear", ""),
            CallPiece(1, "", "", '{"n":'),
            CallPiece(1, "", "", "1}"),
        ]
        (sent,) = double.requests
        assert sent["messages"] == [
            {"role": "user", "content": "how is it?"},
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [
                    {
                        "id": "c9",
                        "type": "function",
                        "function": {"name": "look", "arguments": "{}"},
                    }
                ],
            },
            {"role": "tool", "content": "wet", "tool_call_id": "c9"},
            {"role": "user", "content": "and there?"},
        ]
        assert (sent["top_p"], sent["stop"], sent["seed"]) == (0.5, ["END"], 7)
        schema = {"name": "shape", "schema": {"type": "object"}, "strict": True}
        assert sent["response_format"] == {"type": "json_schema", "json_schema": schema}
        look = {"name": "look", "description": "Look out.", "parameters": {"type": "object"}}
        assert sent["tools"][0] == {"type": "function", "function": look}
        assert sent["tool_choice"] == {"type": "function", "function": {"name": "look"}}

    bench(scenario)


def test_a_plain_ask_bothers_no_provider_with_parameters(
    bench: Callable[[Scenario], None],
) -> None:
    async def scenario(double: UpstreamDouble, upstream: Upstream) -> None:
        await collect(upstream, ask())
        (sent,) = double.requests
        plain = {"model", "messages", "max_tokens", "temperature", "stream", "stream_options"}
        assert set(sent) == plain

    bench(scenario)


FAULTS: dict[str, tuple[Reason, str]] = {
    "401": (Reason.KEY_REFUSED, RemoteCode.UPSTREAM_AUTH),
    "403": (Reason.KEY_REFUSED, RemoteCode.UPSTREAM_AUTH),
    "404": (Reason.MODEL_UNKNOWN, RemoteCode.NO_MODEL),
    "429": (Reason.RATE, RemoteCode.BUSY),
    "429_bare": (Reason.RATE, RemoteCode.BUSY),
    "quota": (Reason.QUOTA, RemoteCode.UPSTREAM),
    "500": (Reason.FAILED, RemoteCode.UPSTREAM),
    "503": (Reason.OVERLOADED, RemoteCode.BUSY),
    "500_html": (Reason.FAILED, RemoteCode.UPSTREAM),
    "too_long": (Reason.TOO_LONG, RemoteCode.TOO_LONG),
    "redirect": (Reason.FAILED, RemoteCode.UPSTREAM),
    "reset": (Reason.FAILED, RemoteCode.UPSTREAM),
    "garbage": (Reason.BROKEN, RemoteCode.UPSTREAM),
    "cut": (Reason.BROKEN, RemoteCode.UPSTREAM),
    "error_after": (Reason.OVERLOADED, RemoteCode.BUSY),
}


def test_every_fault_has_its_reason_and_its_code(bench: Callable[[Scenario], None]) -> None:
    async def scenario(double: UpstreamDouble, upstream: Upstream) -> None:
        for kind, (reason, code) in FAULTS.items():
            double.heal()
            double.fault(kind)
            with pytest.raises(ProviderFault) as caught:
                await collect(upstream, ask())
            assert (caught.value.reason, caught.value.code) == (reason, code), kind
            assert caught.value.retry_after == (7 if kind == "429" else None)
            assert KEY not in str(caught.value) and "secret" not in str(caught.value)

    bench(scenario)


@pytest.mark.parametrize("kind", ["stall", "stall_after"])
def test_silence_is_a_timeout_and_ends_the_call(
    bench: Callable[[Scenario], None], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(upstream_module, "FIRST_BYTE_SECONDS", 0.2)
    monkeypatch.setattr(upstream_module, "IDLE_SECONDS", 0.2)

    async def scenario(double: UpstreamDouble, upstream: Upstream) -> None:
        double.fault(kind)
        with pytest.raises(RemoteFault) as caught:
            await collect(upstream, ask())
        assert caught.value.code == RemoteCode.TIMEOUT
        await double.until(lambda counts: counts.abandoned == 1)

    bench(scenario)


def test_closing_the_stream_ends_the_call(bench: Callable[[Scenario], None]) -> None:
    async def scenario(double: UpstreamDouble, upstream: Upstream) -> None:
        double.fault("stall_after")
        stream: Any = upstream.stream("main", "real-model", ask())
        assert await anext(stream)
        await stream.aclose()
        await double.until(lambda counts: counts.abandoned == 1)

    bench(scenario)


def test_without_a_vault_the_fault_is_the_nodes(bench: Callable[[Scenario], None]) -> None:
    async def scenario(double: UpstreamDouble, upstream: Upstream) -> None:
        async with HttpClient() as client:
            gone = DirectUpstream(client, VaultLink(9, "token"))
            with pytest.raises(RemoteFault) as caught:
                await collect(gone, ask())
            assert caught.value.code == RemoteCode.UPSTREAM

    bench(scenario)
