"""What is believed of one peer and model: means that newer observations outweigh, and that fade.

A mean's weight is how many observations stand behind it, at most `memory`; it halves with time,
so that a peer which was slow last month is merely unknown today. An estimate pulls towards what
is usual with the weight of one observation: a peer is neither adored nor damned for a single call.

Nothing here reads a clock, and nothing is ever sent: opinions are local.
"""

from typing import Final

import msgspec

SPEED_MEMORY: Final = 5.0
"""Observations of speed that count: load changes within minutes."""
SUCCESS_MEMORY: Final = 20.0
HONESTY_MEMORY: Final = 40.0
"""Probes are rare, and honesty changes with the owner's mind, not with load."""
SPEED_HALF_LIFE: Final = 24 * 3600.0
HONESTY_HALF_LIFE: Final = 30 * 24 * 3600.0
LEAST_PIECE: Final = 0.05
"""Seconds of streaming below which a pace cannot be told from buffering."""
USUAL_FIRST_TOKEN: Final = 1.0
USUAL_PACE: Final = 50.0
"""Seconds, and tokens a second, before anything is known of a model."""


class Mean(msgspec.Struct, frozen=True):
    """A moving average and how much stands behind it."""

    value: float = 0.0
    weight: float = 0.0

    def after(self, value: float, memory: float) -> "Mean":
        """With one observation more."""
        weight = min(self.weight, memory - 1.0)
        return Mean((self.value * weight + value) / (weight + 1.0), weight + 1.0)

    def estimate(self, usual: float) -> float:
        """The mean, drawn towards what is usual as if that had been observed once."""
        return (self.value * self.weight + usual) / (self.weight + 1.0)

    def faded(self, seconds: float, half_life: float) -> "Mean":
        """After so many seconds without an observation."""
        return Mean(self.value, self.weight * 0.5 ** (max(0.0, seconds) / half_life))


class Opinion(msgspec.Struct, frozen=True):
    """Of one peer and model. `at` is Unix seconds of the latest observation, for fading.

    `first_token` is in seconds, `pace` in tokens a second after that, `success` and `honest` are
    shares. `probes` are canaries and compared answers, `caught` those that spoke against it.
    """

    first_token: Mean = Mean()
    pace: Mean = Mean()
    success: Mean = Mean()
    honest: Mean = Mean()
    calls: int = 0
    failures: int = 0
    probes: int = 0
    caught: int = 0
    at: float = 0.0

    def served(self, first_token: float, seconds: float, tokens: int) -> "Opinion":
        """After an answer of so many tokens that began and ended so many seconds after its ask."""
        pace, streaming = self.pace, seconds - first_token
        if streaming >= LEAST_PIECE and tokens > 1:
            pace = pace.after(tokens / streaming, SPEED_MEMORY)
        return msgspec.structs.replace(
            self,
            first_token=self.first_token.after(first_token, SPEED_MEMORY),
            pace=pace,
            success=self.success.after(1.0, SUCCESS_MEMORY),
            calls=self.calls + 1,
        )

    def failed(self) -> "Opinion":
        """After a call that failed."""
        return msgspec.structs.replace(
            self,
            success=self.success.after(0.0, SUCCESS_MEMORY),
            calls=self.calls + 1,
            failures=self.failures + 1,
        )

    def kept_waiting(self, seconds: float) -> "Opinion":
        """After a call that was given up without a first token: it takes this long at least."""
        if self.first_token.weight and seconds <= self.first_token.value:
            return self
        return msgspec.structs.replace(
            self, first_token=self.first_token.after(seconds, SPEED_MEMORY)
        )

    def probed(self, likeness: float, caught: bool) -> "Opinion":
        """After a canary or a comparison; `likeness` from 0 (as a liar) to 1 (as expected)."""
        return msgspec.structs.replace(
            self,
            honest=self.honest.after(likeness, HONESTY_MEMORY),
            probes=self.probes + 1,
            caught=self.caught + caught,
        )

    def at_time(self, now: float) -> "Opinion":
        """Faded to `now`, in Unix seconds."""
        age = now - self.at
        return msgspec.structs.replace(
            self,
            first_token=self.first_token.faded(age, SPEED_HALF_LIFE),
            pace=self.pace.faded(age, SPEED_HALF_LIFE),
            success=self.success.faded(age, SPEED_HALF_LIFE),
            honest=self.honest.faded(age, HONESTY_HALF_LIFE),
            at=now,
        )
