"""The part of JSON Schema that a chain may ask an answer to follow, and the check against it.

Left out are keywords that a stranger's chain could do harm with: references (they load and recurse)
and patterns (some never end on some texts). What is not known is refused, because a rule that is
silently ignored is no rule. The library that checks is loaded on first use.
"""

import functools
import json
from typing import Any, Final

from ricochet_protocol.conversation import AnswerFormat
from ricochet_protocol.nesting import is_nested_beyond

KEYWORDS: Final = frozenset(
    {
        *("type", "properties", "required", "additionalProperties", "items", "enum", "const"),
        *("minItems", "maxItems", "uniqueItems", "minLength", "maxLength", "minProperties"),
        *("maxProperties", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
        *("multipleOf", "anyOf", "title", "description"),
    }
)
_BOUNDS: Final = (
    ("minimum", "maximum"),
    ("minLength", "maxLength"),
    ("minItems", "maxItems"),
    ("minProperties", "maxProperties"),
)
MAX_DEPTH: Final = 64
"""Of an answer, which a stranger's machine wrote."""
_REASON: Final = 300
"""Characters of a reason that a model is told."""


def problem_of(schema: dict[str, Any], path: str = "") -> tuple[str, str] | None:
    """Where a schema says something that is not supported or not a schema, and what."""
    for keyword, value in schema.items():
        if keyword not in KEYWORDS:
            return path, f"the keyword {keyword!r} is not among {', '.join(sorted(KEYWORDS))}"
        for place, inner in _inside(keyword, value):
            where = f"{path}.{keyword}{place}"
            if isinstance(inner, bool) and keyword == "additionalProperties":
                continue
            if not isinstance(inner, dict):
                return where, "a schema is an object"
            if (found := problem_of(inner, where)) is not None:
                return found
    return None if path else _malformed(schema) or _unmeetable(schema, "")


def _unmeetable(schema: dict[str, Any], path: str) -> tuple[str, str] | None:
    """Where no answer could follow a schema, and every call would be paid for nothing.

    Only what its own words show: bounds that cross, values that its other keywords forbid, and
    properties that it wants and leaves no room for.
    """
    for least, most in _BOUNDS:
        if least in schema and most in schema and schema[least] > schema[most]:
            return f"{path}.{least}", f"no answer can meet it: it is above {most}"
    if "enum" in schema and not any(_meets(value, schema) for value in schema["enum"]):
        return f"{path}.enum", "no answer can meet it: none of the values is allowed here"
    if "const" in schema and not _meets(schema["const"], schema):
        return f"{path}.const", "no answer can meet it: the value is not allowed here"
    if schema.get("additionalProperties") is False:
        missing = sorted(set(schema.get("required", ())) - schema.get("properties", {}).keys())
        if missing:
            return f"{path}.required", f"no answer can meet it: {missing[0]} is in no properties"
    for keyword, value in schema.items():
        for place, inner in _inside(keyword, value):
            if isinstance(inner, dict) and (
                found := _unmeetable(inner, f"{path}.{keyword}{place}")
            ):
                return found
    return None


def _meets(value: Any, schema: dict[str, Any]) -> bool:
    return not any(_validator(canonical(schema)).iter_errors(value))


def _inside(keyword: str, value: Any) -> list[tuple[str, Any]]:
    """The schemas directly inside a keyword, with where they stand in it."""
    if keyword == "properties" and isinstance(value, dict):
        return [(f".{name}", inner) for name, inner in value.items()]
    if keyword == "anyOf" and isinstance(value, list):
        return [(f"[{index}]", inner) for index, inner in enumerate(value)]
    return [("", value)] if keyword in ("items", "additionalProperties") else []


def _malformed(schema: dict[str, Any]) -> tuple[str, str] | None:
    from jsonschema import Draft202012Validator, SchemaError

    try:
        text = canonical(schema)
        Draft202012Validator.check_schema(schema)
        AnswerFormat(kind="json_schema", name="answer", schema=text)
    except SchemaError as error:
        where = "".join(
            f"[{one}]" if isinstance(one, int) else f".{one}" for one in error.absolute_path
        )
        return where, error.message[:_REASON]
    except (TypeError, ValueError) as error:
        return "", str(error)
    return None


def canonical(schema: dict[str, Any]) -> str:
    """The schema as text: what a model is shown and a provider is sent."""
    return json.dumps(schema, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def value_of(text: str, schema: str) -> tuple[Any, str]:
    """The JSON value in an answer, and why it is refused ("" when it is not).

    One pair of code fences around the value is taken off: models are used to writing them.
    """
    bare = unfenced(text)
    if is_nested_beyond(bare, MAX_DEPTH):
        return None, "The JSON is nested too deeply."
    try:
        value = json.loads(bare, parse_constant=_no_constant)
    except ValueError as error:
        return None, f"It is not JSON alone: {error}."
    found = next(iter(_validator(schema).iter_errors(value)), None)
    if found is None:
        return value, ""
    where = found.json_path
    return None, f"At {where}: {found.message[:_REASON]}."


def unfenced(text: str) -> str:
    """The text inside one pair of code fences, or the text."""
    bare = text.strip()
    if not (bare.startswith("```") and bare.endswith("```") and "\n" in bare):
        return bare
    return bare.partition("\n")[2].removesuffix("```").strip()


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


@functools.cache
def _validator(schema: str) -> Any:
    from jsonschema import Draft202012Validator
    from referencing import Registry

    # An empty registry: a reference, were one to get here, is never fetched.
    return Draft202012Validator(json.loads(schema), registry=Registry())
