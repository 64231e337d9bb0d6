"""What a run's router remembers beyond the run: loaded at its start, kept every few seconds.

The router counts in the event loop's seconds, the store in Unix seconds; here one becomes the
other, and a wait that a peer asked for never becomes shorter by it.
"""

from collections.abc import Callable
from typing import Final

import msgspec

from ricochet_orchestrator import opinion_store
from ricochet_orchestrator.breaker import Breaker
from ricochet_orchestrator.opinion import Opinion
from ricochet_orchestrator.route import Router
from ricochet_orchestrator.store import Store
from ricochet_protocol.ids import ModelId, PeerId

ROUNDING: Final = 0.001
"""Seconds: Unix time in a float is exact to a quarter of a microsecond, and is added and taken away
again; without this a peer could be asked that much before its time."""
KEEP_EVERY: Final = 5.0
"""Seconds between writes: one write takes as long as a step's."""


class Memory:
    """One router's. `clock` tells Unix seconds; `now` is always the loop's."""

    def __init__(
        self, store: Store, router: Router, clock: Callable[[], float], now: float
    ) -> None:
        self._store = store
        self._router = router
        self._clock = clock
        self._learnt: set[tuple[PeerId, ModelId]] = set()
        self._moved: set[PeerId] = set()
        self._kept = now
        recall(store, router, clock(), now)

    def note(self, peer: PeerId, model: ModelId, urgent: bool, now: float) -> None:
        """Something was learnt; what is urgent is written at once."""
        self._learnt.add((peer, model))
        self._moved.add(peer)
        if urgent or now >= self._kept + KEEP_EVERY:
            self.keep(now)

    def keep(self, now: float) -> None:
        """Write what has changed."""
        if not self._learnt and not self._moved:
            return
        unix = self._clock()
        learnt = {
            key: msgspec.structs.replace(self._router.opinion(*key), at=unix)
            for key in self._learnt
        }
        states = {peer: self._router.breaker(peer).moved(unix - now) for peer in self._moved}
        opinion_store.keep(self._store, learnt, states)
        self._learnt.clear()
        self._moved.clear()
        self._kept = now


def recall(store: Store, router: Router, unix: float, now: float) -> None:
    """Let a router know what is stored, faded to this moment."""
    opinions: dict[tuple[PeerId, ModelId], Opinion] = {
        key: one.at_time(unix) for key, one in opinion_store.opinions(store).items()
    }
    breakers: dict[PeerId, Breaker] = {
        peer: one.moved(now - unix).asked_to_wait(one.wait + (now - unix) + ROUNDING)
        for peer, one in opinion_store.breakers(store).items()
    }
    router.learn(opinions, breakers)
