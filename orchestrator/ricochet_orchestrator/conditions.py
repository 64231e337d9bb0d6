"""Conditions, filters and items: the closed questions a chain may ask of answers."""

import json
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from ricochet_orchestrator.chain_language import Condition, Filter

_MISSING: Final = object()


def at(value: Any, path: str) -> Any:
    """What stands at a dotted path of a JSON value; None where there is nothing."""
    found = _found(value, path)
    return None if found is _MISSING else found


def holds(condition: Condition, values: Sequence[Any]) -> bool:
    """Whether a condition holds of a step's answers: JSON values, or texts."""
    if condition.count is not None:
        least, most = condition.count.min, condition.count.max
        return (least is None or len(values) >= least) and (most is None or len(values) <= most)
    found = [at(value, condition.field) for value in values]
    if condition.empty is not None:
        return all(map(_is_empty, found)) is condition.empty
    return any(_equal(one, condition.equals) for one in found)


def fits(test: Filter, value: Any) -> bool:
    """Whether an answer is chosen by a filter."""
    found = at(value, test.field)
    if test.empty is not None:
        return _is_empty(found) is test.empty
    return _equal(found, test.equals)


def items_of(value: Any, path: str) -> list[str] | None:
    """The items at a path, as texts; None when there is no array."""
    found = at(value, path)
    if not isinstance(found, list):
        return None
    return [
        one
        if isinstance(one, str)
        else json.dumps(one, ensure_ascii=False, separators=(", ", ": "))
        for one in found
    ]


def _found(value: Any, path: str) -> Any:
    for name in path.split(".") if path else ():
        if not isinstance(value, dict) or name not in value:
            return _MISSING
        value = value[name]
    return value


def _is_empty(value: Any) -> bool:
    if isinstance(value, str):
        return not value.strip()
    return value is None or (isinstance(value, list | dict) and not value)


def _equal(value: Any, wanted: Any) -> bool:
    """JSON equality: true is not 1, but 1 is 1.0."""
    if wanted is msgspec.UNSET or isinstance(value, bool) is not isinstance(wanted, bool):
        return False
    return bool(value == wanted)
