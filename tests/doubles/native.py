"""Anthropic and Google outside the product: their own wire formats, on loopback, wrong on demand.

Written from the providers' references (Messages API, streaming events, version 2023-06-01; Gemini
API v1beta, `streamGenerateContent` with `alt=sse`). Neither was compared with the live service. An
answer is the prompt's words in reverse order; with tools, the first one is called with `{"n": 1}`.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Any, Self

from aiohttp import web

Json = dict[str, Any]
_AT = 5
"""The event before which a stream goes wrong: some words have come, the end has not."""


class NativeDouble:
    """Both providers; `fault` is what goes wrong with every call, "" for nothing."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.fault = ""
        self.requests: list[tuple[str, Json]] = []
        self.abandoned = 0
        self._changed = asyncio.Condition()
        self._stopping = asyncio.Event()

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=64 * 2**20)
        app.router.add_post("/v1/messages", self._anthropic)
        app.router.add_post("/v1beta/models/{model}", self._google)
        self._runner = web.AppRunner(
            app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
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
    def origin(self) -> str:
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def until(self, condition: Callable[[], bool], seconds: float = 20) -> None:
        """Wait until a call has made `condition` true."""
        async with asyncio.timeout(seconds), self._changed:
            await self._changed.wait_for(condition)

    async def _anthropic(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        if request.headers.get("x-api-key") != self.key:
            return web.json_response(_anthropic_error("authentication_error", "no"), status=401)
        prompt = " ".join(part["text"] for part in _blocks(body) if part["type"] == "text")
        events = _anthropic_events(prompt.split()[::-1], body)
        return await self._respond(request, body, events, _anthropic_error)

    async def _google(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        if request.headers.get("x-goog-api-key") != self.key:
            return web.json_response(_google_error("API_KEY_INVALID", "no"), status=400)
        parts = [part for turn in body["contents"] for part in turn["parts"]]
        prompt = " ".join(part.get("text", "") for part in parts)
        events = _google_events(prompt.split()[::-1], body)
        return await self._respond(request, body, events, _google_error)

    async def _respond(
        self,
        request: web.Request,
        body: Json,
        events: list[Json],
        error: Callable[[str, str], Json],
    ) -> web.StreamResponse:
        await self._note(lambda: self.requests.append((request.path, body)))
        if refused := _refused(self.fault, error):
            return refused
        if self.fault == "reset":
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        try:
            return await self._stream(request, events, error)
        except asyncio.CancelledError:
            if not self._stopping.is_set():
                await self._note(lambda: setattr(self, "abandoned", self.abandoned + 1))
            raise

    async def _note(self, change: Callable[[], None]) -> None:
        async with self._changed:
            change()
            self._changed.notify_all()

    async def _stream(
        self, request: web.Request, events: list[Json], error: Callable[[str, str], Json]
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        async for data in _faulty(self.fault, events, error, self._stopping):
            if data is None:
                assert request.transport is not None
                request.transport.abort()
                return response
            await response.write(data)
        await response.write_eof()
        return response


async def _faulty(
    fault: str, events: list[Json], error: Callable[[str, str], Json], stopping: asyncio.Event
) -> AsyncIterator[bytes | None]:
    """The stream's bytes; None where the connection breaks."""
    for number, event in enumerate(events):
        if number == _AT:
            match fault:
                case "cut":
                    yield None
                case "end":
                    return
                case "junk":
                    yield b"data: {junk\n\n"
                case "error":
                    yield _event(error("overloaded_error", "secret words"))
                    return
                case "stall":
                    await stopping.wait()
        if fault == "no_usage":
            event = {k: v for k, v in event.items() if k not in ("usage", "usageMetadata")}
            if "message" in event:
                event["message"] = {**event["message"], "usage": {}}
        yield _event(event)


def _event(event: Json) -> bytes:
    kind = f"event: {event['type']}\n" if "type" in event else ""
    return f"{kind}data: {json.dumps(event)}\r\n\r\n".encode()


def _refused(fault: str, error: Callable[[str, str], Json]) -> web.Response | None:
    if fault == "html":
        return web.Response(text="<html>secret words</html>", content_type="text/html")
    if not fault.isdigit():
        return None
    words = {"400": "prompt is too long: secret words", "402": "billing_error"}.get(fault, "secret")
    headers = {"retry-after": "7"} if fault == "429" else {}
    return web.json_response(error("some_error", words), status=int(fault), headers=headers)


def _blocks(body: Json) -> list[Json]:
    contents = [turn["content"] for turn in body["messages"]]
    return [b for c in contents for b in ([{"type": "text", "text": c}] if type(c) is str else c)]


def _anthropic_error(kind: str, message: str) -> Json:
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}


def _google_error(reason: str, message: str) -> Json:
    status = "UNAVAILABLE" if reason == "overloaded_error" else reason
    return {"error": {"code": 400, "message": message, "status": status}}


def _anthropic_events(words: list[str], body: Json) -> list[Json]:
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": body["model"],
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": len(words), "output_tokens": 1},
    }
    block: Json
    if body.get("tools"):
        name = body["tools"][0]["name"]
        block = {"type": "tool_use", "id": "toolu_1", "name": name, "input": {}}
        deltas = [
            {"type": "input_json_delta", "partial_json": part} for part in ("", '{"n": ', "1}")
        ]
    else:
        block = {"type": "text", "text": ""}
        deltas = [{"type": "text_delta", "text": f"{word} "} for word in words]
    reason = "tool_use" if body.get("tools") else "end_turn"
    return [
        {"type": "message_start", "message": message},
        {"type": "content_block_start", "index": 0, "content_block": block},
        {"type": "ping"},
        *({"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": reason, "stop_sequence": None},
            "usage": {"output_tokens": len(words)},
        },
        {"type": "message_stop"},
    ]


def _google_events(words: list[str], body: Json) -> list[Json]:
    parts: list[Json] = [{"text": f"{word} "} for word in words]
    if tools := body.get("tools"):
        name = tools[0]["function_declarations"][0]["name"]
        parts = [{"functionCall": {"name": name, "args": {"n": 1}}}]
    usage = {"promptTokenCount": len(words), "candidatesTokenCount": len(words)}
    usage["totalTokenCount"] = 2 * len(words)
    events: list[Json] = [
        {
            "candidates": [{"content": {"parts": [part], "role": "model"}, "index": 0}],
            "usageMetadata": {"promptTokenCount": len(words), "totalTokenCount": len(words)},
            "modelVersion": "double",
        }
        for part in parts
    ]
    events[-1]["candidates"][0]["finishReason"] = "STOP"
    events[-1]["usageMetadata"] = usage
    return events
