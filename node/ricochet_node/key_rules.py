"""What the owner lets a key do, as the vault enforces it; zero and None mean "no limit".

Amounts are what the *provider* charges the owner, in units (millionths of a dollar). Days, months
and hours are those of the owner's time zone, by default the machine's.
"""

from datetime import datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import msgspec

from ricochet_node.prices import Price
from ricochet_protocol.money import Units

_ONE_DAY: Final = timedelta(days=1)


class Hours(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """From `start` to `end` of each day, in minutes; past midnight when the end comes first."""

    start: int
    end: int

    def hold(self, at: datetime) -> bool:
        """Whether a local time lies within."""
        minute = at.hour * 60 + at.minute
        if self.start <= self.end:
            return self.start <= minute < self.end
        return minute >= self.start or minute < self.end


class KeyRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The rules of one key; `models` are the provider's names that it serves, None for all.

    `rpm` and `tpm` are calls and tokens in any 60 seconds, `concurrency` calls at once.
    """

    models: tuple[str, ...] | None = None
    rpm: int = 0
    tpm: int = 0
    concurrency: int = 0
    per_day: Units | None = None
    per_month: Units | None = None
    hours: Hours | None = None
    time_zone: str = ""
    prices: dict[str, Price] = {}

    @property
    def is_capped(self) -> bool:
        """Whether what is spent with the key has a bound."""
        return self.per_day is not None or self.per_month is not None

    @property
    def is_limited(self) -> bool:
        """Whether anything but the models is for the vault to enforce."""
        limits = (self.rpm, self.tpm, self.concurrency, self.hours)
        return self.is_capped or any(limits)

    def allows(self, model: str) -> bool:
        """Whether calls of this model are let through."""
        return self.models is None or model in self.models

    def local(self, now: float) -> datetime:
        """The owner's clock; without a zone where it is the machine's."""
        return datetime.fromtimestamp(now, ZoneInfo(self.time_zone) if self.time_zone else None)


def next_day(at: datetime) -> datetime:
    """The beginning of the day after."""
    return datetime.combine(at.date() + _ONE_DAY, time(), at.tzinfo)


def next_month(at: datetime) -> datetime:
    """The beginning of the month after."""
    first = (at.date().replace(day=1) + 32 * _ONE_DAY).replace(day=1)
    return datetime.combine(first, time(), at.tzinfo)


def next_opening(at: datetime, hours: Hours) -> datetime:
    """When active hours begin again."""
    opening = datetime.combine(at.date(), time(*divmod(hours.start, 60)), at.tzinfo)
    return opening if opening > at else opening + _ONE_DAY
