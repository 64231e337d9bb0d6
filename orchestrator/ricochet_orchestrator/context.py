"""How much of what stands before a segment is shown with it.

A value of its own, so that commands can name it without loading what cuts documents.
"""

import msgspec


class Context(msgspec.Struct, frozen=True):
    """`overlap` is the end of the text before, in tokens; `headings` shows the path of headings."""

    overlap: int = 0
    headings: bool = False

    def words(self) -> tuple[str, ...]:
        """The same as arguments of `ricochet chain run`."""
        words = [] if not self.overlap else ["--overlap", str(self.overlap)]
        return tuple(words + (["--headings"] if self.headings else []))
