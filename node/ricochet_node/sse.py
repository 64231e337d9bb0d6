"""Answers of OpenAI-compatible providers, streamed or whole: bytes in, meanings out.

A provider is outside our trust like a peer: whatever it sends is parsed here, within bounds, and
what does not parse is a ProviderFault. Source: WHATWG HTML, "Server-sent events".
"""

from typing import Final

import msgspec

from ricochet_node.call_order import CallDelta
from ricochet_node.faults import broken, fault_in_stream

MAX_LINE: Final = 1024 * 1024
_DONE: Final = b"[DONE]"
_NOTHING: Final = msgspec.Raw()


class _Function(msgspec.Struct, frozen=True):
    name: str | None = None
    arguments: str | None = None


class _Call(msgspec.Struct, frozen=True):
    index: int | None = None
    id: str | None = None
    function: _Function = _Function()


class _Delta(msgspec.Struct, frozen=True):
    content: str | None = None
    tool_calls: tuple[_Call, ...] | None = None


class _Choice(msgspec.Struct, frozen=True):
    delta: _Delta = _Delta()
    finish_reason: str | None = None


class _Usage(msgspec.Struct, frozen=True):
    prompt_tokens: int
    completion_tokens: int


class _Whole(msgspec.Struct, frozen=True):
    message: _Delta = _Delta()
    finish_reason: str | None = None


class _Event(msgspec.Struct, frozen=True):
    choices: tuple[_Choice, ...] = ()
    usage: _Usage | None = None
    error: msgspec.Raw = _NOTHING


class _Completion(msgspec.Struct, frozen=True):
    choices: tuple[_Whole, ...]
    usage: _Usage | None = None


class Piece(msgspec.Struct, frozen=True):
    """What one event says; any part may be missing."""

    text: str = ""
    calls: tuple[CallDelta, ...] = ()
    finish: str | None = None
    tokens: tuple[int, int] | None = None
    """Tokens in and out, as the provider counted them."""
    done: bool = False


class EventDecoder:
    """Turns a provider's bytes into pieces, whatever way the bytes are cut."""

    def __init__(self) -> None:
        self._tail = b""

    def feed_untrusted(self, data: bytes) -> list[Piece]:
        """The pieces that `data` completes; ProviderFault for what is no event stream."""
        *lines, self._tail = (self._tail + data).split(b"\n")
        if len(self._tail) > MAX_LINE:
            raise broken("a line without end")
        # Events of these providers have one data line each; other fields and comments say nothing.
        return [
            _piece_untrusted(line[len(b"data:") :].strip())
            for line in lines
            if line.startswith(b"data:")
        ]


_decoder = msgspec.json.Decoder(_Event)
_completions = msgspec.json.Decoder(_Completion)


def completion_untrusted(data: bytes) -> Piece:
    """A whole answer as one piece; ProviderFault for what is none."""
    try:
        whole = _completions.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise broken("an unreadable answer") from None
    choice = whole.choices[0] if whole.choices else _Whole()
    calls = (
        # Whole calls are a list, and few providers number what is in order anyway.
        msgspec.structs.replace(_delta(call), number=number)
        for number, call in enumerate(choice.message.tool_calls or ())
    )
    return Piece(
        text=choice.message.content or "",
        calls=tuple(calls),
        finish=choice.finish_reason,
        tokens=_tokens(whole.usage),
    )


def _piece_untrusted(data: bytes) -> Piece:
    if data == _DONE:
        return Piece(done=True)
    try:
        event = _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise broken("an unreadable event") from None
    if (error := bytes(event.error)) not in (b"", b"null"):
        raise fault_in_stream(error)
    choice = event.choices[0] if event.choices else _Choice()
    return Piece(
        text=choice.delta.content or "",
        calls=tuple(map(_delta, choice.delta.tool_calls or ())),
        finish=choice.finish_reason,
        tokens=_tokens(event.usage),
    )


def _tokens(usage: _Usage | None) -> tuple[int, int] | None:
    if usage is None:
        return None
    tokens = (usage.prompt_tokens, usage.completion_tokens)
    if not all(0 <= count < 2**40 for count in tokens):
        raise broken("a usage out of range")
    return tokens


def _delta(call: _Call) -> CallDelta:
    return CallDelta(
        number=call.index or 0,
        id=call.id or "",
        name=call.function.name or "",
        arguments=call.function.arguments or "",
    )
