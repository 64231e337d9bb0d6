"""News on its way to linked peers: one announcement a link at a time, the next has all the rest.

Lone news leaves at once. What comes while an announcement is under way goes with the next one, each
peer's newest advert once, and without what the other side has told us meanwhile. So a network in
which everybody starts at the same moment exchanges a few large messages and not one for each
advert and link, and a peer that does not answer makes nothing pile up.
"""

from collections.abc import Awaitable, Callable, Iterable

from ricochet_network.directory import BATCH
from ricochet_network.links import Link
from ricochet_network.task_owner import TaskOwner
from ricochet_protocol.advert import SignedAdvert
from ricochet_protocol.ids import PeerId


class Announcements:
    """Adverts that wait, by link; `tell` makes one announcement and never raises for its peer."""

    def __init__(
        self,
        tell: Callable[[Link, tuple[SignedAdvert, ...]], Awaitable[None]],
        tasks: TaskOwner,
    ) -> None:
        self._tell = tell
        self._tasks = tasks
        self._waiting: dict[Link, dict[PeerId, SignedAdvert]] = {}

    def add(self, link: Link, adverts: Iterable[SignedAdvert]) -> None:
        """Announce these adverts to a linked peer, now or with the next announcement."""
        idle = link not in self._waiting
        waiting = self._waiting.setdefault(link, {})
        waiting.update((signed.advert.peer, signed) for signed in adverts)
        if idle:
            self._tasks.spawn(self._announce(link, waiting))

    def heard(self, source: PeerId, adverts: Iterable[SignedAdvert]) -> None:
        """A peer has told us of these itself."""
        found = [waiting for link, waiting in self._waiting.items() if link.peer == source]
        if found:
            told = list(adverts)
            for waiting in found:
                for signed in told:
                    if waiting.get(signed.advert.peer) == signed:
                        del waiting[signed.advert.peer]

    async def _announce(self, link: Link, waiting: dict[PeerId, SignedAdvert]) -> None:
        try:
            while waiting:
                batch = tuple(waiting.values())[:BATCH]
                for signed in batch:
                    del waiting[signed.advert.peer]
                await self._tell(link, batch)
        finally:
            del self._waiting[link]
