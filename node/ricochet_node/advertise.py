"""Keeps the node's advert true and alive: published again when it changes, and before it ends.

Offers come and go with the keys behind them, addresses with the relays of a node that nobody can
dial, and every call changes what is free. So that a node never floods the network, changes are
published at a bounded pace, the newest state each time.

`seq` is Unix milliseconds, so that it also rises across restarts. Receipts cite the advert that an
ask went by: the current one, or one that was current lately (`terms`).
"""

import asyncio
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Final

import msgspec

from ricochet_node.offers import OfferBook
from ricochet_protocol.advert import Advert, ModelOffer
from ricochet_protocol.ids import Address, Hash32, NetworkId
from ricochet_protocol.ports import Peers

TTL: Final = 300
REFRESH: Final = 120
"""Below half of the ttl, so that one lost announcement does no harm."""
HONOURED: Final = float(TTL)
"""Seconds for which the prices of an advert hold after another was published: as long as those who
have not heard of that believe in it."""
LOOK: Final = 2.0
"""Seconds between looks at what time alone changes: windows, waits and active hours."""
BURST: Final = 3
GAP: Final = 5.0
"""Seconds in which one advert is earned; `BURST` may follow each other at once."""
FREE_GAP: Final = 10.0
"""Seconds between adverts that differ only in what is free: a preference, not a promise."""


class Advertiser:
    """Publishes for one node; `current` needs a first `publish`."""

    def __init__(
        self,
        peers: Peers,
        operator: Address,
        network: NetworkId,
        region: str,
        book: OfferBook,
        shown: Callable[[], tuple[ModelOffer, ...]],
        clock: Callable[[], float],
    ) -> None:
        self._peers = peers
        self._operator = operator
        self._network = network
        self._book = book
        self._shown = shown
        self._clock = clock
        self._seq = 0
        self.region = region
        self.current: Advert
        self._earlier: dict[Hash32, tuple[Advert, float]] = {}

    async def publish(self) -> None:
        """Sign and spread what is offered now."""
        self._book.changed.clear()
        now, shown = self._clock(), self._shown()
        if self._seq:
            self._supersede()
        self._seq = max(self._seq + 1, int(now * 1000))
        self.current = Advert(
            peer=self._peers.peer,
            addresses=self._peers.addresses,
            operator=self._operator,
            network=self._network,
            models=shown,
            region=self.region,
            version=_version(),
            seq=self._seq,
            issued_at=int(now),
            ttl=TTL,
            permissions=self._book.permissions_of(shown),
        )
        await self._peers.publish(self.current)

    def terms(self, digest: bytes) -> Advert | None:
        """The advert of that digest, if it is current or was within `HONOURED`; "" is current."""
        if not digest or digest == self.current.digest():
            return self.current
        advert, until = self._earlier.get(Hash32(digest), (None, 0.0))
        return advert if until > asyncio.get_running_loop().time() else None

    def _supersede(self) -> None:
        now = asyncio.get_running_loop().time()
        kept = {key: kept for key, kept in self._earlier.items() if kept[1] > now}
        self._earlier = kept | {self.current.digest(): (self.current, now + HONOURED)}

    async def run(self) -> None:
        """Publish what changes, and refresh in time; ends only by cancellation."""
        loop = asyncio.get_running_loop()
        pace = Pace(loop.time())
        while True:
            try:
                async with asyncio.timeout(LOOK):
                    await self._book.changed.wait()
            except TimeoutError:
                pass
            self._book.changed.clear()
            moved = self._peers.addresses != self.current.addresses
            if not pace.due(self.current.models, self._shown(), loop.time(), moved=moved):
                continue
            await self.publish()


class Pace:
    """When adverts may follow each other; times are seconds of any one clock."""

    def __init__(self, now: float) -> None:
        self._last = now
        self._credit = BURST
        self._counted = now

    def due(
        self,
        old: tuple[ModelOffer, ...],
        new: tuple[ModelOffer, ...],
        now: float,
        *,
        moved: bool = False,
    ) -> bool:
        """Whether to publish now; what is not due is due at a later look.

        `moved` says that the node's addresses have changed.
        """
        refilled = int((now - self._counted) / GAP)
        self._credit = min(BURST, self._credit + refilled)
        self._counted = now if self._credit == BURST else self._counted + refilled * GAP
        if now - self._last >= REFRESH:
            wanted = True
        elif moved or _standing(old) != _standing(new):
            wanted = self._credit > 0
        else:
            wanted = old != new and now - self._last >= FREE_GAP
        if wanted:
            self._last = now
            self._credit = max(0, self._credit - 1)
        return wanted


def _standing(offers: tuple[ModelOffer, ...]) -> list[ModelOffer]:
    """The offers without what every call changes."""
    return [msgspec.structs.replace(offer, free=0, tokens_left=None) for offer in offers]


def _version() -> str:
    try:
        return version("ricochet-network")[:32]
    except PackageNotFoundError:
        return "unknown"
