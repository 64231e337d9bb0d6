"""What an OpenAI client sends to `POST /v1/chat/completions`, read as the fields of an ask.

The schema is closed. A parameter that changes the answer and that an ask cannot carry is refused by
name, unless its value is the one that changes nothing; parameters that only label a request for its
sender (`user`, `metadata` …) are taken and have no effect. Source: the OpenAPI description of
OpenAI's API, "Create chat completion".
"""

from typing import Any, Final, Literal

import msgspec

from ricochet_protocol.conversation import (
    AnswerFormat,
    Tool,
    ToolCall,
    ToolChoice,
    Turn,
    check_stops,
    check_tools,
    check_turns,
)
from ricochet_protocol.ids import ModelId
from ricochet_protocol.messages import MAX_TOKENS

MAX_BODY: Final = 4 * 1024 * 1024
"""Bytes: as much as a peer may send in one message."""
_LABELS: Final = ("user", "metadata", "safety_identifier", "prompt_cache_key")
"""They tell the sender's requests apart, and no answer depends on them."""
_NEUTRAL: Final[dict[str, tuple[Any, ...]]] = {
    "n": (1,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logprobs": (False,),
    "logit_bias": ({},),
    "parallel_tool_calls": (True,),
    "store": (False,),
    "service_tier": ("auto", "default"),
}
"""Values that are the same as leaving the parameter out; null is one for every parameter."""


class BadRequest(Exception):
    """The request cannot be served as it is; `param` names the field, "" the whole."""

    def __init__(self, message: str, param: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.param = param


class ChatRequest(msgspec.Struct, frozen=True):
    """The fields of an ask that a client chooses; `max_tokens` is None when it does not.

    `include_usage` asks for the tokens used at the end of a stream.
    """

    model: ModelId
    turns: tuple[Turn, ...]
    max_tokens: int | None = None
    temperature: float = 1.0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int | None = None
    response_format: AnswerFormat = AnswerFormat()
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = ToolChoice()
    stream: bool = False
    include_usage: bool = False


class _Closed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class _Part(_Closed, frozen=True):
    type: str
    text: str = ""


class _CalledFunction(_Closed, frozen=True):
    name: str
    arguments: str


class _Call(_Closed, frozen=True):
    id: str
    function: _CalledFunction
    type: Literal["function"] = "function"


class _Message(_Closed, frozen=True):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | tuple[_Part, ...] | None = None
    tool_calls: tuple[_Call, ...] | None = None
    tool_call_id: str = ""
    # Clients send back whole answers; these are null in ours.
    refusal: None = None
    audio: None = None
    function_call: None = None
    annotations: tuple[()] | None = None


class _Function(_Closed, frozen=True):
    name: str
    description: str | None = None
    parameters: msgspec.Raw = msgspec.Raw(b'{"type":"object","properties":{}}')
    strict: bool | None = None


class _Tool(_Closed, frozen=True):
    function: _Function
    type: Literal["function"] = "function"


class _Named(_Closed, frozen=True):
    name: str


class _OneFunction(_Closed, frozen=True):
    function: _Named
    type: Literal["function"] = "function"


class _Schema(_Closed, frozen=True):
    name: str
    schema: msgspec.Raw = msgspec.Raw(b"{}")
    strict: bool | None = None
    description: str | None = None


class _Format(_Closed, frozen=True):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: _Schema | None = None


class _StreamOptions(_Closed, frozen=True):
    include_usage: bool = False
    include_obfuscation: bool = False


class _Body(_Closed, frozen=True):
    model: str
    messages: tuple[_Message, ...]
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop: str | tuple[str, ...] | None = None
    seed: int | None = None
    response_format: _Format | None = None
    tools: tuple[_Tool, ...] | None = None
    tool_choice: Literal["auto", "none", "required"] | _OneFunction | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None


_FIELDS: Final = frozenset(_Body.__struct_fields__)
_ANY_TOOL: Final = ToolChoice()
_ANY_FORMAT: Final = AnswerFormat()
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_body = msgspec.json.Decoder(_Body)


def chat_request_untrusted(data: bytes, limit: int = MAX_BODY) -> ChatRequest:
    """A client's request of at most `limit` bytes; BadRequest names what cannot be served."""
    if len(data) > limit:
        raise BadRequest(f"a request has at most {limit:,} bytes")
    try:
        return _request(_body_untrusted(data))
    except (msgspec.ValidationError, ValueError) as error:
        raise BadRequest(str(error)) from None
    except RecursionError:
        raise BadRequest("the request is nested too deeply") from None


def _body_untrusted(data: bytes) -> _Body:
    try:
        return _body.decode(data)
    except msgspec.ValidationError:
        pass  # mostly it has fields besides those of an ask
    fields = _object.decode(data)
    _check_others(fields)
    known = {name: value for name, value in fields.items() if name in _FIELDS}
    return _body.decode(msgspec.json.encode(known))


def _check_others(fields: dict[str, msgspec.Raw]) -> None:
    for name, raw in fields.items():
        if name in _FIELDS or name in _LABELS:
            continue
        value = msgspec.json.decode(raw)
        if value is None or value in _NEUTRAL.get(name, ()):
            continue
        if name in _NEUTRAL:
            raise BadRequest(f"{name} is supported only with its default value", name)
        raise BadRequest(f"the parameter {name[:64]!r} is not supported", name[:64])


def _request(body: _Body) -> ChatRequest:
    limit = body.max_tokens if body.max_completion_tokens is None else body.max_completion_tokens
    if limit is not None and not 0 < limit <= MAX_TOKENS:
        raise BadRequest(f"max_tokens: 1 to {MAX_TOKENS:,}", "max_tokens")
    temperature = 1.0 if body.temperature is None else body.temperature
    if not 0.0 <= temperature <= 2.0:
        raise BadRequest("temperature: 0 to 2", "temperature")
    top_p = 1.0 if body.top_p is None else body.top_p
    if not 0.0 < top_p <= 1.0:
        raise BadRequest("top_p: above 0, at most 1", "top_p")
    request = ChatRequest(
        model=ModelId(body.model),
        turns=tuple(_turn(message) for message in body.messages),
        max_tokens=limit,
        temperature=temperature,
        top_p=top_p,
        stop=(body.stop,) if isinstance(body.stop, str) else body.stop or (),
        seed=body.seed,
        response_format=_format(body.response_format),
        tools=tuple(_tool(tool) for tool in body.tools or ()),
        tool_choice=_choice(body.tool_choice),
        stream=bool(body.stream),
        include_usage=body.stream_options is not None and body.stream_options.include_usage,
    )
    check_turns(request.turns)
    check_tools(request.tools, request.tool_choice)
    check_stops(request.stop)
    return request


def _turn(message: _Message) -> Turn:
    return Turn(
        role="system" if message.role == "developer" else message.role,
        content=_text(message.content),
        tool_calls=tuple(
            ToolCall(call.id, call.function.name, call.function.arguments)
            for call in message.tool_calls or ()
        ),
        tool_call_id=message.tool_call_id,
    )


def _text(content: str | tuple[_Part, ...] | None) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    for part in content:
        if part.type != "text":
            raise BadRequest(f"content of type {part.type[:32]!r} is not supported", "messages")
    return "".join(part.text for part in content)


def _tool(tool: _Tool) -> Tool:
    function = tool.function
    return Tool(
        name=function.name,
        description=function.description or "",
        parameters=bytes(function.parameters).decode(),
        strict=bool(function.strict),
    )


def _choice(choice: str | _OneFunction | None) -> ToolChoice:
    match choice:
        case None | "auto":
            return _ANY_TOOL
        case "none":
            return ToolChoice(mode="none")
        case "required":
            return ToolChoice(mode="required")
        case _OneFunction():
            return ToolChoice(mode="function", name=choice.function.name)
    raise BadRequest("tool_choice is not one of those known", "tool_choice")


def _format(wanted: _Format | None) -> AnswerFormat:
    if wanted is None or wanted.json_schema is None:
        return _ANY_FORMAT if wanted is None else AnswerFormat(kind=wanted.type)
    if wanted.type != "json_schema":
        raise BadRequest("only the type json_schema has a schema", "response_format")
    return AnswerFormat(
        kind="json_schema",
        name=wanted.json_schema.name,
        schema=bytes(wanted.json_schema.schema).decode(),
        strict=bool(wanted.json_schema.strict),
    )
