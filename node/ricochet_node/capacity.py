"""What an advert may promise: the capacity that is there now, never more than is configured.

An offer counts the keys that may be asked now. One that can serve nobody is not shown and comes
back by itself; one that can in `BRIEF` seconds stays, with no free slot, so that adverts do not
flap with every short cool-down.
"""

import math
from collections.abc import Callable
from typing import Final

import msgspec

from ricochet_node.key_state import State
from ricochet_node.offer import Offer, Source
from ricochet_node.offers import OfferBook
from ricochet_node.pool import Pool
from ricochet_protocol.advert import ModelOffer

BRIEF: Final = 10
"""Seconds without a key for which an offer stays on show."""


class Capacity:
    """Of one node; `clock` tells Unix seconds."""

    def __init__(self, book: OfferBook, pool: Pool, clock: Callable[[], float]) -> None:
        self._book = book
        self._pool = pool
        self._clock = clock

    def shown(self) -> tuple[ModelOffer, ...]:
        """What peers can be served now, offer by offer."""
        return self._ready() if self._book.admitting else ()

    def own(self) -> tuple[ModelOffer, ...]:
        """What the owner can be served now."""
        return self._ready() if self._book.serves_owner else ()

    def _ready(self) -> tuple[ModelOffer, ...]:
        each = (self._of(offer) for offer in self._book.offers)
        return tuple(offer for offer in each if offer is not None)

    def _of(self, offer: Offer) -> ModelOffer | None:
        most = offer.shown.slots
        waits = {source: self._wait(source) for source in offer.sources}
        ready = {source.key for source, wait in waits.items() if not wait}
        soon = {source.key for source, wait in waits.items() if wait <= BRIEF}
        at_once = {key: self._at_once(key, most) for key in soon}
        slots = min(most, sum(at_once[key] for key in ready or soon))
        if not slots:
            return None
        spare = sum(max(0, at_once[key] - self._pool.open_calls(key)) for key in ready)
        return msgspec.structs.replace(
            offer.shown,
            slots=slots,
            free=max(0, min(slots - self._book.open_of(offer.model), spare)),
            tokens_left=self._tokens(ready),
        )

    def _wait(self, source: Source) -> float:
        """Seconds until the source may be asked, whatever is open."""
        wait = self._pool.standing(source).wait(self._clock())
        room = self._pool.room(source.key)
        if not room.closed:
            return wait
        return max(wait, math.inf if room.wait is None else room.wait)

    def _at_once(self, key: str, most: int) -> int:
        if self._pool.key_standing(key).state is State.EXHAUSTED:
            return 1  # the one call that finds out
        at_once = self._pool.room(key).at_once
        return most if at_once is None else min(most, at_once)

    def _tokens(self, keys: set[str]) -> int | None:
        left = [self._pool.room(key).tokens_left for key in keys]
        known = [tokens for tokens in left if tokens is not None]
        return rounded(sum(known)) if len(known) == len(left) else None


def rounded(tokens: int) -> int:
    """Two digits of it, rounded down: more would only make adverts differ."""
    unit: int = 10 ** max(0, len(str(tokens)) - 2)
    return tokens // unit * unit
