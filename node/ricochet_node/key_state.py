"""What a provider's words mean for the next calls with a key: the rules of the pool.

| state | meaning | a call may be sent |
|---|---|---|
| ready | nothing stands against it | yes |
| cooling | the provider limits it, is overloaded or fails | from `until` on |
| exhausted | its account is empty | one at a time from `until` on, to find out |
| unknown | the provider does not serve this model to it | one at a time from `until` on |
| refused | the provider does not take the key | no, until it is replaced or enabled |

An answer makes it ready. A fault leads where `_ROWS` says; a wait that the provider names is kept
to the second, others double with each fault in a row. What calls say that were sent before the
present state began is old news: it may make things worse, never better, and counts for no further
doubling. Faults of the ask, and limits that the owner set, say nothing about the key.

Times are Unix seconds and arguments. A clock that is set back moves `since` and `until` with it
(`anchored`), so that it lengthens no wait; states are on disk (`key_states.py`).
"""

import math
from datetime import datetime
from enum import StrEnum
from typing import Final

import msgspec

from ricochet_node.faults import ProviderFault, Reason

SOON: Final = 300
"""Seconds of a wait that are told as such; a longer one by when it ends."""


class State(StrEnum):
    """From best to worst, as in the table above."""

    READY = "ready"
    COOLING = "cooling"
    EXHAUSTED = "exhausted"
    UNKNOWN = "unknown"
    REFUSED = "refused"


class Standing(msgspec.Struct, frozen=True):
    """How a key, or a key with one model, stands; `strikes` are the faults in a row.

    `reason` is that of the last fault, None without one.
    """

    state: State = State.READY
    since: float = 0.0
    until: float = 0.0
    strikes: int = 0
    reason: Reason | None = None

    def lets(self, now: float, probing: bool) -> bool:
        """Whether a call may be sent; `probing` while one is open."""
        match self.state:
            case State.READY:
                return True
            case State.REFUSED:
                return False
            case State.COOLING:
                return now >= self.until
        return now >= self.until and not probing

    def wait(self, now: float) -> float:
        """Seconds until it lets a call through; infinite while it is refused."""
        if self.state is State.REFUSED:
            return float("inf")
        return 0.0 if self.state is State.READY else max(0.0, self.until - now)


def words(standing: Standing, now: float) -> str:
    """For a person: `ready`, `cooling for 40 s`, `exhausted until 2026-11-25 16:20`, `refused`."""
    wait = standing.wait(now)
    if standing.state in (State.READY, State.REFUSED):
        return standing.state.value
    if wait <= 0:
        trying = standing.state is not State.COOLING
        return f"{standing.state}: the next call finds out" if trying else State.READY.value
    if wait < SOON:
        return f"{standing.state} for {math.ceil(wait)} s"
    return f"{standing.state} until {datetime.fromtimestamp(standing.until):%Y-%m-%d %H:%M}"


READY: Final = Standing()


class _Row(msgspec.Struct, frozen=True):
    """The state that a fault leads to, and the wait: the first in seconds, and the longest.

    `forgiven` faults in a row change nothing, unless the provider names a wait.
    """

    state: State
    first: float = 0.0
    longest: float = 0.0
    forgiven: int = 0


# A single reset or bad gateway happens to every provider and says nothing about the next call.
_FAILURE: Final = _Row(State.COOLING, 1, 60, forgiven=2)
_ROWS: Final[dict[Reason, _Row]] = {
    Reason.RATE: _Row(State.COOLING, 2, 300),
    Reason.OVERLOADED: _Row(State.COOLING, 2, 300),
    Reason.FAILED: _FAILURE,
    Reason.BROKEN: _FAILURE,
    Reason.SILENT: _FAILURE,
    Reason.INTERRUPTED: _FAILURE,
    # It fills when its owner pays or a day ends, not by itself within minutes.
    Reason.QUOTA: _Row(State.EXHAUSTED, 600, 6 * 3600),
    Reason.MODEL_UNKNOWN: _Row(State.UNKNOWN, 600, 6 * 3600),
    Reason.KEY_REFUSED: _Row(State.REFUSED),
}
_RANK: Final = {state: rank for rank, state in enumerate(State)}


def of_model(fault: ProviderFault) -> bool:
    """Whether the fault is about the key with one model, not about the key."""
    return fault.reason is Reason.MODEL_UNKNOWN


def after_answer(standing: Standing, began: float) -> Standing:
    """Once a call that began at `began` was answered."""
    return standing if _is_old_news(standing, began) else READY


def after_fault(standing: Standing, fault: ProviderFault, began: float, now: float) -> Standing:
    """Once a call that began at `began` failed."""
    row = _ROWS.get(fault.reason)
    if row is None:
        return standing
    old_news = _is_old_news(standing, began)
    in_a_row = row.state in (State.COOLING, standing.state)
    strikes = (standing.strikes if in_a_row else 0) + (not old_news)
    if row.forgiven and fault.retry_after is None and strikes <= row.forgiven:
        if old_news or standing.state not in (State.READY, State.COOLING):
            return standing
        return msgspec.structs.replace(standing, strikes=strikes, reason=fault.reason)
    until = now + _seconds(row, strikes, fault.retry_after)
    new = Standing(row.state, now, until, strikes, fault.reason)
    if not old_news or _RANK[new.state] > _RANK[standing.state]:
        return new
    if new.state is standing.state:
        return msgspec.structs.replace(standing, until=max(standing.until, until))
    return standing


def _is_old_news(standing: Standing, began: float) -> bool:
    return standing.state is not State.READY and began <= standing.since


def _seconds(row: _Row, strikes: int, asked: int | None) -> float:
    doubled = row.first * 2.0 ** min(max(0, strikes - row.forgiven - 1), 32)
    wait = min(row.longest, doubled)
    if asked is None:
        return wait
    # A rate is over when the provider says so; an empty account, hardly in the same minute.
    return float(asked) if row.state is State.COOLING else max(wait, float(asked))


def anchored(standing: Standing, now: float) -> Standing:
    """The same after the clock was set back: the wait begins now."""
    if now >= standing.since:
        return standing
    return msgspec.structs.replace(
        standing, since=now, until=now + max(0.0, standing.until - standing.since)
    )
