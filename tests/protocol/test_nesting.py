"""Depth of JSON texts."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ricochet_protocol.nesting import is_nested_beyond

VALUES = st.recursive(
    st.none() | st.integers() | st.text(alphabet='[]{}"\\a'),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("[}", max_size=2), inner),
    max_leaves=12,
)


def depth(value: Any) -> int:
    if isinstance(value, dict):
        value = list(value.values())
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0


@given(VALUES)
def test_the_depth_is_that_of_the_value(value: Any) -> None:
    text, deep = json.dumps(value), depth(value)
    assert not is_nested_beyond(text, deep)
    assert deep == 0 or is_nested_beyond(text, deep - 1)


@given(st.text(alphabet='[]{}"\\,:1', max_size=60))
def test_any_text_has_an_answer(text: str) -> None:
    is_nested_beyond(text, 3)


def test_a_hundred_thousand_brackets_are_seen_without_recursion() -> None:
    assert is_nested_beyond("[" * 100_000, 64)
    assert not is_nested_beyond('"' + "[" * 100_000 + '"', 64)
