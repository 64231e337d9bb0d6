"""Finds the lines that a model copied from its segment, and widens them to whole sentences.

A model's copy is a pointer: what later steps read is the source itself. A sentence that a segment's
edge cuts in two is found from either half and read whole, because widening goes on in the
neighbouring segment. A line that is not in the segment, letter for letter but for white space and
case, is refused.
"""

import re
from collections.abc import Iterable
from typing import Final

import msgspec

from ricochet_orchestrator.material import Material

NONE: Final = "NONE"
WIDEST: Final = 600
"""Characters that a passage grows by on either side when no sentence ends."""
_SHORTEST: Final = 4
"""Characters of a line; shorter ones occur anywhere."""
_DECORATION: Final = re.compile(
    r"^\s*(?:[-*•>]+\s+|\d+[.)]\s+|\[\d+\]\s*)?[\"'“”„«»`]*|[\"'“”«»`]*\s*$"
)
_BREAK: Final = re.compile(r"(?<=[.!?…。！？])[\"'”’)\]]*\s+|(?<=[。！？])|\n\s*\n")  # noqa: RUF001 - as written


class Passage(msgspec.Struct, frozen=True, order=True):
    """`material.texts[part][start:end]`."""

    part: int
    start: int
    end: int


def passages(answer: str, segment: int, material: Material) -> tuple[tuple[Passage, ...], str]:
    """Where the lines of an answer come from, and why it is refused ("" when it is not)."""
    if answer.strip().strip(".\"'*`").upper() == NONE:
        return (), ""
    text = material.segments[segment].text
    part, base = material.segments[segment].part, material.bases[segment]
    found: list[Passage] = []
    for line in answer.splitlines():
        words = _DECORATION.sub("", line).split()
        if sum(map(len, words)) < _SHORTEST or words == [NONE]:
            continue
        pattern = r"\s+".join(map(re.escape, words))
        hits = list(re.finditer(pattern, text, re.IGNORECASE))
        if not hits:
            shown = " ".join(words)[:80]
            return (), f"This line is not in the text: {shown!r}. Copy exactly, or answer {NONE}."
        found += [
            _widened(Passage(part, base + hit.start(), base + hit.end()), material) for hit in hits
        ]
    if not found:
        return (), f"It holds no line of the text. Copy lines exactly, or answer {NONE}."
    return merged(found), ""


def whole(segment: int, material: Material) -> tuple[Passage, ...]:
    """All of a segment, for when copying fails: nothing that may matter is dropped."""
    base = material.bases[segment]
    end = base + len(material.segments[segment].text)
    return (Passage(material.segments[segment].part, base, end),)


def merged(found: Iterable[Passage]) -> tuple[Passage, ...]:
    """Passages in the document's order, each place once."""
    result: list[Passage] = []
    for one in sorted(found):
        last = result[-1] if result else None
        if last is not None and last.part == one.part and one.start <= last.end:
            result[-1] = Passage(last.part, last.start, max(last.end, one.end))
        else:
            result.append(one)
    return tuple(result)


def _widened(passage: Passage, material: Material) -> Passage:
    text = material.texts[passage.part]
    left = max(0, passage.start - WIDEST)
    starts = [hit.end() for hit in _BREAK.finditer(text, left, passage.start)]
    right = min(len(text), passage.end + WIDEST)
    # A sentence that ends with the passage needs nothing more.
    end = _BREAK.search(text, max(passage.start, passage.end - 1), right)
    return Passage(
        passage.part,
        starts[-1] if starts else left,
        max(passage.end, end.start()) if end else right,
    )
