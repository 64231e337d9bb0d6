"""Edits of settings that belong to a person: JSON, with comments and trailing commas if need be.

A file is parsed with the places of its parts. One member is put in or replaced, and everything
else, comments included, stays to the byte. What cannot be parsed is refused with its line.
"""

import json
import re
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

MAX_DEPTH: Final = 64
_SPACE: Final = re.compile(r"(?:[ \t\r\n\ufeff]+|//[^\n]*|/\*.*?\*/)*", re.DOTALL)
_WORD: Final = re.compile(r"true|false|null|-?[0-9][0-9.eE+-]*")
_STRING: Final = re.compile(r'"(?:[^"\\\x00-\x1f]|\\.)*"')


class NotJsonError(ValueError):
    """What is wrong with a text, with the line."""


class Node(NamedTuple):
    """A value and where it stands; `members` of an object by name, the last of equal names."""

    value: Any
    start: int
    end: int
    members: "dict[str, Node]"


def parse(text: str) -> Node:
    """The text's value; NotJsonError."""
    reader = _Reader(text)
    node = reader.value(reader.space(0), 0)
    if reader.space(node.end) != len(text):
        raise reader.wrong(reader.space(node.end), "there is more behind the end")
    return node


def with_member(text: str, path: Sequence[str], value: Any) -> str:
    """The text with the member of that path put in or replaced; objects on the way are made.

    NotJsonError when a value on the way is no object.
    """
    if not text.strip("\ufeff \t\r\n"):
        text = f"{text.rstrip()}{{}}\n"
    node = parse(text)
    for depth, name in enumerate(path):
        if not isinstance(node.value, dict):
            where = ".".join(path[:depth]) or "the file"
            raise NotJsonError(f"{where} is not an object")
        if name not in node.members:
            for rest in reversed(path[depth + 1 :]):
                value = {rest: value}
            return _inserted(text, node, name, value)
        node = node.members[name]
    return text[: node.start] + _printed(value, text, node.start) + text[node.end :]


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text

    def space(self, at: int) -> int:
        """Behind white space and comments."""
        found = _SPACE.match(self._text, at)
        return at if found is None else found.end()

    def value(self, at: int, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise self.wrong(at, "it is nested too deeply")
        match self._text[at : at + 1]:
            case "{":
                return self._object(at, depth)
            case "[":
                return self._array(at, depth)
            case '"':
                text, end = self._string(at)
                return Node(text, at, end, {})
        found = _WORD.match(self._text, at)
        if found is None:
            raise self.wrong(at, "a value is missing")
        return Node(self._loaded(found[0], at), at, found.end(), {})

    def _object(self, at: int, depth: int) -> Node:
        members: dict[str, Node] = {}
        here = self.space(at + 1)
        while self._text[here : here + 1] != "}":
            name, here = self._string(here)
            here = self.space(here)
            if self._text[here : here + 1] != ":":
                raise self.wrong(here, "a colon is missing")
            members[name] = node = self.value(self.space(here + 1), depth + 1)
            here = self._next(node.end, "}")
        value = {name: node.value for name, node in members.items()}
        return Node(value, at, here + 1, members)

    def _array(self, at: int, depth: int) -> Node:
        values: list[Any] = []
        here = self.space(at + 1)
        while self._text[here : here + 1] != "]":
            node = self.value(here, depth + 1)
            values.append(node.value)
            here = self._next(node.end, "]")
        return Node(values, at, here + 1, {})

    def _next(self, end: int, closing: str) -> int:
        """Where the next part begins, or the closing bracket is."""
        here = self.space(end)
        if self._text[here : here + 1] == ",":
            return self.space(here + 1)
        if self._text[here : here + 1] != closing:
            raise self.wrong(here, f"a comma or {closing} is missing")
        return here

    def _string(self, at: int) -> tuple[str, int]:
        found = _STRING.match(self._text, at)
        if found is None:
            raise self.wrong(at, "a text in quotes is missing")
        return str(self._loaded(found[0], at)), found.end()

    def _loaded(self, part: str, at: int) -> Any:
        try:
            return json.loads(part)
        except ValueError:
            raise self.wrong(at, f"{part[:40]!r} is no value") from None

    def wrong(self, at: int, problem: str) -> NotJsonError:
        return NotJsonError(f"line {self._text.count(chr(10), 0, at) + 1}: {problem}")


def _inserted(text: str, node: Node, name: str, value: Any) -> str:
    """The object with one more member, behind its last."""
    reader = _Reader(text)
    inner = _indent(text, node.start) + _unit(text)
    new = f"{json.dumps(name, ensure_ascii=False)}: {_printed(value, text, node.start, inner)}"
    if not node.members:
        closing = f"\n{_indent(text, node.start)}"
        # Comments inside stay; white space alone goes.
        inside = text[node.start + 1 : node.end - 1].rstrip()
        return f"{text[: node.start + 1]}{inside}\n{inner}{new}{closing}{text[node.end - 1 :]}"
    last = max(one.end for one in node.members.values())
    after = reader.space(last)
    comma = text[after] == ","
    end = after + 1 if comma else last
    # A comment behind the last member, on its line, stays there.
    line = re.compile(r"[ \t]*(?://[^\n]*|/\*[^\n]*?\*/[ \t]*(?=\n))?").match(text, end)
    break_at = end if line is None else line.end()
    if "\n" not in text[node.start : node.end]:
        lead, break_at = " ", end
    else:
        lead = f"\n{inner}"
    head = text[:end] if comma else f"{text[:last]},{text[last:end]}"
    return f"{head}{text[end:break_at]}{lead}{new}{',' if comma else ''}{text[break_at:]}"


def _indent(text: str, at: int) -> str:
    """The white space at the beginning of the line."""
    start = text.rfind("\n", 0, at) + 1
    return text[start : start + len(text[start:]) - len(text[start:].lstrip(" \t"))]


def _unit(text: str) -> str:
    """One step of the file's indentation."""
    found = re.search(r"\n([ \t]+)\S", text)
    return found[1] if found else "  "


def _printed(value: Any, text: str, at: int, inner: str | None = None) -> str:
    base = _indent(text, at) if inner is None else inner
    return json.dumps(value, indent=_unit(text), ensure_ascii=False).replace("\n", f"\n{base}")
