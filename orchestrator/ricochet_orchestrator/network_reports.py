"""What the network looks like from this machine: who is there, on what terms, how near.

Everything here is this process's own view: its directory, its connections, its pings. Prices and
slots are what adverts say; whether the chain knows their operators is told by `peers list`.
"""

import asyncio
from typing import Final

import msgspec

from ricochet_network.peers import LinkReport, PeerNetwork
from ricochet_protocol.advert import ModelOffer
from ricochet_protocol.errors import RemoteFault, UsageError
from ricochet_protocol.ids import Address, PeerId
from ricochet_protocol.multiaddr import straight

SETTLE: Final = 3.0
"""Seconds for the first dials to peers that were heard of; they take milliseconds each."""
LOOK: Final = 0.1


class SeenPeer(msgspec.Struct, frozen=True):
    """A peer of the directory; `latency` is seconds of a ping, None for one that gives no answer.

    `link` is our connection to it, if there is one: what cannot be dialled from here has none.
    `relayed` says that it is reached over relays only, to which links are made when it is called.
    """

    peer: PeerId
    operator: Address
    region: str
    addresses: tuple[str, ...]
    offers: tuple[ModelOffer, ...]
    latency: float | None
    link: LinkReport | None
    relayed: bool = False


class NetworkReport(msgspec.Struct, frozen=True):
    """All peers seen from `peer`; `others` are connections to peers that offer nothing."""

    peer: PeerId
    known: int
    connected: int
    peers: tuple[SeenPeer, ...]
    others: tuple[LinkReport, ...]

    @property
    def sent(self) -> int:
        """Bytes of frames sent on the connections that are open."""
        return sum(one.sent for one in self._links)

    @property
    def received(self) -> int:
        """Bytes of frames received on them."""
        return sum(one.received for one in self._links)

    @property
    def _links(self) -> tuple[LinkReport, ...]:
        return (*(one.link for one in self.peers if one.link is not None), *self.others)


async def settled(peers: PeerNetwork) -> None:
    """Wait until everybody known is connected, or the time for that is over."""
    loop = asyncio.get_running_loop()
    end = loop.time() + SETTLE
    while loop.time() < end:
        contact = peers.contact()
        relayed = sum(not straight(one.advert.addresses) for one in peers.directory())
        if contact.known and contact.connected >= contact.known - relayed:
            return
        await asyncio.sleep(LOOK)


async def look(peers: PeerNetwork) -> NetworkReport:
    """One look, with a ping to each connected peer that offers something."""
    links = {one.peer: one for one in peers.links()}
    adverts = [one.advert for one in peers.directory() if one.advert.peer != peers.peer]
    adverts.sort(key=lambda advert: advert.peer)
    linked = [advert.peer for advert in adverts if advert.peer in links]
    answers = await asyncio.gather(*(_latency(peers, peer) for peer in linked))
    pings = dict(zip(linked, answers, strict=True))
    contact = peers.contact()
    return NetworkReport(
        peer=peers.peer,
        known=contact.known,
        connected=contact.connected,
        peers=tuple(
            SeenPeer(
                peer=advert.peer,
                operator=advert.operator,
                region=advert.region,
                addresses=advert.addresses,
                offers=advert.models,
                latency=pings.get(advert.peer),
                link=links.pop(advert.peer, None),
                relayed=not straight(advert.addresses),
            )
            for advert in adverts
        ),
        others=tuple(links.values()),
    )


async def named(peers: PeerNetwork, name: str) -> PeerId:
    """The one peer whose id begins or ends with `name`; UsageError."""
    await settled(peers)
    known = {one.advert.peer for one in peers.directory()} | {one.peer for one in peers.links()}
    found = sorted(one for one in known if one.startswith(name) or one.endswith(name))
    if len(found) != 1:
        raise UsageError(
            "peer_unknown" if not found else "peer_ambiguous",
            f"{len(found)} peers are known by {name!r}.",
            "`ricochet network status --json` shows whole ids.",
        )
    return found[0]


async def _latency(peers: PeerNetwork, peer: PeerId) -> float | None:
    try:
        return await peers.ping(peer)
    except RemoteFault:
        return None
