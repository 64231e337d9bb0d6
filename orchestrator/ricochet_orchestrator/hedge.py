"""When a second peer is asked for a call whose first token is late, and what that may cost.

Late is later than `PERCENTILE` of the first tokens that this run has seen of the model; before
`LEAST` of them nothing is late. Each call puts a share of its expected cost into a purse, and a
rival takes out the whole of its own: however slow a network is, rivals cost that share at most.
"""

from collections import deque
from typing import Final

from ricochet_protocol.ids import ModelId

PERCENTILE: Final = 95
LEAST: Final = 10
"""Observations below which a percentile is a guess."""
SEEN: Final = 200
"""The latest observations that count: load changes."""
SOONEST: Final = 0.25
"""Seconds: a rival for less would not pay for its own way."""


class Hedge:
    """One run's. `share` of 0 turns it off."""

    def __init__(self, share: float) -> None:
        self._share = share
        self._purse = 0.0
        self._seen: dict[ModelId, deque[float]] = {}

    @property
    def on(self) -> bool:
        """Whether there are rivals at all."""
        return self._share > 0

    def saw(self, model: ModelId, first_token: float) -> None:
        """A call's first token came after so many seconds."""
        self._seen.setdefault(model, deque(maxlen=SEEN)).append(first_token)

    def earn(self, expected: float) -> None:
        """A call of this expected cost goes out."""
        self._purse += self._share * expected

    def late_after(self, model: ModelId) -> float | None:
        """Seconds after which a first token is late; None while too little was seen."""
        seen = self._seen.get(model, ())
        if len(seen) < LEAST:
            return None
        return max(SOONEST, sorted(seen)[len(seen) * PERCENTILE // 100])

    def afford(self, expected: float) -> bool:
        """Take the expected cost of a rival out of the purse; False when it does not hold it."""
        if expected > self._purse:
            return False
        self._purse -= expected
        return True
