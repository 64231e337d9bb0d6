"""A provider that stands outside the product: OpenAI-compatible, on loopback, wrong on demand.

It wants one of its API keys, answers with text that follows from the prompt alone, and counts the
calls of each key, so that tests can say "this step was never asked again". A fault is chosen by the
model's name (`fault:cut`) or, for real model names, posted to `/_fault`; `/_delay` slows it down.

In process: `async with UpstreamDouble(["key"]) as upstream: upstream.base_url`. As a process:
`python tests/doubles/upstream.py --keys-file FILE [--delay-ms N]`, which prints its base URL once
it accepts calls; the file holds one key a line.
"""

import argparse
import asyncio
import hashlib
import json
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aiohttp import web

FAULTS = frozenset(
    {
        "401",
        "403",
        "404",
        "429",
        "429_bare",  # without Retry-After
        "quota",  # 429 because the account is empty
        "500",
        "503",
        "500_html",  # a proxy's page instead of JSON
        "reset",  # the connection breaks before an answer
        "error_after",  # `after` words, then an error event
        "trickle",  # a comment again and again, never a word
        "huge",  # ten megabytes of text in a thousand pieces
        "filtered",  # the answer ends with `content_filter`
        "cut_late",  # the connection breaks after the usage, before the end
        "blank",  # an answer without text
        "too_long",  # 400 with OpenAI's code for an overflowing context
        "redirect",  # 307 to another origin
        "garbage",  # 200 with a body that is no event stream
        "cut",  # the connection breaks after `after` words
        "stall",  # no token ever comes
        "stall_after",  # `after` words come, then nothing
        "echo_key",  # the answer contains the API key
        "no_usage",  # a provider that does not report usage
        "tool_prompt",  # 530 tokens of a prompt about tools, as Anthropic adds
        "greedy",  # usage a hundred times too high
        "endless",  # words without end, far above max_tokens
    }
)


@dataclass(frozen=True)
class Fault:
    """What goes wrong, for which model and key (None: all), how often (None: always)."""

    kind: str
    model: str | None = None
    key: str | None = None
    times: int | None = None
    after: int = 3
    retry_after: int = 7

    def __post_init__(self) -> None:
        if self.kind not in FAULTS:
            raise ValueError(f"unknown fault {self.kind!r}; one of {sorted(FAULTS)}")


@dataclass
class Counts:
    """Calls by key; refused ones had no valid key, abandoned ones were hung up by the caller."""

    keys: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    abandoned: int = 0
    open: int = 0

    def as_json(self) -> dict[str, Any]:
        return {
            "keys": dict(self.keys),
            "total": self.keys.total(),
            "refused": self.refused,
            "abandoned": self.abandoned,
            "open": self.open,
        }


def answer_to(prompt: str, max_tokens: int) -> list[str]:
    """The words of the answer: they name the prompt's digest and quote its beginning."""
    digest = hashlib.sha256(prompt.encode()).hexdigest()[:8]
    quoted = " ".join(prompt.split()[:20])
    return f"Answer {digest} about: {quoted} - end.".split()[:max_tokens]


class UpstreamDouble:
    """The server; its counts and faults may be read and set directly when in process."""

    def __init__(self, keys: Sequence[str], *, delay: float = 0.0, port: int = 0) -> None:
        self.keys = frozenset(keys)
        self.delay = delay
        self.counts = Counts()
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self._faults: list[Fault] = []
        self._used: Counter[int] = Counter()
        self._port = port
        self._changed = asyncio.Condition()
        self._stopping = asyncio.Event()

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=64 * 2**20)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_get("/_calls", self._calls)
        app.router.add_post("/_fault", self._set_fault)
        app.router.add_post("/_delay", self._set_delay)
        self._runner = web.AppRunner(
            app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port)
        await site.start()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopping.set()
        await self._runner.cleanup()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._port}/v1"

    def fault(self, kind: str, **options: Any) -> None:
        """Add a fault; later ones are tried first."""
        self._faults.insert(0, Fault(kind, **options))

    def heal(self) -> None:
        """Forget every fault."""
        self._faults.clear()
        self._used.clear()

    def reset(self) -> None:
        """Forget everything, as if just started; calls that are still open must be over."""
        self.heal()
        self.delay = 0.0
        self.counts = Counts()
        self.requests.clear()
        self.headers.clear()

    async def until(self, condition: Callable[[Counts], bool], seconds: float = 10.0) -> None:
        """Wait until `condition(counts)` holds."""
        async with asyncio.timeout(seconds), self._changed:
            await self._changed.wait_for(lambda: condition(self.counts))

    async def _calls(self, request: web.Request) -> web.Response:
        return web.json_response(self.counts.as_json())

    async def _set_fault(self, request: web.Request) -> web.Response:
        body = await request.json()
        if body.get("kind") is None:
            self.heal()
        else:
            self.fault(**body)
        return web.json_response({"faults": len(self._faults)})

    async def _set_delay(self, request: web.Request) -> web.Response:
        self.delay = float((await request.json())["seconds"])
        return web.json_response({})

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        key = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if key not in self.keys:
            await self._count(refused=1)
            return _error(401, "Incorrect API key provided.", "invalid_api_key")
        body = await request.json()
        self.counts.keys[key] += 1
        self.requests.append(body)
        self.headers.append(dict(request.headers))
        await self._count(open=1)
        abandoned = 1
        try:
            response = await self._answer(request, body, key)
            abandoned = 0
        finally:
            # Cancelled means the caller hung up; the shutdown of this server is not his doing.
            await self._count(open=-1, abandoned=0 if self._stopping.is_set() else abandoned)
        return response

    async def _count(self, **changes: int) -> None:
        for name, change in changes.items():
            setattr(self.counts, name, getattr(self.counts, name) + change)
        async with self._changed:
            self._changed.notify_all()

    async def _answer(
        self, request: web.Request, body: dict[str, Any], key: str
    ) -> web.StreamResponse:
        fault = self._fault_for(body["model"], key)
        kind = fault.kind if fault else ""
        if refusal := _refusal(fault):
            return refusal
        if kind == "reset":
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        if kind == "stall":
            await self._stopping.wait()
        await asyncio.sleep(self.delay)
        prompt = "\n".join(turn["content"] for turn in body["messages"])
        limit = int(body.get("max_tokens", 256))
        words = answer_to(prompt, limit)
        finish = "length" if len(words) == limit else "stop"
        if kind == "echo_key":
            words = ["your", "key", "is", key]
        factor = 100 if kind == "greedy" else 1
        usage = {
            "prompt_tokens": len(prompt.split()) * factor,
            "completion_tokens": len(words) * factor,
        }
        if kind == "tool_prompt":
            usage["prompt_tokens"] += 530
        usage["total_tokens"] = sum(usage.values())
        if not body.get("stream"):
            told = None if kind == "no_usage" else usage
            return _completion(body["model"], " ".join(words), finish, told)
        if kind == "filtered":
            finish = "content_filter"
        if kind == "blank":
            words = [""]
        if kind == "huge":
            words = ["x" * 10_000] * 1000
        pieces = iter([words[0]] + [" " + word for word in words[1:]])
        if kind == "endless":
            pieces = iter(lambda: " word" * 10_000, "")
        asked = bool((body.get("stream_options") or {}).get("include_usage"))
        if body.get("tools") and body["messages"][-1]["role"] != "tool":
            return await self._stream_calls(request, body, usage if asked else None)
        return await self._stream(
            request, fault, pieces, finish, usage if asked and kind != "no_usage" else None
        )

    async def _stream(
        self,
        request: web.Request,
        fault: Fault | None,
        pieces: Iterator[str],
        finish: str,
        usage: dict[str, int] | None,
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for number, piece in enumerate(pieces):
            if fault and number == fault.after and fault.kind == "cut":
                assert request.transport is not None
                request.transport.abort()
                return response
            if fault and number == fault.after and fault.kind == "error_after":
                error = {"message": "overloaded: secret words", "code": "overloaded"}
                await response.write(b"data: " + json.dumps({"error": error}).encode() + b"\n\n")
                return response
            while fault and fault.kind == "trickle" and not self._stopping.is_set():
                await response.write(b": still there\n\n")
                await asyncio.sleep(0.01)
            if fault and number == fault.after and fault.kind == "stall_after":
                await self._stopping.wait()
            await response.write(_event(choices=[{"index": 0, "delta": {"content": piece}}]))
        await response.write(_event(choices=[{"index": 0, "delta": {}, "finish_reason": finish}]))
        if usage is not None:
            await response.write(_event(choices=[], usage=usage))
        if fault and fault.kind == "cut_late":
            assert request.transport is not None
            await asyncio.sleep(0.05)  # else the usage would not leave the machine
            request.transport.abort()
            return response
        await response.write(b"data: [DONE]\n\n")
        await response.write_eof()
        return response

    async def _stream_calls(
        self, request: web.Request, body: dict[str, Any], usage: dict[str, int] | None
    ) -> web.StreamResponse:
        """Every tool is called once, with its number, as OpenAI streams it."""
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for number, tool in enumerate(body["tools"]):
            function = {"name": tool["function"]["name"], "arguments": ""}
            first = {"index": number, "id": f"c{number}", "type": "function", "function": function}
            rest = [
                {"index": number, "function": {"arguments": part}}
                for part in ('{"n":', f"{number}}}")
            ]
            for call in (first, *rest):
                delta = {"tool_calls": [call]}
                await response.write(_event(choices=[{"index": 0, "delta": delta}]))
        end = {"index": 0, "delta": {}, "finish_reason": "tool_calls"}
        await response.write(_event(choices=[end]))
        if usage is not None:
            await response.write(_event(choices=[], usage=usage))
        await response.write(b"data: [DONE]\n\n")
        await response.write_eof()
        return response

    def _fault_for(self, model: str, key: str) -> Fault | None:
        if model.startswith("fault:"):
            return Fault(model.removeprefix("fault:"))
        for fault in self._faults:
            if fault.model in (None, model) and fault.key in (None, key):
                if fault.times is not None and self._used[id(fault)] >= fault.times:
                    continue
                self._used[id(fault)] += 1
                return fault
        return None


def _refusal(fault: Fault | None) -> web.Response | None:
    match fault.kind if fault else None:
        case "401":
            return _error(401, "Incorrect API key provided.", "invalid_api_key")
        case "429":
            assert fault is not None
            headers = {"retry-after": str(fault.retry_after)}
            return _error(429, "Rate limit reached.", "rate_limit_exceeded", headers)
        case "429_bare":
            return _error(429, "Rate limit reached.", "rate_limit_exceeded")
        case "quota":
            return _error(429, "You exceeded your current quota.", "insufficient_quota")
        case "403":
            return _error(403, "Country, region, or territory not supported.", "unsupported")
        case "404":
            return _error(404, "The model does not exist.", "model_not_found")
        case "503":
            return _error(503, "The engine is overloaded.", "server_error")
        case "500_html":
            page = "<html>502 Bad Gateway</html>"
            return web.Response(status=502, text=page, content_type="text/html")
        case "500":
            return _error(500, "The server had an error.", "server_error")
        case "too_long":
            return _error(
                400, "This model's maximum context length is 8 tokens.", "context_length_exceeded"
            )
        case "redirect":
            return web.Response(status=307, headers={"location": "http://192.0.2.1/v1/elsewhere"})
        case "garbage":
            return web.Response(text="<html>a proxy's error page</html>", content_type="text/html")
    return None


def _error(
    status: int, message: str, code: str, headers: dict[str, str] | None = None
) -> web.Response:
    error = {"message": message, "type": "error", "param": None, "code": code}
    return web.json_response({"error": error}, status=status, headers=headers)


def _completion(model: str, text: str, finish: str, usage: dict[str, int] | None) -> web.Response:
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text},
        "finish_reason": finish,
    }
    return web.json_response(
        {"object": "chat.completion", "model": model, "choices": [choice], "usage": usage}
    )


def _event(**fields: Any) -> bytes:
    return b"data: " + json.dumps({"object": "chat.completion.chunk", **fields}).encode() + b"\n\n"


async def _run(keys: Sequence[str], delay: float) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with UpstreamDouble(keys, delay=delay) as upstream:
        print(upstream.base_url, flush=True)
        await stop.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description="an OpenAI-compatible provider for tests")
    parser.add_argument("--keys-file", type=Path, required=True)
    parser.add_argument("--delay-ms", type=int, default=0)
    options = parser.parse_args()
    keys = options.keys_file.read_text().split()
    asyncio.run(_run(keys, options.delay_ms / 1000))


if __name__ == "__main__":
    main()
