"""The owner's own door: OpenAI's API on loopback, over his own calls (`own_calls`).

Any OpenAI client uses the owner's pool through it by base URL and token. Nothing is paid: the
caller is the owner. Limits, slots, metering and the request log hold as for everyone. A caller
shows a token made for this door (`door_tokens`); pages in a browser, which reach loopback too, are
refused by Host and Origin. Errors have the shape and the codes that OpenAI's clients know.
"""

import asyncio
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import Final, Protocol

from ricochet_node.door_tokens import DoorTokens
from ricochet_node.http_request import Request, Stream
from ricochet_node.http_server import DEFECT, NO_HTTP, Words, serving
from ricochet_node.own_calls import Ended
from ricochet_protocol import chat_answer
from ricochet_protocol.advert import ModelOffer
from ricochet_protocol.answer import Answer
from ricochet_protocol.chat_answer import Head, Usage
from ricochet_protocol.chat_request import (
    MAX_BODY,
    BadRequest,
    ChatRequest,
    chat_request_untrusted,
)
from ricochet_protocol.errors import LocalFault, RemoteFault, RicochetError
from ricochet_protocol.ids import ModelId, Period, RequestId
from ricochet_protocol.messages import MAX_DEADLINE, Ask, CallPiece, Chunk

NO_PERIOD: Final = Period(0)
"""Nobody's: periods of subscribers begin with 1."""

READ_SECONDS: Final = 30
"""For a request's body, which comes from this machine."""
MOST_SECONDS: Final = MAX_DEADLINE + 2 * READ_SECONDS
"""For a request and its answer: a call ends before, so this is for clients who do not read."""
_PATIENCE: Final = 8 * MAX_BODY
"""Bytes of an oversized body that are read before the connection is given up."""
_JSON_HEADERS: Final = {"Content-Type": "application/json"}
_STREAM_HEADERS: Final = {"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}


class Calls(Protocol):
    """As of `OwnCalls`."""

    async def whole(self, ask: Ask) -> tuple[Answer, Ended]: ...

    def stream(self, ask: Ask) -> AsyncGenerator[Chunk | CallPiece | Ended, None]: ...

    async def room(self, wanted: ChatRequest) -> int: ...


class LocalDoor:
    """`offers` gives what is on offer now."""

    def __init__(
        self,
        calls: Calls,
        offers: Callable[[], Sequence[ModelOffer]],
        tokens: DoorTokens,
        clock: Callable[[], float],
        read_seconds: float = READ_SECONDS,
        most_seconds: float = MOST_SECONDS,
    ) -> None:
        self._calls = calls
        self._offers = offers
        self._tokens = tokens
        self._clock = clock
        self._read_seconds = read_seconds
        self._most_seconds = most_seconds
        self._hosts: frozenset[str] = frozenset()

    @asynccontextmanager
    async def opened(self, host: str, port: int) -> AsyncIterator[str]:
        """The base URL for clients while the context lasts; LocalFault `port_in_use`."""
        async with AsyncExitStack() as stack:
            served = serving(self._handle, host, port, self._most_seconds, _no_http)
            try:
                bound = await stack.enter_async_context(served)
            except OSError as error:
                raise LocalFault(
                    "port_in_use",
                    f"the local door cannot open at {host}:{port}: {error.strerror}",
                    "choose another `door` address in node.yaml",
                ) from None
            self._hosts = frozenset(f"{name}:{bound}" for name in (host, "127.0.0.1", "localhost"))
            yield f"http://{host}:{bound}/v1"

    async def _handle(self, request: Request) -> None:
        if not _readable(request):
            words = _no_http(400)
            request.keep_alive = False
            request.answer(words.status, words.body, words.headers)
            return
        if self._refuses(request):
            return
        match request.method, request.path:
            case "GET", "/v1/models":
                _json(request, 200, chat_answer.models(self._names(), "node"))
            case "POST", "/v1/chat/completions":
                await self._chat(request)
            case method, ("/v1/models" | "/v1/chat/completions") as path:
                _error(request, 405, f"{path} does not take {method}", "method_not_allowed")
            case _:
                _error(request, 404, "only chat completions and models are served", "not_found")

    def _refuses(self, request: Request) -> bool:
        """Whether it does, which it has told the client then."""
        headers = request.headers
        if headers.get("host", "") not in self._hosts or "origin" in headers:
            _error(request, 403, "this door is for programs on this machine", "forbidden")
            return True
        kind, _, token = headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not self._tokens.opens(token.strip()):
            needed = "a token of this node is needed: `ricochet node token new`"
            _error(request, 401, needed, "invalid_api_key")
            return True
        return False

    def _names(self) -> list[ModelId]:
        return [offer.id for offer in self._offers()]

    async def _chat(self, request: Request) -> None:
        try:
            wanted = chat_request_untrusted(await self._read(request))
            ask = await self._ask(wanted)
        except TimeoutError:
            _error(request, 408, "the request did not come in time", "request_timeout")
            return
        except BadRequest as bad:
            body = chat_answer.error_body(
                bad.message, "invalid_request_error", "invalid_request", bad.param
            )
            _json(request, 400, body)
            return
        head = Head(id=f"chatcmpl-{ask.request_id}", created=int(self._clock()), model=ask.model)
        if not wanted.stream:
            await self._whole(request, head, ask)
            return
        async with aclosing(self._calls.stream(ask)) as pieces:
            await _stream(request, head, pieces, wanted.include_usage)

    async def _whole(self, request: Request, head: Head, ask: Ask) -> None:
        try:
            answer, ended = await self._calls.whole(ask)
        except RicochetError as error:
            _failed(request, error)
            return
        usage = Usage(ended.tokens_in, ended.tokens_out)
        body = chat_answer.completion(head, answer.text, answer.calls, ended.finish, usage)
        _json(request, 200, body)

    async def _read(self, request: Request) -> bytes:
        body = request.ready()
        if body is None:
            async with asyncio.timeout(self._read_seconds):
                return await _body(request)
        if len(body) > MAX_BODY:
            raise _too_long()
        return body

    async def _ask(self, wanted: ChatRequest) -> Ask:
        most = wanted.max_tokens or await self._calls.room(wanted)
        try:
            return Ask(
                request_id=RequestId(secrets.token_hex(16)),
                period=NO_PERIOD,
                model=wanted.model,
                turns=wanted.turns,
                max_tokens=most,
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


async def _stream(
    request: Request,
    head: Head,
    pieces: AsyncGenerator[Chunk | CallPiece | Ended, None],
    include_usage: bool,
) -> None:
    stream: Stream | None = None
    ending = b""
    try:
        async for piece in pieces:
            if isinstance(piece, Ended):
                usage = Usage(piece.tokens_in, piece.tokens_out) if include_usage else None
                ending = chat_answer.last_events(head, piece.finish, usage)
            elif stream is None:
                stream = request.begin(200, _STREAM_HEADERS)
                await stream.write(
                    chat_answer.first_event(head) + chat_answer.piece_event(head, piece)
                )
            else:
                await stream.write(chat_answer.piece_event(head, piece))
    except RicochetError as error:
        if stream is None:
            _failed(request, error)
            return
        ending = chat_answer.failure_event(error)
    if stream is None:  # a model that said nothing
        stream = request.begin(200, _STREAM_HEADERS)
        ending = chat_answer.first_event(head) + ending
    stream.end(ending)


async def _body(request: Request) -> bytes:
    """The request's body. What is too much of it is read and dropped, so that the client, who may
    still be sending, hears why; what is far too much is not waited for."""
    body = bytearray()
    dropped = 0
    while data := await request.read():
        if len(body) + len(data) <= MAX_BODY and not dropped:
            body += data
            continue
        dropped += len(data)
        if dropped > _PATIENCE:
            break
    if dropped:
        raise _too_long()
    return bytes(body)


def _too_long() -> BadRequest:
    return BadRequest(f"a request has at most {MAX_BODY:,} bytes")


def _json(request: Request, status: int, body: bytes) -> None:
    request.answer(status, body, _JSON_HEADERS)


def _error(request: Request, status: int, message: str, code: str) -> None:
    _json(request, status, chat_answer.error_body(message, "invalid_request_error", code))


def _failed(request: Request, error: RicochetError) -> None:
    """What went wrong, and when to try again as far as that is known: OpenAI's clients wait so."""
    status, body = chat_answer.failure(error)
    headers = _JSON_HEADERS
    if isinstance(error, RemoteFault) and error.wait:
        headers = {**headers, "Retry-After": str(error.wait)}
    request.answer(status, body, headers)


def _readable(request: Request) -> bool:
    """Whether it is HTTP as this door reads it: one host, a path, and a body as it is."""
    coding = request.headers.get("content-encoding", "identity")
    path = request.target
    return (
        "host" not in request.doubled
        and path.startswith("/")
        and path.isascii()
        and coding.lower() == "identity"
    )


def _no_http(status: int) -> Words:
    ours = status >= 500
    kind, what = ("api_error", DEFECT) if ours else ("invalid_request_error", NO_HTTP)
    body = chat_answer.error_body(what, kind, "bad_http")
    return Words(status if ours else 400, body, _JSON_HEADERS)
