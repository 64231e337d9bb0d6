"""What peers did wrong, as a score that time lowers, and whom it bans.

    WELCOME --OVER (score reaches BAN)--> BANNED --UNDER (score has sunk to PARDON)--> WELCOME
    WELCOME, BANNED --BAR (the owner's word)--> BARRED --UNBAR--> WELCOME, with no score
    BANNED --UNBAR--> WELCOME, with no score

Every other event changes nothing. The score halves every `HALF_LIFE` and is capped, so whoever
stops is pardoned within an hour; what the owner bars stays barred. Noise proves who sent what, so
nobody can spoil another's score. Time is Unix seconds, because scores outlive the process; a
clock that goes back decays nothing.
"""

from collections.abc import Callable, Iterable, Mapping
from enum import Enum, auto
from typing import Final

import msgspec

from ricochet_protocol.advert import AdvertFlaw
from ricochet_protocol.ids import PeerId

BAN: Final = 100.0
PARDON: Final = 50.0
CAP: Final = 1600.0
"""Five half-lives above `PARDON`: the longest ban takes fifty minutes."""
HALF_LIFE: Final = 600.0
FORGOTTEN: Final = 0.5
"""A score below it is none."""
MAX_SCORED: Final = 4096
"""Scores kept; a new one then replaces the lowest. Identities are free, memory is not."""


class Offence(Enum):
    """What a peer can do wrong; the value is what it adds."""

    GARBAGE = 60.0, "broke the protocol"
    UNREADABLE = 10.0, "sent a message that cannot be read"
    FORGED = 60.0, "passed on a forged advert"
    OVERSIZED = 20.0, "passed on an oversized advert"
    FOREIGN = 5.0, "passed on an advert of another network"
    STALE = 2.0, "passed on an advert from another time"
    REPLAYED = 2.0, "announced an advert that had been replaced"
    FLOOD = 10.0, "sent more than its quota"

    @property
    def weight(self) -> float:
        """What it adds to the score."""
        return self.value[0]

    @property
    def words(self) -> str:
        """What the peer did, for people."""
        return self.value[1]


OF_FLAW: Final[Mapping[AdvertFlaw, Offence]] = {
    AdvertFlaw.FORGED: Offence.FORGED,
    AdvertFlaw.OVERSIZED: Offence.OVERSIZED,
    AdvertFlaw.FOREIGN: Offence.FOREIGN,
    AdvertFlaw.STALE: Offence.STALE,
}


class Standing(Enum):
    """How a peer stands; see the module's text."""

    WELCOME = "welcome"
    BANNED = "banned"
    BARRED = "barred"


class Event(Enum):
    """What moves a peer from one standing to another."""

    OVER = auto()
    UNDER = auto()
    BAR = auto()
    UNBAR = auto()


ON_EVENT: Final[Mapping[tuple[Standing, Event], Standing]] = {
    (Standing.WELCOME, Event.OVER): Standing.BANNED,
    (Standing.BANNED, Event.UNDER): Standing.WELCOME,
    (Standing.WELCOME, Event.BAR): Standing.BARRED,
    (Standing.BANNED, Event.BAR): Standing.BARRED,
    (Standing.BARRED, Event.UNBAR): Standing.WELCOME,
    (Standing.BANNED, Event.UNBAR): Standing.WELCOME,
}


class Score(msgspec.Struct, frozen=True):
    """A peer's score as it was `at` (Unix seconds)."""

    value: float
    at: float
    standing: Standing = Standing.WELCOME

    def now(self, unix: float) -> "Score":
        """What time has made of it."""
        elapsed = max(0.0, unix - self.at)
        value = self.value * 0.5 ** (elapsed / HALF_LIFE)
        score = Score(value, max(unix, self.at), self.standing)
        return score.after(Event.UNDER) if value <= PARDON else score

    def after(self, event: Event) -> "Score":
        """The score with the standing that `event` leads to."""
        return Score(self.value, self.at, ON_EVENT.get((self.standing, event), self.standing))


class Conduct:
    """The scores of all peers; `clock` tells Unix seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._scores: dict[PeerId, Score] = {}

    def blame(self, peer: PeerId, offence: Offence) -> bool:
        """Add an offence; whether the peer is banned by it."""
        before = self.score(peer)
        value = min(CAP, before.value + offence.weight)
        after = Score(value, before.at, before.standing)
        if value >= BAN:
            after = after.after(Event.OVER)
        self._keep(peer, after)
        return after.standing is not before.standing

    def score(self, peer: PeerId) -> Score:
        """How a peer stands now."""
        now = self._clock()
        known = self._scores.get(peer)
        return Score(0.0, now) if known is None else known.now(now)

    def refused(self, peer: PeerId) -> bool:
        """Whether nothing is wanted of the peer now."""
        # Nearly everybody has no score, and this is asked often.
        return peer in self._scores and self.score(peer).standing is not Standing.WELCOME

    def bar(self, peers: Iterable[PeerId]) -> tuple[PeerId, ...]:
        """Make `peers` the ones that the owner bars; those that are barred now and were not."""
        wanted = frozenset(peers)
        former = [peer for peer, one in self._scores.items() if one.standing is Standing.BARRED]
        for peer in former:
            if peer not in wanted:
                self.unbar(peer)
        new = tuple(sorted(wanted.difference(former)))
        for peer in new:
            self._keep(peer, self.score(peer).after(Event.BAR))
        return new

    def unbar(self, peer: PeerId) -> None:
        """Forgive a peer everything, a ban included."""
        self._scores.pop(peer, None)

    def scores(self) -> dict[PeerId, Score]:
        """Every score that is more than nothing."""
        found = {peer: self.score(peer) for peer in self._scores}
        self._scores = {peer: one for peer, one in found.items() if _counts(one)}
        return dict(self._scores)

    def restore(self, peer: PeerId, score: Score) -> None:
        """Take up a score of an earlier process; what the owner bars is told by `bar`."""
        if score.standing is not Standing.BARRED:
            self._keep(peer, score)

    def _keep(self, peer: PeerId, score: Score) -> None:
        if peer not in self._scores and len(self._scores) >= MAX_SCORED:
            self.scores()
        if peer not in self._scores and len(self._scores) >= MAX_SCORED:
            least = min(self._scores, key=lambda one: _rank(self._scores[one]))
            if _rank(score) < _rank(self._scores[least]):
                return
            del self._scores[least]
        self._scores[peer] = score


def _counts(score: Score) -> bool:
    return score.value > FORGOTTEN or score.standing is not Standing.WELCOME


def _rank(score: Score) -> tuple[bool, float]:
    return score.standing is Standing.BARRED, score.value
