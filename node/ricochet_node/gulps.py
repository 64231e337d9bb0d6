"""Streams whose pieces come quickly are read in gulps: a read costs more than what it reads.

After `_QUICK` reads in a row less than `QUICK_SECONDS` apart a stream rests for `GULP_SECONDS` at
most, and what comes meanwhile is read at once. A slower stream, and the beginning of any, is never
held. One timer wakes all that rest, so that they share a turn of the loop (docs/adr/031).
"""

import asyncio
from typing import Final, Protocol

QUICK_SECONDS: Final = 0.008
"""Between reads: a stream of fewer than 125 pieces a second is a slow one."""
GULP_SECONDS: Final = 0.016
"""A frame of a screen: nobody who reads along can tell."""
LARGE: Final = 16 * 1024
"""Bytes of a read that is a gulp by itself."""
_QUICK: Final = 4
"""More than the pieces that come before a first token: headers, a role, an empty text."""


class Sleeper(Protocol):
    """What rests."""

    def rest(self) -> None:
        """Read nothing for now."""

    def wake_up(self) -> None:
        """Read again."""


class Pace:
    """How quickly one stream's reads follow each other; times are of the loop's clock."""

    def __init__(self) -> None:
        self._last = 0.0
        self._quick = 0

    def heard(self, size: int, now: float) -> bool:
        """Take note of a read; whether the stream should rest now."""
        quick = size < LARGE and now - self._last < QUICK_SECONDS
        self._quick = self._quick + 1 if quick else 0
        self._last = now
        return self._quick >= _QUICK

    def rested(self, now: float) -> None:
        """From here on the next read is waited for."""
        self._last = now


class Gulps:
    """The streams of one loop that rest."""

    def __init__(self) -> None:
        self._resting: list[Sleeper] = []
        self._timer: asyncio.TimerHandle | None = None

    def rest(self, stream: Sleeper) -> None:
        """Let it rest until all are woken."""
        stream.rest()
        self._resting.append(stream)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(GULP_SECONDS, self._wake)

    def close(self) -> None:
        """Wake all, for good."""
        if self._timer is not None:
            self._timer.cancel()
            self._wake()

    def _wake(self) -> None:
        self._timer = None
        resting, self._resting = self._resting, []
        for stream in resting:
            stream.wake_up()
