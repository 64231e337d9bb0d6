"""What is wrong with a value of a file of settings or a chain, in the words of who wrote it.

msgspec says where and what; where there is a choice of words, what could have been said is added,
read from the type itself.
"""

import re
from collections.abc import Iterator
from typing import Any, Final

import msgspec

_WRONG_WORD: Final = "Invalid enum value "


def explained(error: msgspec.ValidationError, kind: type) -> str:
    """An error of a conversion to `kind`: the field, what is wrong, and the choices there are."""
    message, _, path = str(error).partition(" - at `$")
    field = path.strip("`").lstrip(".")
    if not field:
        return message
    if message.startswith(_WRONG_WORD):
        value = message.removeprefix(_WRONG_WORD)
        choices = ", ".join(_choices(kind, field))
        return f"field `{field}`: {value} is none of {choices}"
    return f"field `{field}`: {message}"


def _choices(kind: type, field: str) -> list[str]:
    """The words that a field may hold; `steps[0].mode` is a field of an item of a field."""
    from msgspec import inspect

    found = list(_alternatives(inspect.type_info(kind)))
    for name in re.findall(r"[^.\[\]]+", field):
        found = [one for within in found for one in _within(within, name)]
    words: dict[str, None] = {}
    for one in found:
        if isinstance(one, inspect.EnumType):
            words |= dict.fromkeys(str(member.value) for member in one.cls)
        elif isinstance(one, inspect.LiteralType):
            words |= dict.fromkeys(map(str, one.values))
    return list(words)


def _within(kind: Any, name: str) -> Iterator[Any]:
    from msgspec import inspect

    match kind:
        case inspect.StructType(fields=fields):
            for one in fields:
                if one.encode_name == name:
                    yield from _alternatives(one.type)
        case inspect.DictType(value_type=inner):
            yield from _alternatives(inner)
        case inspect.ListType(item_type=inner) | inspect.VarTupleType(item_type=inner):
            yield from _alternatives(inner)


def _alternatives(kind: Any) -> Iterator[Any]:
    from msgspec import inspect

    match kind:
        case inspect.UnionType(types=types):
            for one in types:
                yield from _alternatives(one)
        case inspect.Metadata(type=inner):
            yield from _alternatives(inner)
        case _:
            yield kind
