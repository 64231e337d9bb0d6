"""Cuts a document into segments that fit a model's window.

Segments are lossless: concatenated they are the document's text, character for character. None is
above the budget, which is in tokens of the counter given, and none crosses from one part into the
next. Each is filled as far as the best boundary near its end allows (`boundaries`).

What stands before a segment can be shown with it: the headings above it, and the end of the text
before. That is context, not content: it is in the prompt and in the identity of the step, never in
`text`.
"""

import hashlib
from bisect import bisect_left
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from ricochet_orchestrator.boundaries import Boundaries, sentences, words
from ricochet_orchestrator.context import Context
from ricochet_orchestrator.document import Document
from ricochet_orchestrator.media import Form
from ricochet_protocol.errors import UsageError

TokenCounter = Callable[[str], int]

MIN_BUDGET: Final = 16
"""Below this a single character (up to about a dozen tokens for a rare emoji) may not fit."""
HEADING_TOKENS: Final = 48
"""The most that the path of headings takes; outer ones are left out first."""
_FULL_PERCENT: Final = 97
"""A reach that uses so much of the budget is not improved further: it saves a third of counting."""
_FIRST_GUESS: Final = 4
"""Characters a token of English; after the first segment the text itself says."""
_WIDEST: Final = 8
"""Characters a token at which the end of the text before is looked for."""
_MOST_TOKENS: Final = 4
"""Tokens a character can have: its bytes in UTF-8."""
_SEAM: Final = 4
"""Tokens that context and text may have more together than apart."""
_PATH: Final = "Headings above this text: {}\n\n"
_BEFORE: Final = "End of the text before, for context only:\n{}\n\nThe text:\n"


class Segment(msgspec.Struct, frozen=True):
    """`text` is `document.text[start:end]`, all of it from the part of that index.

    Offsets are in characters; `sha256` is hex, of `text` alone. `lead` is the context as it is
    shown in front of the text, empty without.
    """

    index: int
    part: int
    start: int
    end: int
    text: str
    sha256: str
    lead: str = ""

    @property
    def shown(self) -> str:
        """What stands in the prompt: context and text."""
        return self.lead + self.text

    @property
    def identity(self) -> str:
        """What a step over this segment depends on: the hash of all that it shows."""
        return hashlib.sha256(self.shown.encode()).hexdigest() if self.lead else self.sha256


def segment(
    document: Document, budget: int, count: TokenCounter, context: Context | None = None
) -> tuple[Segment, ...]:
    """The segments of `document`, each shown in at most `budget` tokens; none for no text.

    UsageError `window_too_small` when the budget leaves no room for text.
    """
    context = context or Context()
    space = budget - _reserve(context, count)
    segments: list[Segment] = []
    for number, (part, begin) in enumerate(zip(document.parts, document.starts, strict=False)):
        boundaries = Boundaries(part.text, part.form)
        cuts = list(_cuts(part.text, boundaries, space, count))
        paths = boundaries.paths([start for start, _ in cuts])
        for (start, end), path in zip(cuts, paths, strict=True):
            text = part.text[start:end]
            path = (part.name, *path) if len(document.parts) > 1 else path
            lead = _path(path, count) if context.headings else ""
            lead += _overlap(part.text, start, context.overlap, count)
            digest = hashlib.sha256(text.encode()).hexdigest()
            place = len(segments), number, begin + start, begin + end
            segments.append(Segment(*place, text, digest, lead))
    return tuple(segments)


def pieces(text: str, budget: int, count: TokenCounter) -> list[str]:
    """The texts that `text` is cut into; UsageError when the budget cannot hold a character."""
    boundaries = Boundaries(text, Form.TEXT)
    return [text[start:end] for start, end in _cuts(text, boundaries, budget, count)]


def _cuts(
    text: str, boundaries: Boundaries, budget: int, count: TokenCounter
) -> Iterator[tuple[int, int]]:
    if budget < MIN_BUDGET:
        raise UsageError(
            "window_too_small",
            f"The model's window leaves {max(budget, 0)} tokens for text; "
            f"at least {MIN_BUDGET} are needed.",
            "Choose a model with a larger window (`ricochet models list --available`), or a chain "
            "with shorter prompts and answers.",
        )
    start, size = 0, budget * _FIRST_GUESS
    while start < len(text):
        reached = end = _reach(text, start, size, budget, count)
        size = end - start
        while end < len(text):
            end = boundaries.best_cut(start, end)
            # A prefix may have a token more than what it was cut from, where a word is parted.
            if end == reached or count(text[start:end]) <= budget:
                break
            end -= 1
        yield start, end
        start = end


def _reach(text: str, start: int, guess: int, budget: int, count: TokenCounter) -> int:
    """The farthest offset, roughly, to which the text from `start` fits the budget; it does fit.

    Costs a few counts of about a budget each, whatever follows: nothing counts the rest of a text.
    """
    fits, above = 1, len(text) - start + 1
    size = min(guess, above - 1)
    for attempt in range(64):
        counted = count(text[start : start + size])
        if counted > budget:
            above = size
        else:
            fits = size
            if size == len(text) - start or counted * 100 >= budget * _FULL_PERCENT:
                break
        if above - fits <= 1:
            break
        aim = size * budget * 99 // (max(counted, 1) * 100) if attempt < 6 else (fits + above) // 2
        size = min(max(aim, fits + 1), above - 1)
    return start + fits


def _reserve(context: Context, count: TokenCounter) -> int:
    """Tokens of the budget that are kept for context."""
    path = count(_PATH) + HEADING_TOKENS + _SEAM if context.headings else 0
    return path + (count(_BEFORE) + context.overlap + _SEAM if context.overlap else 0)


def _path(path: tuple[str, ...], count: TokenCounter) -> str:
    for first in range(len(path)):
        shown = " > ".join(path[first:])
        if count(shown) <= HEADING_TOKENS:
            return _PATH.format(shown)
    return ""


def _overlap(text: str, start: int, tokens: int, count: TokenCounter) -> str:
    """The end of the text before `start` as it is shown, empty when there is none."""
    if not tokens or not start:
        return ""
    shown = text[_overlap_start(text, start, tokens, count) : start].strip()
    return _BEFORE.format(shown) if shown else ""


def _overlap_start(text: str, start: int, tokens: int, count: TokenCounter) -> int:
    """Where the last `tokens` begin: at a sentence if that uses half of them, else at a word."""

    def first(places: list[int]) -> int:
        places = [0, *places, start] if low == 0 else [*places, start]
        return places[bisect_left(places, True, key=lambda at: count(text[at:start]) <= tokens)]

    low = max(start - tokens * _WIDEST, 0)
    sentence = first(sentences(text, low, start))
    if sentence == 0 or count(text[sentence:start]) * 2 >= tokens:
        return sentence
    word = first(words(text, low, start))
    # A text without spaces is cut between characters: none has more than four tokens.
    return word if word < start else start - min(start, tokens // _MOST_TOKENS)
