"""A document as text: its parts, and where in their sources each character stands.

A document is one corpus made of parts, one for each file. A part's text is kept exactly as it was
decoded or extracted (line ends included), and the document's text is that of its parts, one after
the other, nothing between them. So an offset in the document leads to a part, an offset in it and,
through the part's marks, to the page or chapter it came from. Where personal data was replaced by
placeholders, offsets still lead to the source as it was.

Without a file, the document is a chapter of CPython's own language reference, which every Python
installation carries. Files become documents in `reading`.
"""

import hashlib
from bisect import bisect_right
from itertools import accumulate
from typing import Final

import msgspec

from ricochet_orchestrator.media import Form
from ricochet_orchestrator.redaction import Cut, source_span

DEFAULT_TOPIC: Final = "compound"
"""About 11k tokens, several times the window of the local model."""


class Mark(msgspec.Struct, frozen=True):
    """From `start` in a part's text on, the text is of the page or chapter `label`."""

    start: int
    label: str


class Part(msgspec.Struct, frozen=True):
    """One source. `media` is what it was (`pdf`), `form` what its text is; `sha256` of the text.

    `cuts` are where placeholders stand for what the source has; marks are offsets in the source.
    """

    name: str
    media: str
    form: Form
    text: str
    sha256: str
    marks: tuple[Mark, ...] = ()
    cuts: tuple[Cut, ...] = ()

    def places(self, start: int, end: int) -> tuple[str, ...]:
        """Labels of the pages or chapters that the text from `start` to `end` comes from."""
        first = max(bisect_right(self.marks, start, key=_start) - 1, 0)
        return tuple(mark.label for mark in self.marks[first:] if mark.start < max(end, start + 1))

    def source(self, start: int, end: int) -> tuple[int, int, tuple[str, ...]]:
        """Where the text from `start` to `end` is in the source: offsets, pages or chapters."""
        low, high = source_span(self.cuts, start, end)
        return low, high, self.places(low, high)


class Span(msgspec.Struct, frozen=True):
    """A stretch of one part: its index and name, offsets in its source, pages or chapters."""

    part: int
    name: str
    start: int
    end: int
    places: tuple[str, ...]


class Document(msgspec.Struct, frozen=True):
    """`sha256` stands for the parts' names, forms and texts, in order: all that a run shows."""

    name: str
    parts: tuple[Part, ...]
    sha256: str

    @property
    def text(self) -> str:
        """The text of all parts."""
        return "".join(part.text for part in self.parts)

    @property
    def starts(self) -> tuple[int, ...]:
        """Where each part begins in the text of the document; last, where the text ends."""
        return tuple(accumulate((len(part.text) for part in self.parts), initial=0))

    def trace(self, start: int, end: int) -> tuple[Span, ...]:
        """Where the text from `start` to `end` comes from, part by part."""
        spans = []
        for index, (part, begin) in enumerate(zip(self.parts, self.starts, strict=False)):
            low, high = max(start - begin, 0), min(end - begin, len(part.text))
            if low < high:
                spans.append(Span(index, part.name, *part.source(low, high)))
        return tuple(spans)


def part_of(
    name: str, text: str, media: str = "text", form: Form = Form.TEXT, marks: tuple[Mark, ...] = ()
) -> Part:
    """A part with the digest of its text."""
    return Part(name, media, form, text, hashlib.sha256(text.encode()).hexdigest(), marks)


def document_of(name: str, parts: tuple[Part, ...]) -> Document:
    """A document with the digest of its parts and their names, which its citations show."""
    content = msgspec.json.encode([(part.name, part.form, part.sha256) for part in parts])
    return Document(name, parts, hashlib.sha256(content).hexdigest())


def document_from(name: str, text: str, form: Form = Form.TEXT) -> Document:
    """A document of one part, from its text."""
    return document_of(name, (part_of(name, text, form.value, form),))


def default_document() -> Document:
    """The default document: "Compound statements" of the Python language reference."""
    from pydoc_data.topics import topics

    return document_from(f"python-{DEFAULT_TOPIC}-statements", topics[DEFAULT_TOPIC])


def _start(mark: Mark) -> int:
    return mark.start
