"""How a connection to a peer comes about: straight, or over a relay that it has named.

Straight dials go first and circuits a moment later, because a port that a router swallows answers
nothing, and whoever waited for that would never get to the relay. The first connection wins.

A relay is a linked peer like any other, so a circuit needs a link to it, at the address that the
circuit names if no other is known. That link is dialled straight: no relay behind a relay.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final

from ricochet_protocol.errors import RemoteCode, RemoteFault
from ricochet_protocol.ids import PeerId
from ricochet_protocol.multiaddr import circuit_untrusted, straight
from ricochet_protocol.ports import Connection, Transport

DIAL_TIMEOUT: Final = 5.0
"""Seconds for a dial, its handshakes included; on loopback it takes 10 to 40 ms."""
MAX_DIALS: Final = 16
"""Dials at once, whoever asked for them."""
HEAD_START: Final = 0.3
"""Seconds after which a straight dial has most likely succeeded, or fails in silence."""
MAX_RELAYS: Final = 3
"""Relays of one peer that are tried, one after the other."""
Attempt = Coroutine[Any, Any, Connection]


class Dialler:
    """Dials for one peer; `link` links to a relay, given addresses to try besides those known."""

    def __init__(
        self, transport: Transport, link: Callable[[PeerId, tuple[str, ...]], Awaitable[object]]
    ) -> None:
        self._transport = transport
        self._link = link
        self._dials = asyncio.Semaphore(MAX_DIALS)

    @property
    def crowded(self) -> bool:
        """Whether dials wait for each other, so that a slow one says nothing of its peer."""
        return self._dials.locked()

    async def dial(
        self, peer: PeerId, addresses: Sequence[str], *, straight_only: bool
    ) -> Connection:
        """Connect to a peer; RemoteFault `unreachable` or, when its relays are full, `busy`."""
        own = straight(addresses)
        relays: dict[PeerId, tuple[str, ...]] = {}
        for text in () if straight_only else addresses:
            if found := circuit_untrusted(text, peer, public=False):
                known = relays.get(found.relay, ())
                relays[found.relay] = (*known, found.relay_address)
        if not relays:
            return await self._straight(peer, own)
        if not own:
            return await self._over(peer, relays)
        return await _first((self._straight(peer, own), self._later(peer, relays)))

    async def _later(self, peer: PeerId, relays: dict[PeerId, tuple[str, ...]]) -> Connection:
        await asyncio.sleep(HEAD_START)
        return await self._over(peer, relays)

    async def _straight(self, peer: PeerId, addresses: tuple[str, ...]) -> Connection:
        async with self._dials:
            return await _timely(peer, self._transport.dial(addresses, peer))

    async def _over(self, peer: PeerId, relays: dict[PeerId, tuple[str, ...]]) -> Connection:
        faults: list[RemoteFault] = []
        for relay, addresses in tuple(relays.items())[:MAX_RELAYS]:
            try:
                # Not within the semaphore: this is a dial of its own.
                await self._link(relay, addresses)
                async with self._dials:
                    return await _timely(peer, self._transport.dial_over(relay, peer))
            except RemoteFault as fault:
                faults.append(fault)
        busy = (fault for fault in faults if fault.code == RemoteCode.BUSY)
        raise next(busy, faults[0])


async def _first(attempts: Sequence[Attempt]) -> Connection:
    """The first connection that comes about; the other attempts are given up."""
    tasks = [asyncio.create_task(one) for one in attempts]
    won: Connection | None = None
    faults: list[RemoteFault] = []
    try:
        for ended in asyncio.as_completed(tasks):
            try:
                won = await ended
                return won
            except RemoteFault as fault:
                faults.append(fault)
        busy = (fault for fault in faults if fault.code == RemoteCode.BUSY)
        raise next(busy, faults[0])
    finally:
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if not isinstance(result, BaseException) and result is not won:
                await result.close()


async def _timely(peer: PeerId, attempt: Awaitable[Connection]) -> Connection:
    try:
        async with asyncio.timeout(DIAL_TIMEOUT):
            return await attempt
    except TimeoutError:
        raise RemoteFault(
            RemoteCode.UNREACHABLE,
            f"peer {peer} did not answer within {DIAL_TIMEOUT:.0f} seconds",
            "ask another peer",
        ) from None
