"""How adverts spread: news is passed on at once, a snapshot fills whatever was missed.

Each new link begins with a greeting: both sides announce their own advert and pull the other's
directory, so a newcomer is complete in one round trip. Our own advert is announced on every link at
once; one that is new to us goes on to a few random links at once and is owed to the others (ADR
035). The loss of a peer is told on every link, as a hint. Every half minute one random peer is
asked for its directory again and told who was lost, which repairs what news did not bring about.
All of it are ordinary calls (ADR 001 says why not gossipsub).
"""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final

from ricochet_network.announcing import Announcements
from ricochet_network.conduct import OF_FLAW, Offence
from ricochet_network.directory import MAX_PEERS, Directory, batches
from ricochet_network.links import Link
from ricochet_network.task_owner import TaskOwner
from ricochet_protocol.advert import AdvertFlaw, FalseAdvert, SignedAdvert
from ricochet_protocol.errors import RemoteFault, garbage
from ricochet_protocol.ids import PeerId
from ricochet_protocol.messages import (
    MAX_GONE,
    Adverts,
    Announce,
    GetAdverts,
    Gone,
    Reply,
    Request,
    encode,
    reply_untrusted,
)

REPAIR: Final = 30.0
"""Seconds between snapshots from one random peer."""
EXCHANGE: Final = 10.0
"""Seconds that one announcement or snapshot may take."""
FEW: Final = 4
"""Links on which what others say goes on at once: at random they reach 98 of 100 peers."""
GATHER: Final = 0.1
"""Seconds in which what is lost becomes one message."""
_log = logging.getLogger(__name__)


class Gossip:
    """Keeps `directory` in step with those of the peers that `links` returns, none over a relay.

    `clock` tells Unix seconds, `news` is called when the directory has changed, `returned` with a
    peer that is back by the word of others only, `refused` tells whose adverts are not wanted, and
    `blame` hears what a peer did wrong: each kind of flaw once a message, since an honest relay may
    hold many adverts that only we know to be out of date.
    """

    def __init__(
        self,
        directory: Directory,
        links: Callable[[], tuple[Link, ...]],
        clock: Callable[[], float],
        rng: random.Random,
        news: Callable[[], None],
        returned: Callable[[PeerId], None],
        refused: Callable[[PeerId], bool],
        blame: Callable[[PeerId, Offence], None],
    ) -> None:
        self._directory = directory
        self._links = links
        self._clock = clock
        self._rng = rng
        self._news = news
        self._returned = returned
        self._refused = refused
        self._blame = blame
        self._gone: dict[PeerId, None] = {}
        self._tasks = TaskOwner()
        self._announcements = Announcements(self._announce, self._tasks, rng)

    def start(self) -> None:
        """Begin the periodic repair."""
        self._tasks.spawn(self._repair())

    async def stop(self) -> None:
        """End every exchange."""
        await self._tasks.stop()

    async def greet(self, link: Link) -> None:
        """The first exchange on a new link; a peer that fails it is left as it is."""
        if own := self._directory.own(_now()):
            await self._tell(link, Announce((own,)))
        await self._pull(link)

    def spread(self, adverts: Sequence[SignedAdvert], source: PeerId | None = None) -> None:
        """Pass adverts on to all linked peers except `source`; our own, without one, at once."""
        links = [link for link in self._links() if link.peer != source]
        if source is not None:
            self._rng.shuffle(links)
        at_once = len(links) if source is None else FEW
        for link in links[:at_once]:
            self._announcements.add(link, adverts)
        for link in links[at_once:]:
            self._announcements.owe(link, adverts)

    def mourn(self, peer: PeerId) -> None:
        """Tell every linked peer that this one does not answer us any more."""
        if not self._gone:
            self._tasks.spawn(self._tell_of_gone())
        self._gone[peer] = None

    async def _tell_of_gone(self) -> None:
        # When a network breaks in two, half of it goes at once.
        await asyncio.sleep(GATHER)
        gone = tuple(self._gone)
        self._gone.clear()
        for at in range(0, len(gone), MAX_GONE):
            for link in self._links():
                self._tasks.spawn(self._tell(link, Gone(gone[at : at + MAX_GONE])))

    def announced_untrusted(self, source: PeerId, adverts: Sequence[SignedAdvert]) -> None:
        """Take adverts that a peer says are news; what has been replaced is none."""
        if any(self._directory.superseded(signed) for signed in adverts):
            self._blame(source, Offence.REPLAYED)
        self._announcements.heard(source, adverts)
        self.hear_untrusted(source, adverts)

    def hear_untrusted(self, source: PeerId, adverts: Sequence[SignedAdvert]) -> None:
        """Take what is believable and new of a peer's adverts and pass that on."""
        new = []
        flaws: dict[AdvertFlaw, None] = {}
        for signed in adverts:
            if self._refused(signed.advert.peer):
                continue
            peer = signed.advert.peer
            hearsay = peer != source and self._directory.is_absent(peer)
            try:
                if self._directory.offer_untrusted(signed, source, _now(), self._clock()):
                    new.append(signed)
                    if hearsay:
                        self._returned(peer)
            except FalseAdvert as fault:
                flaws[fault.flaw] = None
                _log.info("refused an advert from %s: %s", source, fault.message)
            except RemoteFault as fault:
                _log.info("refused an advert from %s: %s", source, fault.message)
        for flaw in flaws:
            self._blame(source, OF_FLAW[flaw])
        if new:
            # Where directories overflow, what one drops is news to it again, and passing that on
            # would never end; the word of a peer about itself still travels.
            full = self._directory.full
            fresh = [one for one in new if not full or one.advert.peer == source]
            if fresh:
                self.spread(fresh, source)
            self._news()

    async def snapshot(self) -> AsyncIterator[Reply]:
        """Our directory, as replies to `GetAdverts`."""
        for batch in batches(self._directory.live(_now())):
            yield Adverts(batch)

    async def _repair(self) -> None:
        while True:
            await asyncio.sleep(REPAIR)
            if links := self._links():
                link = self._rng.choice(links)
                if absent := self._directory.absent(_now()):
                    await self._tell(link, Gone(absent[-MAX_GONE:]))
                await self._pull(link)

    async def _pull(self, link: Link) -> None:
        try:
            async with (
                asyncio.timeout(EXCHANGE),
                link.multiplexer.call(encode(GetAdverts())) as replies,
            ):
                count = 0
                async for data in replies:
                    adverts = self._adverts_untrusted(link.peer, data)
                    count += len(adverts)
                    if count > MAX_PEERS:
                        self._blame(link.peer, Offence.FLOOD)
                        raise garbage("more adverts than a directory holds")
                    self.hear_untrusted(link.peer, adverts)
        except (RemoteFault, TimeoutError) as error:
            _log.info("no directory from %s: %s", link.peer, type(error).__name__)

    def _adverts_untrusted(self, source: PeerId, data: bytes) -> tuple[SignedAdvert, ...]:
        try:
            reply = reply_untrusted(data)
            if not isinstance(reply, Adverts):
                raise garbage("a reply that is not adverts")
        except RemoteFault:
            self._blame(source, Offence.UNREADABLE)
            raise
        return reply.adverts

    async def _announce(self, link: Link, adverts: tuple[SignedAdvert, ...]) -> None:
        await self._tell(link, Announce(adverts))

    async def _tell(self, link: Link, message: Request) -> None:
        try:
            async with (
                asyncio.timeout(EXCHANGE),
                link.multiplexer.call(encode(message)) as replies,
            ):
                async for _ in replies:
                    raise garbage("a reply to an announcement")
        except (RemoteFault, TimeoutError) as error:
            _log.info("%s took no announcement: %s", link.peer, type(error).__name__)


def _now() -> float:
    return asyncio.get_running_loop().time()
