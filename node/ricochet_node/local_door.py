"""The owner's own door: OpenAI's API on loopback, over the same `serve` as the peers' door.

Any OpenAI client uses the owner's pool through it by base URL and token. Nothing is paid: the
caller is the owner. Limits, slots, metering and the request log hold as for everyone. A caller
shows a token made for this door (`door_tokens`); pages in a browser, which reach loopback too, are
refused by Host and Origin. Errors have the shape and the codes that OpenAI's clients know.
"""

import asyncio
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Final, Protocol

from aiohttp import web

from ricochet_node.door_tokens import DoorTokens
from ricochet_node.plain_server import NO_HTTP, PlainServer
from ricochet_protocol import chat_answer
from ricochet_protocol.advert import ModelOffer
from ricochet_protocol.answer import AnswerParts
from ricochet_protocol.chat_answer import Head, Usage
from ricochet_protocol.chat_request import (
    MAX_BODY,
    BadRequest,
    ChatRequest,
    chat_request_untrusted,
)
from ricochet_protocol.conversation import texts_of_turns
from ricochet_protocol.errors import LocalFault, RemoteFault, RicochetError
from ricochet_protocol.ids import ModelId, Period, RequestId
from ricochet_protocol.messages import MAX_DEADLINE, Answered, Ask, CallPiece, Chunk, Reply
from ricochet_protocol.tokens import count_texts

DEFAULT_TOKENS: Final = 4096
"""Of an answer whose client names no limit, as far as the model's window has room."""
NO_PERIOD: Final = Period(0)
"""Nobody's: periods of subscribers begin with 1."""

READ_SECONDS: Final = 30
"""For a request's body, which comes from this machine."""
MOST_SECONDS: Final = MAX_DEADLINE + 2 * READ_SECONDS
"""For a request and its answer: a call ends before, so this is for clients who do not read."""
_PATIENCE: Final = 8 * MAX_BODY
"""Bytes of an oversized body that are read before the connection is given up."""


class Serve(Protocol):
    """`Node.serve_owner`."""

    def __call__(self, ask: Ask, /, *, whole: bool) -> AsyncGenerator[Reply, None]: ...


class LocalDoor:
    """`offers` gives what is on offer now; `count` counts an ask's prompt in tokens."""

    def __init__(
        self,
        serve: Serve,
        offers: Callable[[], Sequence[ModelOffer]],
        count: Callable[[ChatRequest], int],
        tokens: DoorTokens,
        clock: Callable[[], float],
        read_seconds: float = READ_SECONDS,
        most_seconds: float = MOST_SECONDS,
    ) -> None:
        self._serve = serve
        self._offers = offers
        self._count = count
        self._tokens = tokens
        self._clock = clock
        self._read_seconds = read_seconds
        self._most_seconds = most_seconds
        self._hosts: frozenset[str] = frozenset()

    @asynccontextmanager
    async def opened(self, host: str, port: int) -> AsyncIterator[str]:
        """The base URL for clients while the context lasts; LocalFault `port_in_use`."""
        # Cancelling the handler of a client who hung up is what ends the upstream call.
        server = PlainServer(self._handle, _no_http, ending=True)
        runner = web.ServerRunner(server, shutdown_timeout=1)
        await runner.setup()
        try:
            try:
                await web.TCPSite(runner, host, port).start()
            except OSError as error:
                raise LocalFault(
                    "port_in_use",
                    f"the local door cannot open at {host}:{port}: {error.strerror}",
                    "choose another `door` address in node.yaml",
                ) from None
            bound = int(runner.addresses[0][1])
            self._hosts = frozenset(f"{name}:{bound}" for name in (host, "127.0.0.1", "localhost"))
            yield f"http://{host}:{bound}/v1"
        finally:
            await runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        refusal = self._refusal(request)
        if refusal is not None:
            return refusal
        match request.method, request.path:
            case "GET", "/v1/models":
                return _json(200, chat_answer.models(self._names(), "node"))
            case "POST", "/v1/chat/completions":
                return await self._bounded(request)
            case method, ("/v1/models" | "/v1/chat/completions") as path:
                return _error(405, f"{path} does not take {method}", "method_not_allowed")
            case _:
                return _error(404, "only chat completions and models are served", "not_found")

    def _refusal(self, request: web.BaseRequest) -> web.Response | None:
        if request.headers.get("Host", "") not in self._hosts or "Origin" in request.headers:
            return _error(403, "this door is for programs on this machine", "forbidden")
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        if kind.lower() != "bearer" or not self._tokens.opens(token.strip()):
            return _error(
                401, "a token of this node is needed: `ricochet node token new`", "invalid_api_key"
            )
        return None

    def _names(self) -> list[ModelId]:
        return [offer.id for offer in self._offers()]

    async def _bounded(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            async with asyncio.timeout(self._most_seconds):
                return await self._chat(request)
        except TimeoutError:
            if request.transport is not None:
                request.transport.abort()
            return web.Response()

    async def _chat(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            async with asyncio.timeout(self._read_seconds):
                data = await _body(request)
            wanted = chat_request_untrusted(data)
            ask = self._ask(wanted)
        except TimeoutError:
            return _error(408, "the request did not come in time", "request_timeout")
        except BadRequest as bad:
            body = chat_answer.error_body(
                bad.message, "invalid_request_error", "invalid_request", bad.param
            )
            return _json(400, body)
        head = Head(id=f"chatcmpl-{ask.request_id}", created=int(self._clock()), model=ask.model)
        async with aclosing(self._serve(ask, whole=not wanted.stream)) as replies:
            if wanted.stream:
                return await _stream(request, head, replies, wanted.include_usage)
            return await _whole(head, ask, replies)

    def _ask(self, wanted: ChatRequest) -> Ask:
        try:
            return Ask(
                request_id=RequestId(secrets.token_hex(16)),
                period=NO_PERIOD,
                model=wanted.model,
                turns=wanted.turns,
                max_tokens=wanted.max_tokens or self._room(wanted),
                deadline=MAX_DEADLINE,
                temperature=wanted.temperature,
                top_p=wanted.top_p,
                stop=wanted.stop,
                seed=wanted.seed,
                response_format=wanted.response_format,
                tools=wanted.tools,
                tool_choice=wanted.tool_choice,
                # The caller is the owner, whose consent is in node.yaml.
                allow_logging=True,
            )
        except ValueError as error:
            raise BadRequest(str(error)) from None

    def _room(self, wanted: ChatRequest) -> int:
        """Tokens for an answer without a limit of its own."""
        for offer in self._offers():
            if offer.id == wanted.model:
                return max(1, min(DEFAULT_TOKENS, offer.context - self._count(wanted)))
        return DEFAULT_TOKENS


async def _whole(head: Head, ask: Ask, replies: AsyncGenerator[Reply, None]) -> web.Response:
    parts = AnswerParts(ask)
    try:
        async for reply in replies:
            if isinstance(reply, Answered):
                answer = parts.whole_untrusted()
                usage = _usage(reply)
                return _json(
                    200,
                    chat_answer.completion(head, answer.text, answer.calls, reply.finish, usage),
                )
            if isinstance(reply, Chunk | CallPiece):
                parts.add_untrusted(reply)
    except RicochetError as error:
        return _failure(error)
    raise AssertionError("a served ask ends with its receipt")


async def _stream(
    request: web.BaseRequest,
    head: Head,
    replies: AsyncGenerator[Reply, None],
    include_usage: bool,
) -> web.StreamResponse:
    response = web.StreamResponse(
        headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}
    )
    try:
        async for reply in replies:
            if not response.prepared:
                await response.prepare(request)
                await response.write(chat_answer.first_event(head))
            if isinstance(reply, Chunk | CallPiece):
                await response.write(chat_answer.piece_event(head, reply))
            elif isinstance(reply, Answered):
                usage = _usage(reply) if include_usage else None
                await response.write(chat_answer.last_events(head, reply.finish, usage))
    except RicochetError as error:
        if not response.prepared:
            return _failure(error)
        await response.write(chat_answer.failure_event(error))
    await response.write_eof()
    return response


def count_request(wanted: ChatRequest) -> int:
    """Tokens of the request's prompt, as the node counts them, tools and schema included."""
    tools = (text for t in wanted.tools for text in (t.name, t.description, t.parameters))
    return count_texts([*texts_of_turns(wanted.turns), *tools, wanted.response_format.schema])


def _usage(answered: Answered) -> Usage:
    receipt = answered.receipt.receipt
    return Usage(receipt.tokens_in, receipt.tokens_out)


async def _body(request: web.BaseRequest) -> bytes:
    """The request's body. What is too much of it is read and dropped, so that the client, who may
    still be sending, hears why; what is far too much is not waited for."""
    body = bytearray()
    dropped = 0
    try:
        async for data in request.content.iter_any():
            if len(body) + len(data) <= MAX_BODY and not dropped:
                body += data
                continue
            dropped += len(data)
            if dropped > _PATIENCE:
                break
    except web.RequestPayloadError:
        raise BadRequest(NO_HTTP) from None
    if dropped:
        raise BadRequest(f"a request has at most {MAX_BODY:,} bytes")
    return bytes(body)


def _json(status: int, body: bytes) -> web.Response:
    return web.Response(status=status, body=body, content_type="application/json")


def _failure(error: RicochetError) -> web.Response:
    """What went wrong, and when to try again as far as that is known: OpenAI's clients wait so."""
    response = _json(*chat_answer.failure(error))
    if isinstance(error, RemoteFault) and error.wait:
        response.headers["Retry-After"] = str(error.wait)
    return response


def _no_http(status: int, message: str) -> web.Response:
    kind = "api_error" if status >= 500 else "invalid_request_error"
    return _json(status, chat_answer.error_body(message, kind, "bad_http"))


def _error(status: int, message: str, code: str) -> web.Response:
    return _json(status, chat_answer.error_body(message, "invalid_request_error", code))
