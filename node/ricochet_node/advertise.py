"""Keeps the node's advert true and alive: published again when an offer goes, and before it ends.

`seq` is Unix milliseconds, so that it also rises across restarts; `current` is the advert that
receipts cite.
"""

import asyncio
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from ricochet_node.offers import OfferBook
from ricochet_protocol.advert import Advert
from ricochet_protocol.ids import Address, NetworkId
from ricochet_protocol.ports import Peers

TTL: Final = 300
REFRESH: Final = 120
"""Below half of the ttl, so that one lost announcement does no harm."""


class Advertiser:
    """Publishes for one node; `current` needs a first `publish`."""

    def __init__(
        self,
        peers: Peers,
        operator: Address,
        network: NetworkId,
        region: str,
        book: OfferBook,
        clock: Callable[[], float],
    ) -> None:
        self._peers = peers
        self._operator = operator
        self._network = network
        self._region = region
        self._book = book
        self._clock = clock
        self._seq = 0
        self.current: Advert

    async def publish(self) -> None:
        """Sign and spread what is offered now."""
        self._book.changed.clear()
        now = self._clock()
        self._seq = max(self._seq + 1, int(now * 1000))
        self.current = Advert(
            peer=self._peers.peer,
            addresses=self._peers.addresses,
            operator=self._operator,
            network=self._network,
            models=self._book.shown,
            region=self._region,
            version=_version(),
            seq=self._seq,
            issued_at=int(now),
            ttl=TTL,
            permissions=self._book.permissions,
        )
        await self._peers.publish(self.current)

    async def run(self) -> None:
        """Publish on every change and refresh in time; ends only by cancellation."""
        while True:
            try:
                async with asyncio.timeout(REFRESH):
                    await self._book.changed.wait()
            except TimeoutError:
                pass
            await self.publish()


def _version() -> str:
    try:
        return version("ricochet-network")[:32]
    except PackageNotFoundError:
        return "unknown"
