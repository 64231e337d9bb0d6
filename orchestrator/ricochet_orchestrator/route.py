"""Chooses the node for a call: power of two choices, and what has been learnt of each peer.

Idle peers come first, so that everyone with capacity gets work; among them two are drawn and the
better score wins: expected cost, time to first token and success, as moving averages. A peer that
fails is left alone for a while, each time longer; one that lies, for the longest while at once.
The generator is seeded and time is an argument: equal observations give equal choices.
"""

import random
from collections.abc import Collection, Sequence
from typing import Final

import msgspec

from ricochet_protocol.advert import ModelOffer, SignedAdvert
from ricochet_protocol.errors import RemoteCode
from ricochet_protocol.ids import PeerId
from ricochet_protocol.money import cost

LEARNING: Final = 0.3
"""Weight of the newest observation: the last three calls make up two thirds of an average."""
COOL_DOWN: Final = 1.0
"""Seconds after a first failure; doubles with each one that follows."""
LONGEST: Final = 60.0
BUSY: Final = 0.5
"""Seconds to leave a peer alone that is only full."""
ANSWER_PERCENT: Final = 60
"""Of `max_tokens` that an answer is expected to take."""
_LIES: Final = frozenset(
    {
        RemoteCode.GARBAGE,
        RemoteCode.REFUSED,
        RemoteCode.NO_MODEL,
        RemoteCode.TOO_LONG,
        RemoteCode.UPSTREAM_AUTH,
        RemoteCode.PAYMENT_REQUIRED,
    }
)
"""Failures that trying again soon will not mend."""


class Candidate(msgspec.Struct, frozen=True):
    """A peer that could serve a call; `limit` is how many it may serve at the same time.

    `surplus` is the factor by which its bills have exceeded the own count.
    """

    advert: SignedAdvert
    offer: ModelOffer
    limit: int
    surplus: float = 1.0

    @property
    def peer(self) -> PeerId:
        """Who it is."""
        return self.advert.advert.peer


class _Learnt(msgspec.Struct):
    """Starts friendly, so that a new peer is tried."""

    in_flight: int = 0
    first_token: float = 1.0
    success: float = 1.0
    failures: int = 0
    until: float = 0.0


class Router:
    """What one run has learnt of its peers. Times are the caller's, in seconds."""

    def __init__(self, seed: int) -> None:
        # Chance here spreads load; nobody gains by foreseeing it.
        self._chance = random.Random(seed)  # noqa: S311
        self._peers: dict[PeerId, _Learnt] = {}

    def choose(
        self,
        candidates: Sequence[Candidate],
        counted: int,
        max_tokens: int,
        now: float,
        avoid: Collection[PeerId] = (),
    ) -> Candidate | None:
        """The peer to ask, None when all are full or cooling down.

        Peers in `avoid` are taken only when no other could ever serve the call.
        """
        others = [one for one in candidates if one.peer not in avoid]
        free = [one for one in others or candidates if self.ready(one, now)]
        idle = [one for one in free if self._learnt(one.peer).in_flight == 0]
        pool = sorted(idle or free, key=lambda one: one.peer)
        if len(pool) > 2:
            pool = self._chance.sample(pool, 2)
        return min(pool, key=lambda one: self.score(one, counted, max_tokens), default=None)

    def ready(self, candidate: Candidate, now: float) -> bool:
        """Whether the peer has a free slot and is not cooling down."""
        learnt = self._learnt(candidate.peer)
        return learnt.until <= now and learnt.in_flight < candidate.limit

    def score(self, candidate: Candidate, counted: int, max_tokens: int) -> float:
        """Lower is better: expected cost times delay, divided by the chance of success squared."""
        learnt = self._learnt(candidate.peer)
        expected = cost(
            counted,
            max_tokens * ANSWER_PERCENT // 100,
            candidate.offer.price_in,
            candidate.offer.price_out,
        )
        delay = 0.1 + learnt.first_token
        return (1 + expected * candidate.surplus) * delay / max(learnt.success, 0.01) ** 2

    def started(self, peer: PeerId) -> None:
        """A call has gone to the peer; exactly one of the next three follows."""
        self._learnt(peer).in_flight += 1

    def served(self, peer: PeerId, first_token: float) -> None:
        """The call was served."""
        learnt = self._learnt(peer)
        learnt.in_flight -= 1
        learnt.failures = 0
        learnt.first_token += LEARNING * (first_token - learnt.first_token)
        learnt.success += LEARNING * (1.0 - learnt.success)

    def failed(self, peer: PeerId, code: str, now: float) -> None:
        """The call failed with a `RemoteCode`."""
        learnt = self._learnt(peer)
        learnt.in_flight -= 1
        if code == RemoteCode.BUSY:
            learnt.until = max(learnt.until, now + BUSY)
            return
        learnt.failures += 1
        learnt.success -= LEARNING * learnt.success
        pause = LONGEST if code in _LIES else COOL_DOWN * 2 ** min(learnt.failures - 1, 16)
        learnt.until = max(learnt.until, now + min(pause, LONGEST))

    def released(self, peer: PeerId) -> None:
        """The call ended for a reason that tells nothing about the peer."""
        self._learnt(peer).in_flight -= 1

    def _learnt(self, peer: PeerId) -> _Learnt:
        return self._peers.setdefault(peer, _Learnt())
