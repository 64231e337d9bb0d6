"""What is said to a model and how it may answer: turns, functions it may call, shapes of answers.

Every value checks itself when it is made, whoever made it, so that a provider is never sent what
it would refuse. JSON schemas travel as the text the client wrote: they are counted and billed as
text, and no two encoders can disagree about them. The names follow OpenAI's chat completions,
which most clients speak; `Feature` names what not every provider understands.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final, Literal

import msgspec

MAX_CALLS: Final = 64
"""Calls of functions in one answer."""
MAX_TOOLS: Final = 64
MAX_SCHEMA: Final = 32 * 1024
"""Characters of one JSON schema."""
MAX_DEPTH: Final = 64
"""Levels of one JSON schema: parsers elsewhere recurse, and OpenAI allows ten."""
MAX_DESCRIPTION: Final = 4096
MAX_ARGUMENTS: Final = 256 * 1024
"""Characters of one call's arguments: a function may be handed a whole file."""
MAX_CALL_ID: Final = 128
MAX_STOPS: Final = 4
"""As many as OpenAI allows; Google allows one more."""
MAX_STOP: Final = 256
"""Characters of one stop sequence."""
_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")
"""Names of functions and schemas, as OpenAI and Anthropic allow them."""

Feature = Literal["top_p", "stop", "seed", "json_object", "json_schema", "tools"]
"""What an ask may use only where the offer lists it."""


class ToolCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A function that the model wants called; `arguments` is what it wrote, JSON or not."""

    id: str
    name: str
    arguments: str

    def __post_init__(self) -> None:
        if not 0 < len(self.id) <= MAX_CALL_ID or not self.id.isprintable():
            raise ValueError(f"the id of a call has 1 to {MAX_CALL_ID} printable characters")
        _check_name(self.name)
        if len(self.arguments) > MAX_ARGUMENTS:
            raise ValueError(f"arguments have at most {MAX_ARGUMENTS} characters")


class Turn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One message of a conversation; a `tool` turn is what the call `tool_call_id` returned."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""

    def __post_init__(self) -> None:
        if (self.role == "tool") != bool(self.tool_call_id):
            raise ValueError("a tool turn, and no other, names the call it answers")
        if self.tool_calls and self.role != "assistant":
            raise ValueError("only an assistant's turn calls functions")
        if len(self.tool_calls) > MAX_CALLS:
            raise ValueError(f"a turn calls at most {MAX_CALLS} functions")


class Tool(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A function the model may call; `parameters` is the JSON schema of its arguments."""

    name: str
    description: str
    parameters: str
    strict: bool = False

    def __post_init__(self) -> None:
        _check_name(self.name)
        if len(self.description) > MAX_DESCRIPTION:
            raise ValueError(f"a description has at most {MAX_DESCRIPTION} characters")
        _check_schema(self.parameters)


class ToolChoice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whether functions are called: as the model likes, never, at least one, or the named one."""

    mode: Literal["auto", "none", "required", "function"] = "auto"
    name: str = ""

    def __post_init__(self) -> None:
        if (self.mode == "function") != bool(self.name):
            raise ValueError("the choice of one function, and no other, names it")


class AnswerFormat(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The shape of an answer: any text, some JSON object, or JSON that follows `schema`."""

    kind: Literal["text", "json_object", "json_schema"] = "text"
    name: str = ""
    schema: str = ""
    strict: bool = False

    def __post_init__(self) -> None:
        if self.kind == "json_schema":
            _check_name(self.name)
            _check_schema(self.schema)
        elif self.name or self.schema or self.strict:
            raise ValueError("only the format json_schema has a schema")


def check_turns(turns: tuple[Turn, ...]) -> None:
    """ValueError unless there are turns and each tool turn answers a call made before it."""
    if not turns:
        raise ValueError("an ask has at least one turn")
    made: set[str] = set()
    for turn in turns:
        made.update(call.id for call in turn.tool_calls)
        if turn.tool_call_id and turn.tool_call_id not in made:
            raise ValueError("a tool turn answers a call that was not made")


def check_tools(tools: tuple[Tool, ...], choice: ToolChoice) -> None:
    """ValueError unless the tools are few, each named once, and the choice is among them."""
    names = {tool.name for tool in tools}
    if len(tools) > MAX_TOOLS or len(names) < len(tools):
        raise ValueError(f"there are at most {MAX_TOOLS} tools, each with a name of its own")
    if choice.name and choice.name not in names:
        raise ValueError("the chosen tool is not among the tools")
    if choice.mode != "auto" and not tools:
        raise ValueError("there are no tools to choose from")


def check_stops(stops: tuple[str, ...]) -> None:
    """ValueError unless the stop sequences are few and short, and none is empty."""
    if len(stops) > MAX_STOPS or not all(0 < len(stop) <= MAX_STOP for stop in stops):
        raise ValueError(f"at most {MAX_STOPS} stops of 1 to {MAX_STOP} characters")


def texts_of_turns(turns: Iterable[Turn]) -> Iterator[str]:
    """Every text of the turns that a model reads."""
    for turn in turns:
        yield turn.content
        yield from texts_of_calls(turn.tool_calls)


def texts_of_calls(calls: Iterable[ToolCall]) -> Iterator[str]:
    """Every text of the calls that a model wrote."""
    for call in calls:
        yield call.name
        yield call.arguments


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ValueError("a name has 1 to 64 letters, digits, _ or -")


def _check_schema(text: str) -> None:
    if len(text) > MAX_SCHEMA:
        raise ValueError(f"a schema has at most {MAX_SCHEMA} characters")
    try:
        level: list[object] = [_object.decode(text)]
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise ValueError("a schema is one JSON object") from None
    for _ in range(MAX_DEPTH):
        level = [inner for value in level for inner in _inside(value)]
    if level:
        raise ValueError(f"a schema is nested at most {MAX_DEPTH} deep")


def _inside(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


_object = msgspec.json.Decoder(dict[str, object])
