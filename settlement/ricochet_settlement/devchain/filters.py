"""Filters that clients poll for what is new since they last asked.

They live in memory, as they do elsewhere: a client whose filter is gone makes a new one. After a
revert a filter goes on at the new head; what it told about dropped blocks is not taken back.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

MAX_FILTERS: Final = 1000
"""At once; the one that was polled longest ago is forgotten."""


@dataclass
class Filter:
    """`criteria` as `eth_getLogs` takes them, or None for one that tells of blocks."""

    criteria: dict[str, Any] | None
    next: int
    """The first block it has not told of."""


class Filters:
    """Numbered filters over a chain whose newest block number is `head()`."""

    def __init__(self, head: Callable[[], int]) -> None:
        self._head = head
        self._numbers = count(1)
        self._filters: dict[int, Filter] = {}

    def add(self, criteria: dict[str, Any] | None) -> int:
        """The number of a new filter for what comes after the newest block."""
        number = next(self._numbers)
        self._filters[number] = Filter(criteria, self._head() + 1)
        if len(self._filters) > MAX_FILTERS:
            del self._filters[next(iter(self._filters))]
        return number

    def find(self, number: int) -> Filter | None:
        """The filter of that number; being asked for keeps it."""
        found = self._filters.pop(number, None)
        if found is not None:
            self._filters[number] = found
        return found

    def news(self, found: Filter) -> range:
        """The blocks it has not told of, which it now has."""
        head = self._head()
        blocks = range(min(found.next, head + 1), head + 1)
        found.next = head + 1
        return blocks

    def remove(self, number: int) -> bool:
        """Whether there was such a filter."""
        return self._filters.pop(number, None) is not None
