"""What calls of all runs add up to, by step, role, model, peer, chain or day.

Counted are answers that were paid for, once each, whichever runs use them; retries are what else
was asked for them. Time is of the calls, so calls at the same time count each.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from statistics import median
from typing import Final, Literal, get_args

import msgspec

from ricochet_protocol.ids import PeerId
from ricochet_protocol.money import Units

Grouping = Literal["step", "role", "model", "peer", "chain", "day"]
GROUPINGS: Final[tuple[Grouping, ...]] = get_args(Grouping)


class Use(msgspec.Struct, frozen=True):
    """One paid answer. Times are Unix seconds and seconds, the cost units."""

    step: str
    role: str
    model: str
    peer: PeerId
    chain: str
    completed_at: float
    attempts: int
    tokens_in: int
    tokens_out: int
    cost: Units
    first_token: float
    seconds: float

    @property
    def day(self) -> str:
        """The day of its end, in UTC."""
        return datetime.fromtimestamp(self.completed_at, UTC).strftime("%Y-%m-%d")


class Total(msgspec.Struct, frozen=True):
    """Calls of one group. `first_token` and `seconds` are medians, `pace` tokens a second."""

    name: str
    calls: int
    retries: int
    tokens_in: int
    tokens_out: int
    cost: Units
    first_token: float
    seconds: float
    pace: float


def totals(uses: Iterable[Use], by: Grouping) -> tuple[Total, ...]:
    """A total for each group: days in order, all else dearest first."""
    groups: dict[str, list[Use]] = {}
    for use in uses:
        groups.setdefault(getattr(use, by), []).append(use)
    found = [total(name, group) for name, group in groups.items()]
    if by == "day":
        return tuple(sorted(found, key=lambda one: one.name))
    return tuple(sorted(found, key=lambda one: (-one.cost, one.name)))


def total(name: str, uses: list[Use]) -> Total:
    """What some calls, at least one, add up to."""
    spent = sum(max(0.0, use.seconds - use.first_token) for use in uses)
    tokens_out = sum(use.tokens_out for use in uses)
    return Total(
        name=name,
        calls=len(uses),
        retries=sum(max(0, use.attempts - 1) for use in uses),
        tokens_in=sum(use.tokens_in for use in uses),
        tokens_out=tokens_out,
        cost=Units(sum(use.cost for use in uses)),
        first_token=median(use.first_token for use in uses),
        seconds=median(use.seconds for use in uses),
        pace=tokens_out / spent if spent else 0.0,
    )
