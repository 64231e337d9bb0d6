"""Whether a JSON text is nested too deeply to be parsed: parsers recurse for each level.

Python's own recursion limit does not protect: libraries raise it for the whole process, and the C
stack ends before it.
"""

import re
from typing import Final

_TOKENS: Final = re.compile(r'"(?:[^"\\]|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)


def is_nested_beyond(text: str, levels: int) -> bool:
    """Whether arrays and objects in `text` reach more than `levels` deep, valid JSON or not."""
    depth = 0
    for token in _TOKENS.finditer(text):
        if token[0] in "[{":
            depth += 1
            if depth > levels:
                return True
        elif token[0] in "]}":
            depth -= 1
    return False
