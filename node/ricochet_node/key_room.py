"""What the owner's limits leave of each key now: the room that the pool may fill.

The vault enforces the limits; it counts in `keys.db`, which is only read here, so that a call is
not sent where it would be refused and an advert promises what is there. What is read may be a
second old: then the vault refuses, and the call goes to the next source.
"""

import math
import sqlite3
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Final, Protocol

import msgspec

from ricochet_node.counters import WINDOW, Counters
from ricochet_node.key_rules import KeyRules, next_day, next_month, next_opening
from ricochet_node.key_state import SOON

_NO_RULES: Final = KeyRules()
LOOK: Final = 1.0
"""Seconds for which what was read is good enough."""


_LIMITS: Final = {
    "disabled": "disabled",
    "hours": "outside its hours",
    "rate": "at its rate limit",
    "cap": "at its spending cap",
}


class Room(msgspec.Struct, frozen=True):
    """Of one key: calls at once, and tokens left of this minute; None without a limit.

    `closed` names the limit that lets no call through (`disabled`, `hours`, `rate`, `cap`), "" when
    there is none, and `wait` the seconds until it does again, None when only its owner knows.
    """

    at_once: int | None = None
    tokens_left: int | None = None
    closed: str = ""
    wait: int | None = None


class Rooms(Protocol):
    """Says what is left of a key."""

    def of(self, key: str) -> Room: ...


class VaultRooms:
    """The rooms of the keys that one vault has; `rules` are what it enforces now."""

    def __init__(
        self, path: Path, rules: Mapping[str, KeyRules], clock: Callable[[], float]
    ) -> None:
        """LocalFault `counters_damaged` when the vault's counters cannot be read."""
        self._counters = Counters(path)
        self.rules = dict(rules)
        self._clock = clock
        self._read: dict[str, tuple[float, KeyRules, Room]] = {}

    def close(self) -> None:
        self._counters.close()

    def is_disabled(self, key: str) -> bool:
        """Whether the owner has switched it off, at this moment; sqlite3.Error."""
        return self._counters.is_disabled(key)

    def of(self, key: str) -> Room:
        """As in the port."""
        now, rules = self._clock(), self.rules.get(key, _NO_RULES)
        at, under, room = self._read.get(key, (now - LOOK, rules, Room()))
        # A clock that was set back makes what was read old, not fresh.
        # Edited rules are other objects, and to compare them costs more than to read anew.
        if under is not rules or not 0 <= now - at < LOOK:
            try:
                room = self._look(key, rules, now)
            except sqlite3.Error:
                room = Room(at_once=rules.concurrency or None)  # the vault has the last word
            self._read[key] = (now, rules, room)
        return room

    def _look(self, key: str, rules: KeyRules, now: float) -> Room:
        if self._counters.is_disabled(key):
            return Room(closed="disabled")
        local = rules.local(now)
        if rules.hours is not None and not rules.hours.hold(local):
            opening = next_opening(local, rules.hours)
            return Room(closed="hours", wait=_seconds(opening.timestamp() - now))
        for cap, period, renewal in (
            (rules.per_month, local.date().isoformat()[:7], next_month),
            (rules.per_day, local.date().isoformat(), next_day),
        ):
            if cap is not None and self._counters.spent(key, period).amount >= cap:
                return Room(closed="cap", wait=_seconds(renewal(local).timestamp() - now))
        return self._rate(key, rules, now)

    def _rate(self, key: str, rules: KeyRules, now: float) -> Room:
        recent = self._counters.window(key, now) if rules.rpm or rules.tpm else []
        if rules.rpm and len(recent) >= rules.rpm:
            return Room(closed="rate", wait=_seconds(recent[-rules.rpm][0] + WINDOW - now))
        left = None
        if rules.tpm:
            left = rules.tpm - sum(tokens for _, tokens in recent)
            if left <= 0:
                return Room(closed="rate", wait=_seconds(recent[0][0] + WINDOW - now))
        return Room(at_once=rules.concurrency or None, tokens_left=left)


def words(room: Room, now: float) -> str:
    """For a person: `disabled`, `at its rate limit for 40 s`, … of a room that is closed."""
    limit = _LIMITS[room.closed]
    if room.wait is None:
        return limit
    if room.wait < SOON:
        return f"{limit} for {room.wait} s"
    return f"{limit} until {datetime.fromtimestamp(now + room.wait):%Y-%m-%d %H:%M}"


def _seconds(seconds: float) -> int:
    return max(1, math.ceil(seconds))
