"""What an attack came to, in micro-dollars, and which promises it had to break."""

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Outcome:
    """`put_in` is what the attacker spent, gas included, and did not get refunded; `got` is what he
    got for it: money, and service at its price.

    `node_lost` is service that honest nodes let out and were not paid for, `node_gas` what they
    spent on transactions for the attacker alone, `subscriber_lost` what honest subscribers paid for
    nothing. `promises` say what had to hold, and whether it did.
    """

    attack: str
    actors: int
    put_in: int
    got: int
    node_lost: int = 0
    node_gas: int = 0
    subscriber_lost: int = 0
    facts: dict[str, int] = field(default_factory=dict)
    promises: dict[str, bool] = field(default_factory=dict)

    @property
    def gain_percent(self) -> float | None:
        """The attacker's return, in tenths of a percent rounded down; None for nothing put in."""
        if not self.put_in:
            return None
        return (self.got - self.put_in) * 1_000 // self.put_in / 10

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "gain_percent": self.gain_percent}
