"""News on its way to linked peers: one announcement a link at a time, the next has all the rest.

Lone news leaves at once. What comes while an announcement is under way goes with the next one, each
peer's newest advert once, and without what the other side has told us meanwhile. So a network in
which everybody starts at the same moment exchanges a few large messages and not one for each
advert and link, and a peer that does not answer makes nothing pile up.

What is *owed* waits for about half a second, in which the other side may hear of it elsewhere and
tell us so. Peers wait differently long, so that one of two pays and spares the other his share.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from ricochet_network.directory import BATCH
from ricochet_network.links import Link
from ricochet_network.task_owner import TaskOwner
from ricochet_protocol.advert import SignedAdvert
from ricochet_protocol.ids import PeerId

OWED: Final = (0.4, 0.8)
"""Seconds that an advert may be owed, at least and at most."""
_News = dict[PeerId, SignedAdvert]


class Announcements:
    """Adverts that wait, by link; `tell` makes one announcement and never raises for its peer."""

    def __init__(
        self,
        tell: Callable[[Link, tuple[SignedAdvert, ...]], Awaitable[None]],
        tasks: TaskOwner,
        rng: random.Random,
    ) -> None:
        self._tell = tell
        self._tasks = tasks
        self._rng = rng
        self._waiting: dict[Link, _News] = {}
        self._owed: dict[Link, _News] = {}

    def add(self, link: Link, adverts: Iterable[SignedAdvert]) -> None:
        """Announce these adverts to a linked peer, now or with the next announcement."""
        idle = link not in self._waiting
        waiting = self._waiting.setdefault(link, {})
        told = tuple(adverts)
        _add(waiting, told)
        _drop(self._owed.get(link, {}), told)
        if idle:
            self._tasks.spawn(self._announce(link, waiting))

    def owe(self, link: Link, adverts: Iterable[SignedAdvert]) -> None:
        """Announce them after `OWED`, unless the peer has told us of them by then."""
        if not self._owed:
            self._tasks.spawn(self._pay())
        _add(self._owed.setdefault(link, {}), adverts)

    def heard(self, source: PeerId, adverts: Iterable[SignedAdvert]) -> None:
        """A peer has told us of these itself."""
        told = tuple(adverts)
        for news in (self._waiting, self._owed):
            for link, waiting in news.items():
                if link.peer == source:
                    _drop(waiting, told)

    async def _pay(self) -> None:
        await asyncio.sleep(self._rng.uniform(*OWED))
        owed, self._owed = self._owed, {}
        for link, adverts in owed.items():
            if adverts:
                self.add(link, adverts.values())

    async def _announce(self, link: Link, waiting: _News) -> None:
        try:
            while waiting:
                batch = tuple(waiting.values())[:BATCH]
                for signed in batch:
                    del waiting[signed.advert.peer]
                await self._tell(link, batch)
        finally:
            del self._waiting[link]


def _add(news: _News, adverts: Iterable[SignedAdvert]) -> None:
    """Each peer's newest stays."""
    for signed in adverts:
        known = news.get(signed.advert.peer)
        if known is None or known.advert.seq <= signed.advert.seq:
            news[signed.advert.peer] = signed


def _drop(news: _News, told: Iterable[SignedAdvert]) -> None:
    """What is no newer than what was told need not be."""
    for signed in told:
        known = news.get(signed.advert.peer)
        if known is not None and known.advert.seq <= signed.advert.seq:
            del news[signed.advert.peer]
