"""What a run reads: the segments of its document, and which file each of them comes from."""

from bisect import bisect_right
from functools import cached_property
from typing import Final

import msgspec

from ricochet_orchestrator.checkpoint import Origin
from ricochet_orchestrator.document import Document
from ricochet_orchestrator.segment import Segment

_LABEL: Final = 40
"""Characters of a file's name that head its text in a prompt."""


class Material(msgspec.Struct, frozen=True, dict=True):
    """`segments` are all of the document's, in order."""

    document: Document
    segments: tuple[Segment, ...]

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """The text of each part."""
        return tuple(part.text for part in self.document.parts)

    @cached_property
    def ranges(self) -> tuple[tuple[int, int], ...]:
        """The segments of each part: first, and one behind the last."""
        parts = [segment.part for segment in self.segments]
        ends = [bisect_right(parts, part) for part in range(len(self.texts))]
        return tuple(zip((0, *ends), ends, strict=False))

    @cached_property
    def bases(self) -> tuple[int, ...]:
        """Where each segment starts in the text of its part."""
        starts = self.document.starts
        return tuple(segment.start - starts[segment.part] for segment in self.segments)

    def segment_at(self, part: int, offset: int) -> int:
        """The segment that holds a character of a part's text."""
        return bisect_right(self.bases, offset, *self.ranges[part]) - 1

    @cached_property
    def origins(self) -> tuple[Origin, ...]:
        """Where each segment comes from, for citations and traces."""
        return tuple(
            self.origin(segment.part, base, base + len(segment.text))
            for segment, base in zip(self.segments, self.bases, strict=True)
        )

    def origin(self, part: int, start: int, end: int) -> Origin:
        """Where a range of a part's text is in its source."""
        found = self.document.parts[part]
        return Origin(found.name, *found.source(start, end))

    def label(self, part: int) -> str:
        """What heads a file's text in a prompt."""
        return f"--- {self.document.parts[part].name[-_LABEL:]} ---"
