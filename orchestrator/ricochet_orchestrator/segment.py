"""Cuts a document into segments that fit a model's window.

Segments are lossless: concatenated they are the document, byte for byte. None is above the budget,
which is in tokens of the counter given. Each cut falls on the best boundary available (blank lines,
then line, sentence, word, character), and segments are filled as far as that allows.
"""

import hashlib
from collections.abc import Callable
from typing import Final

import msgspec

from ricochet_protocol.errors import LocalFault, UsageError

TokenCounter = Callable[[str], int]

MIN_BUDGET: Final = 16
"""Below this a single character (up to about a dozen tokens for a rare emoji) may not fit."""


class Segment(msgspec.Struct, frozen=True):
    """`text` is `document.text[start:end]`: offsets in characters; `sha256` is hex."""

    index: int
    start: int
    end: int
    text: str
    sha256: str


def segment(text: str, budget: int, count: TokenCounter) -> tuple[Segment, ...]:
    """The segments of `text`, each of at most `budget` tokens; none for an empty text."""
    segments: list[Segment] = []
    start = 0
    for index, part in enumerate(pieces(text, budget, count)):
        digest = hashlib.sha256(part.encode()).hexdigest()
        segments.append(Segment(index, start, start + len(part), part, digest))
        start += len(part)
    return tuple(segments)


def pieces(text: str, budget: int, count: TokenCounter) -> list[str]:
    """The bare texts of `segment`; UsageError when the budget is too small to hold a character."""
    from semantic_text_splitter import TextSplitter

    if budget < MIN_BUDGET:
        raise UsageError(
            "window_too_small",
            f"The model's window leaves {max(budget, 0)} tokens for text; "
            f"at least {MIN_BUDGET} are needed.",
            "Choose a model with a larger window, or a chain with shorter prompts and answers.",
        )
    parts = TextSplitter.from_callback(count, budget, trim=False).chunks(text)
    if "".join(parts) != text or any(count(part) > budget for part in parts):
        raise LocalFault(
            "segmentation",
            "The document could not be cut without loss.",
            "Please report this together with the version of semantic-text-splitter.",
        )
    return parts
