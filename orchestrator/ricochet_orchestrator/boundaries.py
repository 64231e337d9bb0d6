"""Where a text may be cut, how good each place is, and which headings stand above it.

Line starts are ranked once, in one pass: headings before paragraphs before lines; in code, by how
far the line is indented and whether a blank line stands before it, which is where definitions begin
in any language that people format. What lies inside lines (sentences, words, characters) is looked
at only where no line start will do. Everything takes time proportional to the text, whatever it
holds: there is no parser whose state a hostile text could blow up.
"""

import re
import unicodedata
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import Final

from ricochet_orchestrator.media import Form

# Ranks of line starts: the smaller the better. A heading's rank is its level, 1 to 6.
LOWEST_HEADING: Final = 6
SECTION: Final = 7
"""After two blank lines or more."""
PARAGRAPH: Final = 8
INDENTED: Final = 9
"""After a blank line, but inside something: of code, plus its depth up to `_DEEPEST`."""
_DEEPEST: Final = 8
SENTENCE_LINE: Final = 20
"""A line start before which a sentence ends; also a list item."""
LINE: Final = 30

MAX_TITLE: Final = 200
"""Characters of a heading that are remembered."""
_LINE: Final = re.compile(r"[^\n]+\n?|\n")
_FENCE: Final = re.compile(r" {0,3}(`{3,}|~{3,})")
_ATX: Final = re.compile(r" {0,3}(#{1,6})(?:[ \t]+|$)")
_SETEXT: Final = re.compile(r" {0,3}(=+|-{2,})[ \t]*$")
_ITEM: Final = re.compile(r"\s*(?:[-*+]|\d{1,9}[.)])\s")
_CLOSER: Final = re.compile(r"\s*(?:[\])}]|end\b|else\b|elif\b|except\b|finally\b|catch\b)")
_SENTENCE_CLOSE: Final = tuple(".!?…。！？")  # noqa: RUF001 - as written
_SENTENCE: Final = re.compile(
    r"[.!?…][\"'”’)\]]*\s+|[。！？][」』”’]*\s*"  # noqa: RUF001 - as written
)
_WORD: Final = re.compile(r"\s+")
_TAB: Final = 8
_LOOKED_AT: Final = 400
"""Characters of a line that say what it is; a line may have millions."""


class Boundaries:
    """The line starts of one text with their ranks, and its headings."""

    def __init__(self, text: str, form: Form) -> None:
        self._text = text
        self._offsets = array("Q")
        self._ranks = bytearray()
        # Offset, level, title; one without a title only ends those as deep or deeper.
        self._headings: list[tuple[int, int, str]] = []
        if form is Form.CODE:
            self._scan_code()
        elif form is Form.MARKDOWN:
            self._scan_markdown()
        else:
            self._scan_text()

    def best_cut(self, start: int, end: int) -> int:
        """The best place in (start, end] to end a segment that starts at `start`.

        A heading may leave three quarters of the space unused, everything else half of it.
        """
        half, quarter = start + (end - start) // 2, start + (end - start) // 4
        cut, rank = self._best_line(max(quarter, start), end)
        if rank > LOWEST_HEADING:
            cut, rank = self._best_line(half, end)
        if rank < LINE:
            return cut
        sentence = _last_end(_SENTENCE, self._text, half, end)
        if sentence is not None:
            return sentence
        if rank == LINE:
            return cut
        word = _last_end(_WORD, self._text, half, end)
        return word if word is not None else _between_characters(self._text, start, end)

    def paths(self, offsets: Iterable[int]) -> Iterator[tuple[str, ...]]:
        """For each offset, in ascending order, the headings above it, outermost first."""
        stack: list[tuple[int, str]] = []
        position = 0
        for offset in offsets:
            above = stack
            while position < len(self._headings) and self._headings[position][0] <= offset:
                at, level, title = self._headings[position]
                above = [one for one in stack if one[0] < level]
                stack = [*above, (level, title)] if title else above
                above = stack if at < offset else above
                position += 1
            yield tuple(title for _, title in above)

    def _best_line(self, after: int, end: int) -> tuple[int, int]:
        """The last of the best-ranked line starts in (after, end]; rank 255 when there is none."""
        low, high = bisect_right(self._offsets, after), bisect_right(self._offsets, end)
        if low == high:
            return end, 255
        rank = min(self._ranks[low:high])
        return self._offsets[low + self._ranks[low:high].rfind(bytes([rank]))], rank

    def _lines(self) -> Iterator[tuple[int, str, bool]]:
        """Offset, beginning, and whether a sentence ends at the end, of each line."""
        for match in _LINE.finditer(self._text):
            start, end = match.span()
            last = self._text[max(start, end - _LOOKED_AT) : end].rstrip()
            line = self._text[start : min(end, start + _LOOKED_AT)].rstrip("\n")
            yield start, line, last.endswith(_SENTENCE_CLOSE)

    def _add(self, offset: int, rank: int) -> None:
        if offset:
            self._offsets.append(offset)
            self._ranks.append(rank)

    def _scan_text(self) -> None:
        blanks, sentence = 0, False
        for offset, line, closes in self._lines():
            if not line.strip():
                blanks += 1
                continue
            self._add(offset, _rank_of_prose(blanks, sentence or bool(_ITEM.match(line))))
            blanks, sentence = 0, closes

    def _scan_markdown(self) -> None:
        blanks, sentence, fence = 0, False, ""
        before = (0, "")
        for offset, line, closes in self._lines():
            if not line.strip():
                blanks += 1
                before = (offset, "")
                continue
            mark = _FENCE.match(line)
            if fence:
                self._add(offset, LINE)
                if mark and mark[1].startswith(fence) and not line[mark.end() :].strip():
                    fence = ""
                line = ""
            elif atx := _ATX.match(line):
                title = line[atx.end() :].strip().rstrip("#").strip()
                self._add_heading(offset, len(atx[1]), title)
            elif before[1] and (under := _SETEXT.match(line)):
                self._underlined(before, 1 if under[1][0] == "=" else 2)
                self._add(offset, LINE)
            else:
                self._add(offset, _rank_of_prose(blanks, sentence or bool(_ITEM.match(line))))
                fence = mark[1] if mark else ""
            before = (offset, "" if fence else line)
            blanks, sentence = 0, closes

    def _add_heading(self, offset: int, level: int, title: str) -> None:
        self._add(offset, level)
        self._headings.append((offset, level, title[:MAX_TITLE]))

    def _underlined(self, before: tuple[int, str], level: int) -> None:
        """Make a heading of the line before, whose start may have been ranked as a line's."""
        offset, title = before
        if self._offsets and self._offsets[-1] == offset:
            self._offsets.pop()
            self._ranks.pop()
        self._add_heading(offset, level, title.strip())

    def _scan_code(self) -> None:
        blanks, indents = 0, [0]
        names: list[str] = [""]
        before = 0, 0
        for offset, line, _ in self._lines():
            if not line.strip():
                blanks += 1
                continue
            white = len(line[: len(line) - len(line.lstrip())].expandtabs(_TAB))
            while indents and indents[-1] >= white:
                indents.pop()
            indents.append(white)
            depth = len(indents) - 1
            if depth > before[1]:
                self._headings.append((before[0], before[1] + 1, names[-1][:MAX_TITLE]))
            elif depth < before[1]:
                self._headings.append((offset, depth + 1, ""))
            closer = bool(_CLOSER.match(line))
            self._add(offset, _rank_of_code(depth, blanks, closer))
            # What closes a signature of several lines opens the body of what began it.
            closed = names[depth] if closer and depth < len(names) else line.strip()
            names[depth:] = [closed]
            before, blanks = (offset, depth), 0


def sentences(text: str, start: int, end: int) -> list[int]:
    """Where sentences end between the offsets."""
    return [match.end() for match in _SENTENCE.finditer(text, start, end)]


def words(text: str, start: int, end: int) -> list[int]:
    """Where words begin after white space between the offsets."""
    return [match.end() for match in _WORD.finditer(text, start, end)]


def _rank_of_prose(blanks: int, sentence: bool) -> int:
    if blanks:
        return PARAGRAPH if blanks == 1 else SECTION
    return SENTENCE_LINE if sentence else LINE


def _rank_of_code(depth: int, blanks: int, closer: bool) -> int:
    """Outermost first; a line that only closes or goes on is never better than any other."""
    if closer:
        return LINE
    if depth == 0:
        return SECTION if blanks > 1 else PARAGRAPH if blanks else INDENTED + 1
    return INDENTED + min(2 * depth + (not blanks), _DEEPEST)


def _last_end(pattern: re.Pattern[str], text: str, start: int, end: int) -> int | None:
    """Where the last match in the text from `start` to `end` ends, None without a match."""
    last = None
    for match in pattern.finditer(text, start, end):
        last = match.end()
    return last


def _between_characters(text: str, start: int, end: int) -> int:
    """`end`, or somewhat before it, so that no character is parted from the marks on it."""
    for cut in range(end, max(start, end - 32), -1):
        if not _joined(text, cut):
            return cut
    return end


def _joined(text: str, at: int) -> bool:
    if at >= len(text):
        return False
    before, after = text[at - 1], text[at]
    return (
        before + after == "\r\n"
        or "\u200d" in (before, after)
        or unicodedata.category(after).startswith("M")
        or 0x1F3FB <= ord(after) <= 0x1F3FF
        or all(0x1F1E6 <= ord(one) <= 0x1F1FF for one in (before, after))
    )
