"""Counts each text once: a prompt is measured when it is composed, priced, and billed.

What is remembered is bounded in characters, whatever the texts are like, and in entries; the oldest
goes first. A text that was forgotten is counted again, to the same number.
"""

from collections import OrderedDict
from typing import Final

from ricochet_orchestrator.segment import TokenCounter

MOST_CHARACTERS: Final = 1_000_000
"""Of all remembered texts: the prompts that are out at a time, and little memory."""
MOST_TEXTS: Final = 4096


class RememberedCount:
    """A `TokenCounter` over another one."""

    def __init__(self, count: TokenCounter) -> None:
        self._count = count
        self._known: OrderedDict[str, int] = OrderedDict()
        self._characters = 0

    def __call__(self, text: str) -> int:
        known = self._known.get(text)
        if known is not None:
            return known
        counted = self._count(text)
        if len(text) <= MOST_CHARACTERS // 8:
            self._known[text] = counted
            self._characters += len(text)
            while self._characters > MOST_CHARACTERS or len(self._known) > MOST_TEXTS:
                oldest, _ = self._known.popitem(last=False)
                self._characters -= len(oldest)
        return counted
