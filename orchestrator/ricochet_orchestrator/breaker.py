"""The circuit breaker of one peer, as a table: whether it may be asked, and from when.

    closed     calls pass
    open       none passes until its pause is over
    half-open  one passes, and decides

A pause is a second after the first failure and doubles up to `LONGEST` with each that follows; a
lie takes the longest at once, and `trips` counts those in a row. A full peer has not failed. What
a peer asks to be waited for holds in every state, whatever its calls do meanwhile.
"""

from enum import StrEnum
from typing import Final

import msgspec

COOL_DOWN: Final = 1.0
"""Seconds after a first failure; doubles with each one that follows."""
LONGEST: Final = 60.0
BUSY: Final = 0.5
"""Seconds to leave a peer alone that is only full and does not say for how long."""


class State(StrEnum):
    """Where a breaker stands."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class Event(StrEnum):
    """What happens to it."""

    SUCCESS = "success"
    FAILURE = "failure"
    LIE = "lie"
    PAUSE_OVER = "pause over"


_TABLE: Final = {
    (State.CLOSED, Event.SUCCESS): State.CLOSED,
    (State.CLOSED, Event.FAILURE): State.OPEN,
    (State.CLOSED, Event.LIE): State.OPEN,
    (State.CLOSED, Event.PAUSE_OVER): State.CLOSED,
    # A call that was out when the breaker opened says less than the failure that came after it.
    (State.OPEN, Event.SUCCESS): State.OPEN,
    (State.OPEN, Event.FAILURE): State.OPEN,
    (State.OPEN, Event.LIE): State.OPEN,
    (State.OPEN, Event.PAUSE_OVER): State.HALF_OPEN,
    (State.HALF_OPEN, Event.SUCCESS): State.CLOSED,
    (State.HALF_OPEN, Event.FAILURE): State.OPEN,
    (State.HALF_OPEN, Event.LIE): State.OPEN,
    (State.HALF_OPEN, Event.PAUSE_OVER): State.HALF_OPEN,
}


class Breaker(msgspec.Struct, frozen=True):
    """One peer's. Times are the caller's, in seconds.

    `until` ends the pause of an open one, `wait` is what the peer asked for.
    """

    state: State = State.CLOSED
    trips: int = 0
    until: float = 0.0
    wait: float = 0.0

    def at(self, now: float) -> "Breaker":
        """As it stands at `now`: a pause may be over."""
        if self.state is State.OPEN and now >= self.until:
            return self._after(Event.PAUSE_OVER)
        return self

    def admits(self, now: float, in_flight: int) -> bool:
        """Whether one more call may go out beside those that are."""
        if now < self.wait:
            return False
        match self.at(now).state:
            case State.CLOSED:
                return True
            case State.HALF_OPEN:
                return in_flight == 0
            case State.OPEN:
                return False

    def succeeded(self, now: float) -> "Breaker":
        """A call was served."""
        return self.at(now)._after(Event.SUCCESS)

    def failed(self, now: float, lie: bool = False) -> "Breaker":
        """A call failed; `lie` when trying again soon will not mend it."""
        after = self.at(now)._after(Event.LIE if lie else Event.FAILURE)
        pause = LONGEST if lie else min(LONGEST, COOL_DOWN * 2 ** min(after.trips - 1, 16))
        return msgspec.structs.replace(after, until=max(self.until, now + pause))

    def asked_to_wait(self, until: float) -> "Breaker":
        """The peer wants nothing before `until`."""
        return msgspec.structs.replace(self, wait=max(self.wait, until))

    def moved(self, seconds: float) -> "Breaker":
        """The same on a clock that shows so many seconds more."""
        return msgspec.structs.replace(self, until=self.until + seconds, wait=self.wait + seconds)

    def _after(self, event: Event) -> "Breaker":
        state = _TABLE[self.state, event]
        trips = self.trips + (event in (Event.FAILURE, Event.LIE))
        return msgspec.structs.replace(
            self, state=state, trips=0 if state is State.CLOSED else trips
        )
