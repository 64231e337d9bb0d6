"""What a caller asks of the vault, checked: which route, which model, how much at most.

A caller may be a library that was taken over, so everything here is untrusted. A path is compared
as it was sent, undecoded, so no other spelling reaches a provider. A body is decoded and written
anew, so the provider reads what was checked even where a name stands twice; its fields are a closed
list of those that cannot cost more than the tokens they count for: text in, text out, one answer.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any, Final, Literal

import msgspec

from ricochet_node.key_rules import KeyRules
from ricochet_node.providers import ROUTES, Dialect, Route

_TEMPLATE_TOKENS: Final = 64
"""What a provider's template adds to the text; see `usage.py` of the protocol."""
_TOOLS_TOKENS: Final = 1024
"""What Anthropic adds when there are tools is at most half of it."""


_NOTHING: Final = msgspec.Raw(b"null")


class Refusal(Exception):
    """The vault's own answer: an HTTP status, a code for the refusal header, a wait in seconds."""

    def __init__(self, status: int, code: str, retry_after: int | None = None) -> None:
        self.status = status
        self.code = code
        self.retry_after = retry_after


class Target(msgspec.Struct, frozen=True):
    """An admitted path: `path` continues the key's origin; `model` where the path names it."""

    dialect: Dialect
    method: str
    path: str
    model: str | None


class Call(msgspec.Struct, frozen=True):
    """A checked request. `prompt` is at least its number of tokens: no token is under a byte.

    `model` is None for a list of models, `max_tokens` where the caller set no bound.
    """

    body: bytes = b""
    model: str | None = None
    prompt: int = 0
    max_tokens: int | None = None


class _Text(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    type: Literal["text"]
    text: str


class _Function(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    type: Literal["function"]
    function: msgspec.Raw


class _CalledFunction(_Function, frozen=True, forbid_unknown_fields=True):
    id: str = ""


class _OpenAiMessage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    role: str
    content: str | list[_Text] | None = None
    tool_call_id: str = ""
    tool_calls: list[_CalledFunction] = []


class _Block(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Anthropic's text, call of the caller's own tool, or what it returned."""

    type: Literal["text", "tool_use", "tool_result"]
    text: str = ""
    id: str = ""
    name: str = ""
    input: msgspec.Raw = msgspec.Raw(b"{}")
    tool_use_id: str = ""
    content: str | list[_Text] = ""
    is_error: bool = False


class _AnthropicMessage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    role: str
    content: str | list[_Block]


class _AnthropicTool(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The caller's own: those that Anthropic runs and bills itself have another type."""

    name: str
    input_schema: msgspec.Raw
    description: str = ""
    type: Literal["custom"] = "custom"


class _GooglePart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Text, a call, or what it returned; Google reads both spellings."""

    text: str = ""
    functionCall: msgspec.Raw = _NOTHING  # noqa: N815 - Google's spelling
    functionResponse: msgspec.Raw = _NOTHING  # noqa: N815
    function_call: msgspec.Raw = _NOTHING
    function_response: msgspec.Raw = _NOTHING
    thoughtSignature: str = ""  # noqa: N815


class _GoogleContent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    parts: list[_GooglePart]
    role: str = ""


class _GoogleTool(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The caller's own; search and code execution are Google's and cost extra."""

    functionDeclarations: list[msgspec.Raw] = []  # noqa: N815 - Google's spelling
    function_declarations: list[msgspec.Raw] = []


_One = Literal[1]
_Tokens = Annotated[int, msgspec.Meta(ge=1, le=10**7)]
"""More than any model generates; a larger number would only be a way to break an addition."""
_ANY: Final = msgspec.Raw
_FIELDS: Final[dict[Dialect, dict[str, Any]]] = {
    Dialect.OPENAI: {
        "model": str,
        "messages": list[_OpenAiMessage],
        "max_tokens": _Tokens,
        "max_completion_tokens": _Tokens,
        "n": _One,
        "stream": bool,
        "tools": list[_Function],
        **dict.fromkeys(
            (
                *("stream_options", "temperature", "top_p", "top_k", "min_p", "stop", "seed"),
                *("random_seed", "response_format", "tool_choice", "parallel_tool_calls"),
                *("frequency_penalty", "presence_penalty", "logit_bias", "reasoning_effort"),
            ),
            _ANY,
        ),
    },
    Dialect.ANTHROPIC: {
        "model": str,
        "messages": list[_AnthropicMessage],
        "system": str | list[_Text],
        "max_tokens": _Tokens,
        "stream": bool,
        "tools": list[_AnthropicTool],
        **dict.fromkeys(
            ("temperature", "top_p", "top_k", "stop_sequences", "thinking", "tool_choice"), _ANY
        ),
    },
    Dialect.GOOGLE: {
        "contents": list[_GoogleContent],
        "systemInstruction": _GoogleContent,
        "system_instruction": _GoogleContent,
        "generationConfig": dict[str, msgspec.Raw],
        "tools": list[_GoogleTool],
        **dict.fromkeys(("safetySettings", "toolConfig"), _ANY),
    },
}
_DECODERS: Final = {
    dialect: {name: msgspec.json.Decoder(kind) for name, kind in fields.items()}
    for dialect, fields in _FIELDS.items()
}
_REQUIRED: Final = {
    Dialect.OPENAI: ("model", "messages"),
    Dialect.ANTHROPIC: ("model", "messages", "max_tokens"),
    Dialect.GOOGLE: ("contents",),
}
_GENERATION: Final[dict[str, Any]] = {
    "maxoutputtokens": _Tokens,
    "candidatecount": _One,
    **dict.fromkeys(
        (
            *("temperature", "topp", "topk", "stopsequences", "responsemimetype", "seed"),
            *(
                "responseschema",
                "responsejsonschema",
                "presencepenalty",
                "frequencypenalty",
                "thinkingconfig",
            ),
        ),
        _ANY,
    ),
}
"""Google reads `maxOutputTokens` and `max_output_tokens` alike; here both lose what differs."""


_GENERATION_DECODERS: Final = {
    name: msgspec.json.Decoder(kind) for name, kind in _GENERATION.items()
}
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


@lru_cache(256)
def target_untrusted(dialect: Dialect, method: str, raw: str) -> Target:
    """The route that a path below `/<key id>` takes; Refusal `path` or `method`."""
    path, mark, query = raw.partition("?")
    found: Route | None = None
    for route in ROUTES[dialect]:
        matched = route.pattern.fullmatch(path)
        if matched is None or query not in route.queries or (mark and not query):
            continue
        found = route
        if route.method == method:
            return Target(dialect, method, raw, matched.groupdict().get("model"))
    raise Refusal(405, "method") if found else Refusal(404, "path")


def call_untrusted(target: Target, body: bytes, rules: KeyRules) -> Call:
    """The call to send; Refusal `body`, `field` (one that is not in the list) or `model`."""
    if target.method == "GET":
        if body:
            raise Refusal(400, "body")
        return Call()
    try:
        fields = _decode_fields(body)
        values = _checked(fields, _DECODERS[target.dialect])
        bound = _most_generated(target.dialect, fields, values)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Refusal(400, "body") from None
    if any(name not in fields for name in _REQUIRED[target.dialect]):
        raise Refusal(400, "body")
    model = target.model or str(values["model"])
    if not rules.allows(model):
        raise Refusal(403, "model")
    sent = msgspec.json.encode(fields)
    prompt = most_prompt_tokens(len(sent), tools="tools" in fields)
    return Call(sent, model, prompt, bound)


def most_prompt_tokens(size: int, *, tools: bool) -> int:
    """The most tokens that a provider can count in a body of `size` bytes."""
    return size + _TEMPLATE_TOKENS + (_TOOLS_TOKENS if tools else 0)


def _checked(
    fields: dict[str, msgspec.Raw], known: Mapping[str, "msgspec.json.Decoder[Any]"]
) -> dict[str, Any]:
    if not fields.keys() <= known.keys():
        raise Refusal(400, "field")
    return {name: known[name].decode(raw) for name, raw in fields.items()}


def _most_generated(
    dialect: Dialect, fields: dict[str, msgspec.Raw], values: dict[str, Any]
) -> int | None:
    """The bound that the caller set; the larger one where two names of it stand."""
    if dialect is not Dialect.GOOGLE:
        bounds = [values[name] for name in values if _FIELDS[dialect][name] is _Tokens]
        return max(bounds, default=None)
    if "generationConfig" not in values:
        return None
    raws: dict[str, msgspec.Raw] = values["generationConfig"]
    # Written anew too: whoever reads the first of two equal names must find the checked one.
    fields["generationConfig"] = msgspec.Raw(msgspec.json.encode(raws))
    spelt = {name: name.replace("_", "").lower() for name in raws}
    if not _GENERATION.keys() >= set(spelt.values()):
        raise Refusal(400, "field")
    checked = _checked(raws, {name: _GENERATION_DECODERS[spelt[name]] for name in raws})
    bounds = [value for name, value in checked.items() if _GENERATION[spelt[name]] is _Tokens]
    return max(bounds, default=None)
