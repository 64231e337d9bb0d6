"""The real litellm worker behind the real vault, against providers that speak their own formats."""

import asyncio
import contextlib
import io
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from doubles.native import NativeDouble
from ricochet_node.cap_watch import CapWatch
from ricochet_node.faults import ProviderFault, Reason
from ricochet_node.http_client import HttpClient
from ricochet_node.keystore import Keystore
from ricochet_node.log import EventLog
from ricochet_node.upstream import Usage
from ricochet_node.upstreams import Upstreams
from ricochet_node.vault_process import VaultProcess
from ricochet_protocol.conversation import AnswerFormat, Tool, ToolCall, Turn
from ricochet_protocol.ids import ModelId, Period, RequestId
from ricochet_protocol.messages import Ask, CallPiece, Chunk

KEY = "sk-test-0123456789abcdef"
PROMPT = "one two three four five six"
ANSWER = "six five four three two one "
KEYS = ("claude", "gemini")
TOOL = Tool("look", "Look out.", '{"type":"object","properties":{"n":{"type":"integer"}}}')


def ask(**changes: Any) -> Ask:
    values: dict[str, Any] = {
        "request_id": RequestId("0" * 32),
        "period": Period(1),
        "model": ModelId("m"),
        "turns": (Turn("system", "Be brief."), Turn("user", PROMPT)),
        "max_tokens": 50,
        "deadline": 60,
    }
    return Ask(**{**values, **changes})


@dataclass
class Bench:
    double: NativeDouble
    upstreams: Upstreams

    async def collect(self, key: str, value: Ask) -> tuple[list[Any], Usage]:
        model = "claude-sonnet-4-5" if key == "claude" else "gemini-2.5-flash"
        async with asyncio.timeout(60):
            stream = self.upstreams.stream(key, model, value)
            *pieces, usage = [piece async for piece in stream]
        assert isinstance(usage, Usage)
        return pieces, usage

    async def fault(self, key: str, kind: str) -> ProviderFault:
        self.double.fault = kind
        with pytest.raises(ProviderFault) as caught:
            await self.collect(key, ask())
        self.double.fault = ""
        return caught.value


@contextlib.asynccontextmanager
async def running(home: Path) -> AsyncIterator[Bench]:
    async with NativeDouble(KEY) as double, HttpClient() as client:
        store = Keystore(home / "keys.json")
        store.add("words", "claude", "anthropic", double.origin, KEY)
        store.add("words", "gemini", "google", double.origin, KEY)
        vault = await VaultProcess.start(home / "keys.json", "words", KEYS)
        log = EventLog(io.StringIO())
        caps = CapWatch(time.time, log)
        upstreams = Upstreams(client, vault, store.list(), log, caps, lambda key: "")
        try:
            yield Bench(double, upstreams)
        finally:
            await upstreams.stop()
            await vault.stop()


Scenario = Callable[[Bench], Awaitable[None]]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Scenario], None]]:
    """Runs scenarios one after the other with one worker: importing litellm takes 3 s."""
    with asyncio.Runner() as runner:
        context = running(tmp_path_factory.mktemp("worker"))
        made = runner.run(context.__aenter__())

        def run(scenario: Scenario) -> None:
            made.double.fault = ""
            made.double.requests.clear()
            runner.run(scenario(made))  # type: ignore[arg-type] # a coroutine

        yield run
        runner.run(context.__aexit__(None, None, None))


def text_of(pieces: list[Any]) -> str:
    return "".join(piece.text for piece in pieces if isinstance(piece, Chunk))


def test_both_dialects_stream_text_call_functions_and_end(
    bench: Callable[[Scenario], None],
) -> None:
    async def scenario(bench: Bench) -> None:
        answers = await asyncio.gather(*(bench.collect(key, ask()) for key in KEYS * 3))
        for pieces, usage in answers:
            assert text_of(pieces) == ANSWER and len(pieces) == 6
            assert usage == Usage(finish="stop", tokens=(6, 6))
        bodies = dict(bench.double.requests)
        assert set(bodies) == {
            "/v1/messages",
            "/v1beta/models/gemini-2.5-flash:streamGenerateContent",
        }
        assert bodies["/v1/messages"]["max_tokens"] == 50
        called = ask(tools=(TOOL,), top_p=0.5, stop=("END",))
        for key in KEYS:
            pieces, usage = await bench.collect(key, called)
            first, *rest = pieces
            assert isinstance(first, CallPiece) and first.name == "look" and first.id
            assert "".join(p.arguments for p in pieces).replace(" ", "") == '{"n":1}'
            assert all(isinstance(piece, CallPiece) and not piece.name for piece in rest)
            assert usage.finish == "tool_calls"
        # What stopped in the middle is not taken for an answer, and a wait reaches whoever asks.
        for key in KEYS:
            assert (await bench.fault(key, "end")).reason is Reason.BROKEN
            limited = await bench.fault(key, "429")
            assert (limited.reason, limited.retry_after) == (Reason.RATE, 7)

    bench(scenario)


def test_a_call_that_nobody_waits_for_ends_at_the_provider(
    bench: Callable[[Scenario], None],
) -> None:
    async def scenario(bench: Bench) -> None:
        for number, key in enumerate(KEYS, start=1):
            bench.double.fault = "stall"
            stream: Any = bench.upstreams.stream(key, "claude-sonnet-4-5", ask(max_tokens=7))
            assert await anext(stream)
            await stream.aclose()
            await bench.double.until(lambda: bench.double.abandoned == number)  # noqa: B023

    bench(scenario)


FAULTS = {
    "400": Reason.TOO_LONG,
    "401": Reason.KEY_REFUSED,
    "402": Reason.QUOTA,
    "403": Reason.KEY_REFUSED,
    "404": Reason.MODEL_UNKNOWN,
    "500": Reason.FAILED,
    "503": Reason.OVERLOADED,
    "529": Reason.OVERLOADED,
    "html": Reason.BROKEN,
    "reset": Reason.FAILED,
    "cut": Reason.BROKEN,
    "junk": Reason.BROKEN,
    "error": Reason.OVERLOADED,
}


@pytest.mark.deep
@pytest.mark.parametrize("key", KEYS)
def test_every_fault_has_its_reason_and_is_asked_once(
    bench: Callable[[Scenario], None], key: str
) -> None:
    async def scenario(bench: Bench) -> None:
        for kind, reason in FAULTS.items():
            bench.double.requests.clear()
            fault = await bench.fault(key, kind)
            assert fault.reason is reason, kind
            assert len(bench.double.requests) == 1, kind
            assert KEY not in str(fault) and "secret" not in str(fault)

    bench(scenario)


@pytest.mark.deep
@pytest.mark.parametrize("key", KEYS)
def test_usage_that_nobody_reported_is_not_invented(
    bench: Callable[[Scenario], None], key: str
) -> None:
    async def scenario(bench: Bench) -> None:
        bench.double.fault = "no_usage"
        pieces, usage = await bench.collect(key, ask())
        assert text_of(pieces) == ANSWER
        assert usage == Usage(finish="stop", tokens=None)

    bench(scenario)


@pytest.mark.deep
def test_parameters_arrive_as_each_provider_writes_them(
    bench: Callable[[Scenario], None],
) -> None:
    turns = (
        Turn("user", "how is it?"),
        Turn("assistant", "", (ToolCall("c9", "look", '{"n": 2}'),)),
        Turn("tool", "wet", tool_call_id="c9"),
    )

    async def scenario(bench: Bench) -> None:
        await bench.collect("claude", ask(turns=turns, tools=(TOOL,), top_p=0.5, stop=("END",)))
        ((_, body),) = bench.double.requests
        assert (body["top_p"], body["stop_sequences"]) == (0.5, ["END"])
        kinds = [[block["type"] for block in turn["content"]] for turn in body["messages"]]
        assert kinds == [["text"], ["tool_use"], ["tool_result"]]
        bench.double.requests.clear()
        shape = AnswerFormat("json_schema", "shape", '{"type":"object"}')
        await bench.collect("gemini", ask(seed=7, response_format=shape))
        ((_, body),) = bench.double.requests
        assert body["generationConfig"]["seed"] == 7
        assert body["generationConfig"]["response_json_schema"] == {"type": "object"}

    bench(scenario)


@pytest.mark.deep
def test_what_litellm_cannot_say_is_refused_before_it_is_sent(
    bench: Callable[[Scenario], None],
) -> None:
    async def scenario(bench: Bench) -> None:
        strict = Tool("look", "", '{"type":"object"}', strict=True)
        for value in (ask(seed=7), ask(tools=(strict,))):
            with pytest.raises(ProviderFault) as caught:
                await bench.collect("claude", value)
            assert caught.value.reason is Reason.REFUSED
        assert not bench.double.requests

    bench(scenario)


@pytest.mark.deep
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kills a process")
def test_a_killed_worker_fails_its_calls_and_is_replaced(
    bench: Callable[[Scenario], None],
) -> None:
    async def scenario(bench: Bench) -> None:
        bench.double.fault = "stall"
        stream: Any = bench.upstreams.stream("claude", "claude-sonnet-4-5", ask())
        assert await anext(stream)
        worker = bench.upstreams.worker_pid
        assert worker is not None
        os.kill(worker, signal.SIGKILL)
        with pytest.raises(ProviderFault) as caught:
            # A piece that it had sent may still come.
            _ = [piece async for piece in stream]
        assert caught.value.reason is Reason.INTERRUPTED and caught.value.retryable
        bench.double.fault = ""
        pieces, _ = await bench.collect("claude", ask())
        assert text_of(pieces) == ANSWER
        assert bench.upstreams.worker_pid not in (None, worker)

    bench(scenario)
