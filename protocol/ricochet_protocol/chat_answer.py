"""What an OpenAI client gets back: completions, their stream, the list of models, errors.

Bytes only; whoever serves HTTP sends them. A stream is a sequence of server-sent events that ends
with `data: [DONE]`; a failure after its beginning is an event with an `error`, as OpenAI's clients
expect. Source: the OpenAPI description of OpenAI's API.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, Final

import msgspec

from ricochet_protocol.conversation import ToolCall
from ricochet_protocol.errors import BudgetError, RemoteCode, RicochetError
from ricochet_protocol.ids import ModelId
from ricochet_protocol.messages import CallPiece, Chunk

_encode = msgspec.json.Encoder().encode
DONE: Final = b"data: [DONE]\n\n"

_STATUS: Final[dict[str, tuple[int, str, str]]] = {
    RemoteCode.NO_MODEL: (404, "invalid_request_error", "model_not_found"),
    RemoteCode.TOO_LONG: (400, "invalid_request_error", "context_length_exceeded"),
    RemoteCode.REFUSED: (400, "invalid_request_error", "refused"),
    RemoteCode.CONFLICT: (409, "invalid_request_error", "conflict"),
    RemoteCode.BUSY: (429, "rate_limit_error", "rate_limit_exceeded"),
    RemoteCode.PAYMENT_REQUIRED: (402, "insufficient_quota", "insufficient_quota"),
    RemoteCode.TIMEOUT: (504, "api_error", "timeout"),
    RemoteCode.UPSTREAM_AUTH: (502, "api_error", "upstream_auth"),
}
_ANY: Final = (502, "api_error")


class Usage(msgspec.Struct, frozen=True):
    """Tokens of one answer."""

    tokens_in: int
    tokens_out: int

    def document(self) -> dict[str, int]:
        """As OpenAI writes it."""
        return {
            "prompt_tokens": self.tokens_in,
            "completion_tokens": self.tokens_out,
            "total_tokens": self.tokens_in + self.tokens_out,
        }


class Head(msgspec.Struct, frozen=True):
    """What every part of one answer carries; `created` is Unix seconds."""

    id: str
    created: int
    model: ModelId


def completion(
    head: Head, text: str, calls: Sequence[ToolCall], finish: str, usage: Usage
) -> bytes:
    """A whole answer."""
    message: dict[str, Any] = {"role": "assistant", "content": text or None, "refusal": None}
    if calls:
        message["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in calls
        ]
    else:
        message["content"] = text
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish}
    return _document(head, "chat.completion", [choice], usage)


def first_event(head: Head) -> bytes:
    """Opens a stream: whose turn it is."""
    return _event(head, {"role": "assistant", "content": ""}, None)


def piece_event(head: Head, piece: Chunk | CallPiece) -> bytes:
    """A piece of the answer."""
    if isinstance(piece, Chunk):
        return _event(head, {"content": piece.text}, None)
    call: dict[str, Any] = {"index": piece.index}
    if piece.id:
        call |= {"id": piece.id, "type": "function"}
    function = {"arguments": piece.arguments}
    call["function"] = {"name": piece.name, **function} if piece.name else function
    return _event(head, {"tool_calls": [call]}, None)


def last_events(head: Head, finish: str, usage: Usage | None) -> bytes:
    """Closes a stream, with the tokens used when the client asked for them."""
    events = _event(head, {}, finish)
    if usage is not None:
        events += _as_event(_document(head, "chat.completion.chunk", [], usage))
    return events + DONE


def models(offered: Iterable[ModelId], owner: str) -> bytes:
    """The list of models."""
    data = [{"id": model, "object": "model", "created": 0, "owned_by": owner} for model in offered]
    return _encode({"object": "list", "data": data})


def error_body(message: str, kind: str, code: str, param: str = "") -> bytes:
    """An error as OpenAI's clients read it."""
    return _encode(
        {"error": {"message": message, "type": kind, "param": param or None, "code": code}}
    )


def failure(error: RicochetError) -> tuple[int, bytes]:
    """HTTP status and body for what went wrong; the hint is part of the message."""
    text = f"{error.message}; {error.hint}" if error.hint else error.message
    if isinstance(error, BudgetError):
        return 402, error_body(text, "insufficient_quota", error.code)
    status, kind, *code = _STATUS.get(error.code, _ANY)
    return int(status), error_body(text, str(kind), str(code[0]) if code else error.code)


def failure_event(error: RicochetError) -> bytes:
    """The same in the middle of a stream, which ends with it."""
    return _as_event(failure(error)[1])


def _event(head: Head, delta: dict[str, Any], finish: str | None) -> bytes:
    return b'%b,"choices":[{"index":0,"delta":%b,"logprobs":null,"finish_reason":%b}]}\n\n' % (
        _opening(head),
        _encode(delta),
        _encode(finish),
    )


@lru_cache(256)
def _opening(head: Head) -> bytes:
    """What the events of one stream have in common, written once for all of them."""
    document = {
        "id": head.id,
        "object": "chat.completion.chunk",
        "created": head.created,
        "model": head.model,
    }
    return b"data: " + _encode(document)[:-1]


def _document(head: Head, kind: str, choices: list[dict[str, Any]], usage: Usage | None) -> bytes:
    document: dict[str, Any] = {
        "id": head.id,
        "object": kind,
        "created": head.created,
        "model": head.model,
        "choices": choices,
    }
    if usage is not None:
        document["usage"] = usage.document()
    return _encode(document)


def _as_event(document: bytes) -> bytes:
    return b"data: " + document + b"\n\n"
