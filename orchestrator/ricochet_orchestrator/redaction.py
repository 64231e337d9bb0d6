"""Replaces personal data by placeholders before anything is sent, and puts it back when shown.

A placeholder such as `[EMAIL_5d0c2a91b3f7]` is a keyed hash of what it stands for: the same value
has the same one everywhere, so that a model can still tell two people apart, an edit elsewhere in
the document changes no other segment, and nobody without the home's key can confirm a guess.

What is restored is exactly what was replaced: `restore(redact(text).text, values)` is `text`.
"""

import hmac
import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from ricochet_orchestrator.personal_data import Finder

_DIGITS: Final = 12
"""Of the hash, in hex: 48 bits keep a million values apart."""
_PLACEHOLDER: Final = re.compile(rf"\[[A-Z]+_[0-9a-f]{{{_DIGITS}}}\]")


class Cut(msgspec.Struct, frozen=True):
    """`source[start:end]` became a placeholder that begins at `at` and ends at `until`."""

    start: int
    end: int
    at: int
    until: int


class Redacted(msgspec.Struct, frozen=True):
    """A text without its personal data; `values` are what the placeholders stand for."""

    text: str
    values: dict[str, str]
    cuts: tuple[Cut, ...] = ()


def source_span(cuts: Sequence[Cut], start: int, end: int) -> tuple[int, int]:
    """The span of the source that `start` to `end` came from, with all of a value it touches."""
    return _source(cuts, start, of_end=False), _source(cuts, end, of_end=True)


def _source(cuts: Sequence[Cut], offset: int, of_end: bool) -> int:
    index = bisect_right(cuts, offset, key=lambda cut: cut.at) - 1
    if index < 0:
        return offset
    cut = cuts[index]
    if offset >= cut.until:
        return cut.end + offset - cut.until
    # Within a placeholder, or at its beginning, where an end has not touched it yet.
    return cut.end if of_end and offset > cut.at else cut.start


def redact(text: str, finder: Finder, key: bytes) -> Redacted:
    """`text` with placeholders; `key` is the home's, 32 bytes."""
    parts: list[str] = []
    values: dict[str, str] = {}
    cuts: list[Cut] = []
    last = length = 0
    for found in finder.find(text):
        value = text[found.start : found.end]
        placeholder = _placeholder(found.kind.upper(), value, key)
        parts += (text[last : found.start], placeholder)
        length += found.start - last
        cuts.append(Cut(found.start, found.end, length, length + len(placeholder)))
        length += len(placeholder)
        last = found.end
        values[placeholder] = value
    parts.append(text[last:])
    return Redacted("".join(parts), values, tuple(cuts))


def restore(text: str, values: Mapping[str, str]) -> str:
    """`text` with the values again; what only looks like a placeholder stays."""
    return _PLACEHOLDER.sub(lambda match: values.get(match[0], match[0]), text)


def _placeholder(name: str, value: str, key: bytes) -> str:
    digest = hmac.digest(key, f"{name}\0{value}".encode(), "sha256").hex()
    return f"[{name}_{digest[:_DIGITS]}]"
