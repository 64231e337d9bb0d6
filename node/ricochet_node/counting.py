"""Counts tokens without keeping the event loop from other calls.

Most prompts and answers are short: a count of them costs less than a thread does. What is certain
without a count is not counted at all.
"""

import asyncio
from collections.abc import Iterable
from typing import Final

from ricochet_protocol.tokens import count_texts

SHORT: Final = 4096
"""Characters that are counted in less than two milliseconds."""


async def count(texts: Iterable[str]) -> int:
    """Tokens of the texts, as both sides count them."""
    texts = tuple(texts)
    if sum(map(len, texts)) < SHORT:
        return count_texts(texts)
    return await asyncio.to_thread(count_texts, texts)


def most(texts: Iterable[str]) -> int:
    """What the count cannot exceed: no token is shorter than a byte."""
    return sum(len(text) if text.isascii() else len(text.encode()) for text in texts)
