"""Writes Markdown block by block: what extracted documents become, so that headings stay headings.

Text that only looks like a heading or a fence is escaped; nothing else is, because models and
people read it, not a renderer.
"""

import re
from typing import Final

from ricochet_orchestrator.extraction.refusal import MAX_TEXT, too_large

_SPACE: Final = re.compile(r"[ \t\r\n\f\v]+")
_MARKUP: Final = re.compile(r"(#{1,6}(?:\s|$)|```|~~~)")
_FENCE: Final = re.compile(r"`{3,}")
_UNPRINTABLE: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


class Markdown:
    """The text so far. Inside a table's cell, blocks become the cell's words."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._rows: list[list[str]] = []
        self._cells: list[list[str]] = []
        self.size = 0

    @property
    def text(self) -> str:
        """All of it, with one line end at the end."""
        whole = "".join(self._pieces).rstrip()
        return f"{whole}\n" if whole else ""

    def heading(self, level: int, text: str) -> None:
        """A heading of level 1 to 6."""
        self._block(_plain(text), f"{'#' * level} ", "\n\n")

    def paragraph(self, text: str, breaks: bool = False) -> None:
        """A paragraph; with `breaks`, its line ends are meant."""
        lines = text.split("\n") if breaks else [text]
        shown = "\n".join(_MARKUP.sub(r"\\\1", _plain(line), count=1) for line in lines)
        self._block(shown.strip(), "", "\n\n")

    def item(self, text: str, depth: int, number: int | None = None) -> None:
        """One item of a list; `depth` is 1 for a list that is in no other."""
        mark = "-" if number is None else f"{number}."
        self._block(_plain(text), f"{'  ' * (depth - 1)}{mark} ", "\n")

    def end_list(self) -> None:
        """After the last item of the outermost list."""
        if not self._cells:
            self._write("\n")

    def code(self, text: str) -> None:
        """Lines exactly as they are."""
        text = _UNPRINTABLE.sub("", text).strip("\n")
        longest = max((len(mark) for mark in _FENCE.findall(text)), default=2)
        fence = "`" * (longest + 1)
        if text.strip():
            self._block(f"{fence}\n{text}\n{fence}", "", "\n\n")

    def open_row(self) -> None:
        """Cells that follow belong to a new row."""
        self._rows.append([])

    def open_cell(self) -> None:
        """Blocks that follow belong to a new cell."""
        self._cells.append([])

    def close_cell(self) -> None:
        """The cell is complete."""
        words = " ".join(self._cells.pop())
        if self._rows:
            self._rows[-1].append(words.replace("\n", " "))

    def close_row(self) -> None:
        """The row is complete."""
        cells = self._rows.pop()
        if any(cells):
            self._block(" | ".join(cells), "", "\n")

    def end_table(self) -> None:
        """After the last row."""
        self.end_list()

    def _block(self, text: str, prefix: str, end: str) -> None:
        if not text:
            return
        if self._cells:
            self._cells[-1].append(text)
            self._count(text)
        else:
            self._write(f"{prefix}{text}{end}")

    def _write(self, text: str) -> None:
        self._pieces.append(text)
        self._count(text)

    def _count(self, text: str) -> None:
        self.size += len(text)
        if self.size > MAX_TEXT:
            raise too_large()


def _plain(text: str) -> str:
    return _SPACE.sub(" ", _UNPRINTABLE.sub("", text)).strip()
