"""An ask as the body of OpenAI's `POST /chat/completions`, which most providers understand.

Only what the ask really uses is written: a provider that does not know a field is not bothered with
its default. JSON schemas and arguments go out as the text they came in. Source: the OpenAPI
description of OpenAI's API, "Create chat completion".
"""

from typing import Literal

import msgspec

from ricochet_protocol.conversation import AnswerFormat, Tool, ToolCall, ToolChoice, Turn
from ricochet_protocol.messages import Ask


class _Struct(msgspec.Struct, frozen=True, omit_defaults=True):
    pass


class _CalledFunction(_Struct, frozen=True):
    name: str
    arguments: str


class _Call(_Struct, frozen=True):
    id: str
    type: str
    function: _CalledFunction


class _Message(_Struct, frozen=True):
    role: Literal["system", "user", "assistant", "tool"]
    content: str
    tool_calls: tuple[_Call, ...] = ()
    tool_call_id: str = ""


class _Function(_Struct, frozen=True):
    name: str
    parameters: msgspec.Raw
    description: str = ""
    strict: bool = False


class _Tool(_Struct, frozen=True):
    type: str
    function: _Function


class _Named(_Struct, frozen=True):
    name: str


class _Choice(_Struct, frozen=True):
    type: str
    function: _Named


class _Schema(_Struct, frozen=True):
    name: str
    schema: msgspec.Raw
    strict: bool = False


class _Format(_Struct, frozen=True):
    type: str
    json_schema: _Schema | None = None


class _StreamOptions(_Struct, frozen=True):
    include_usage: bool


class _Body(_Struct, frozen=True):
    model: str
    messages: tuple[_Message, ...]
    max_tokens: int
    temperature: float
    stream: bool
    stream_options: _StreamOptions | None = None
    top_p: float | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    response_format: _Format | None = None
    tools: tuple[_Tool, ...] = ()
    tool_choice: str | _Choice | None = None


_encode = msgspec.json.Encoder().encode


def chat_body(model: str, ask: Ask, *, whole: bool = False) -> bytes:
    """JSON of a call of the provider's `model`: streamed with the usage at its end, or `whole`."""
    return _encode(
        _Body(
            model=model,
            messages=tuple(map(_message, ask.turns)),
            max_tokens=ask.max_tokens,
            temperature=ask.temperature,
            stream=not whole,
            stream_options=None if whole else _StreamOptions(include_usage=True),
            top_p=None if ask.top_p == 1.0 else ask.top_p,
            stop=ask.stop,
            seed=ask.seed,
            response_format=_format(ask.response_format),
            tools=tuple(map(_tool, ask.tools)),
            tool_choice=_choice(ask.tool_choice),
        )
    )


def _message(turn: Turn) -> _Message:
    return _Message(
        role=turn.role,
        content=turn.content,
        tool_calls=tuple(map(_call, turn.tool_calls)),
        tool_call_id=turn.tool_call_id,
    )


def _call(call: ToolCall) -> _Call:
    function = _CalledFunction(name=call.name, arguments=call.arguments)
    return _Call(id=call.id, type="function", function=function)


def _tool(tool: Tool) -> _Tool:
    function = _Function(
        name=tool.name,
        description=tool.description,
        parameters=msgspec.Raw(tool.parameters),
        strict=tool.strict,
    )
    return _Tool(type="function", function=function)


def _choice(choice: ToolChoice) -> str | _Choice | None:
    if choice.mode == "function":
        return _Choice(type="function", function=_Named(name=choice.name))
    return None if choice.mode == "auto" else choice.mode


def _format(wanted: AnswerFormat) -> _Format | None:
    if wanted.kind == "text":
        return None
    if wanted.kind == "json_object":
        return _Format(type=wanted.kind)
    schema = _Schema(name=wanted.name, schema=msgspec.Raw(wanted.schema), strict=wanted.strict)
    return _Format(type=wanted.kind, json_schema=schema)
