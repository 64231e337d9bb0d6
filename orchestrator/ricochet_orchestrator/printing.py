"""Text from anywhere on its way to a terminal, which obeys control characters: without those."""

import unicodedata
from typing import Final

# Direction overrides and isolates can make a line read as something else (Unicode TR 36).
_DIRECTIONS: Final = frozenset(
    "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)


def printable(text: str) -> str:
    """`text` without control characters other than line feeds and tabs."""
    return "".join(
        character
        for character in text.replace("\r\n", "\n")
        if character in "\n\t"
        or (unicodedata.category(character) != "Cc" and character not in _DIRECTIONS)
    )
