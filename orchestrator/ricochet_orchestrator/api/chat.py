"""OpenAI's own two endpoints: chat completions, whole or as a stream, and the models on offer."""

import hashlib
import secrets
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Final

import msgspec
from fastapi import APIRouter, Request, Response

from ricochet_orchestrator.api import chain_model, failures
from ricochet_orchestrator.api.runs import MAX_DOCUMENT
from ricochet_orchestrator.api.service import Service, key_of, service_of
from ricochet_orchestrator.api.streams import EventStream, Left, body_of, while_connected
from ricochet_orchestrator.api_keys import ApiKey
from ricochet_orchestrator.call_record import Call, CallAnswer, CallId, allowance_of
from ricochet_protocol import chat_answer
from ricochet_protocol.chat_answer import Head, Usage
from ricochet_protocol.chat_request import (
    MAX_BODY,
    BadRequest,
    ChatRequest,
    chat_request_untrusted,
)
from ricochet_protocol.errors import RemoteCode, RemoteFault, RicochetError
from ricochet_protocol.ids import ModelId, Period
from ricochet_protocol.messages import CallPiece, Chunk

Piece = Chunk | CallPiece
MAX_IDEMPOTENCY_KEY: Final = 255
router = APIRouter(tags=["OpenAI"])
_encode = msgspec.msgpack.Encoder().encode
_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["model", "messages"],
                    "properties": {
                        "model": {"type": "string"},
                        "messages": {"type": "array", "items": {"type": "object"}, "minItems": 1},
                        "stream": {"type": "boolean"},
                    },
                    "description": "OpenAI's chat completion request. What changes the answer and "
                    "cannot be carried over the network is refused by name.",
                }
            }
        },
    },
    "parameters": [
        {
            "name": "Idempotency-Key",
            "in": "header",
            "schema": {"type": "string", "maxLength": MAX_IDEMPOTENCY_KEY},
            "description": "The same request under the same key is answered and paid once.",
        }
    ],
}


@router.get("/v1/models", summary="Models on offer now, and chains")
async def models(request: Request) -> Response:
    """Models that somebody offers now, and chains as `ricochet/NAME`: those the key may call."""
    key, service = key_of(request), service_of(request)
    switchboard = await service.switchboard()
    known = [*switchboard.offers.models(), *chain_model.names(service)]
    names = [ModelId(name) for name in known if key.may_call(name)]
    return _json(chat_answer.models(names, "network"))


@router.post("/v1/chat/completions", summary="Chat with a model", openapi_extra=_BODY)
async def chat(request: Request) -> Response:
    """An answer of the network, whole or as server-sent events."""
    body = await body_of(request, MAX_DOCUMENT)
    if body is None:
        return _too_large(MAX_DOCUMENT)
    key, service = key_of(request), service_of(request)
    try:
        wanted = chat_request_untrusted(body, MAX_DOCUMENT)
        name = _idempotency_key(request)
    except BadRequest as bad:
        return failures.refusal(400, bad.message, "invalid_request", bad.param)
    if not key.may_call(wanted.model):
        return failures.refusal(
            403, f"this API key is not for the model {wanted.model!r}", "model_not_allowed", "model"
        )
    if service.redacts and not chain_model.is_chain(wanted.model):
        text = "privacy.yaml has personal data redacted, which only runs of chains do"
        return failures.refusal(400, text, "not_redacted", "model")
    if len(body) > MAX_BODY and not chain_model.is_chain(wanted.model):
        return _too_large(MAX_BODY)
    if chain_model.is_chain(wanted.model):
        return await _chain(request, wanted)
    call = _call(wanted, key, name, service.clock())
    head = Head(id=f"chatcmpl-{call.id}", created=int(call.created_at), model=wanted.model)
    try:
        if wanted.stream:
            return await _stream(request, service, wanted, call, head)
        return await while_connected(request.receive, _whole(service, wanted, call, head))
    except Left:
        return Response(status_code=499)
    except RicochetError as error:
        return failures.failed(error)


async def _chain(request: Request, wanted: ChatRequest) -> Response:
    service = service_of(request)
    try:
        return await chain_model.answer(request, service, wanted, service.clock())
    except BadRequest as bad:
        return failures.refusal(400, bad.message, "invalid_request", bad.param)
    except Left:
        return Response(status_code=499)
    except RicochetError as error:
        return failures.failed(error)


def _too_large(limit: int) -> Response:
    return failures.refusal(413, f"a request has at most {limit:,} bytes", "request_too_large")


async def _whole(service: Service, wanted: ChatRequest, call: Call, head: Head) -> Response:
    switchboard = await service.switchboard()
    async with aclosing(switchboard.converse(wanted, call, whole=True)) as parts:
        async for part in parts:
            if isinstance(part, CallAnswer):
                usage = Usage(part.tokens_in, part.tokens_out)
                body = chat_answer.completion(head, part.text, part.calls, part.finish, usage)
                return _json(body)
    raise RemoteFault(RemoteCode.INTERNAL, "the call ended without an answer")


async def _stream(
    request: Request, service: Service, wanted: ChatRequest, call: Call, head: Head
) -> Response:
    """A failure before the first piece is an HTTP error, as without a stream."""

    async def begin() -> tuple[AsyncGenerator[Piece | CallAnswer, None], Piece | CallAnswer]:
        switchboard = await service.switchboard()
        parts = switchboard.converse(wanted, call, whole=False)
        return parts, await anext(parts)

    parts, first = await while_connected(request.receive, begin())
    return EventStream(_events(head, wanted, parts, first))


async def _events(
    head: Head,
    wanted: ChatRequest,
    parts: AsyncGenerator[Piece | CallAnswer, None],
    first: Piece | CallAnswer,
) -> AsyncGenerator[bytes, None]:
    async with aclosing(parts):
        yield chat_answer.first_event(head)
        part: Piece | CallAnswer | None = first
        try:
            while part is not None:
                yield _event(head, wanted, part)
                part = await anext(parts, None)
        except RicochetError as error:
            yield chat_answer.failure_event(error)


def _event(head: Head, wanted: ChatRequest, part: Piece | CallAnswer) -> bytes:
    if not isinstance(part, CallAnswer):
        return chat_answer.piece_event(head, part)
    usage = Usage(part.tokens_in, part.tokens_out) if wanted.include_usage else None
    return chat_answer.last_events(head, part.finish, usage)


def _call(wanted: ChatRequest, key: ApiKey, name: str, now: float) -> Call:
    """The call to enter; one with a name is the same call whenever the key asks for it."""
    plain = msgspec.structs.replace(wanted, stream=False, include_usage=False)
    named = hashlib.sha256(_encode((key.id, name))).hexdigest()[:32]
    return Call(
        id=CallId(named if name else secrets.token_hex(16)),
        allowance=allowance_of(key),
        model=ModelId(wanted.model),
        request=hashlib.sha256(_encode(plain)).hexdigest(),
        period=Period(0),
        created_at=now,
    )


def _idempotency_key(request: Request) -> str:
    name: str = request.headers.get("Idempotency-Key", "")
    if len(name) > MAX_IDEMPOTENCY_KEY or not name.isprintable():
        raise BadRequest(f"an idempotency key has at most {MAX_IDEMPOTENCY_KEY} characters")
    return name


def _json(body: bytes) -> Response:
    return Response(body, media_type="application/json")
