"""How a peer that cannot be dialled stays within reach: reservations at relays, kept up.

A relay is any linked peer that agrees. Only peers that were dialled from here are asked, since
others must be able to dial them as well. A reservation ends with its connection, so it is made anew
on each new link, renewed when two thirds of its time are over, and replaced by one elsewhere when
it is refused or its relay is gone. Two at once: the death of one relay loses nobody.

Who is reached after all keeps its reservations until they lapse: what one peer of the same house
can dial, others may not.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from ricochet_network.links import Link
from ricochet_network.task_owner import TaskOwner
from ricochet_protocol.errors import RemoteFault
from ricochet_protocol.ids import PeerId

WANTED: Final = 2
"""Relays at once."""
ADDRESSES: Final = 2
"""Addresses of each that are given to others."""
LOOK: Final = 2.0
"""Seconds between looks at what time alone changes."""
PATIENCE: Final = 10.0
"""Seconds for a peer to answer."""
DECLINED: Final = 300.0
"""Seconds for which a peer that did not agree is not asked again."""
SHORTEST, LONGEST = 60.0, 24 * 3600.0
"""Seconds that a reservation counts for, whatever the relay's clock makes of it."""


class _Held(msgspec.Struct, frozen=True):
    link: Link
    renew: float
    until: float


class Relays:
    """The reservations of `peer`; `wanted` tells whether it needs any.

    `links` are those that run over no relay, `reserve` asks a linked peer, `places` tells where
    others can dial one.
    """

    def __init__(
        self,
        peer: PeerId,
        links: Callable[[], tuple[Link, ...]],
        reserve: Callable[[PeerId], Awaitable[float]],
        places: Callable[[PeerId], tuple[str, ...]],
        wanted: Callable[[], bool],
        rng: random.Random,
    ) -> None:
        self._peer = peer
        self._links = links
        self._reserve = reserve
        self._places = places
        self._wanted = wanted
        self._rng = rng
        self._held: dict[PeerId, _Held] = {}
        self._declined: dict[PeerId, float] = {}
        self._attention = asyncio.Event()
        self._tasks = TaskOwner()

    @property
    def held(self) -> tuple[PeerId, ...]:
        """The relays over which this peer can be dialled."""
        return tuple(self._held)

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where others can dial this peer over them."""
        return tuple(
            f"{place}/p2p-circuit/p2p/{self._peer}"
            for relay in self._held
            for place in self._places(relay)[:ADDRESSES]
        )

    def start(self) -> None:
        """Begin to look after reservations."""
        self._tasks.spawn(self._run())

    async def stop(self) -> None:
        """Look after them no more."""
        await self._tasks.stop()

    def attend(self) -> None:
        """Links have changed."""
        self._attention.set()

    async def _run(self) -> None:
        while True:
            self._attention.clear()
            await self._look()
            try:
                async with asyncio.timeout(LOOK):
                    await self._attention.wait()
            except TimeoutError:
                continue

    async def _look(self) -> None:
        now = _now()
        usable = {link.peer: link for link in self._links() if self._is_usable(link)}
        self._held = {
            relay: held
            for relay, held in self._held.items()
            if relay in usable and now < held.until
        }
        if not self._wanted():
            return
        for relay, held in tuple(self._held.items()):
            if held.link is not usable[relay] or now >= held.renew:
                await self._ask(usable[relay])
        self._declined = {one: until for one, until in self._declined.items() if until > now}
        others = [one for one in usable if one not in self._held and one not in self._declined]
        self._rng.shuffle(others)
        for relay in others:
            if len(self._held) >= WANTED:
                return
            await self._ask(usable[relay])

    def _is_usable(self, link: Link) -> bool:
        return link.dialler == self._peer and bool(self._places(link.peer))

    async def _ask(self, link: Link) -> None:
        self._held.pop(link.peer, None)
        try:
            async with asyncio.timeout(PATIENCE):
                seconds = await self._reserve(link.peer)
        except (RemoteFault, TimeoutError):
            self._declined[link.peer] = _now() + DECLINED
            return
        seconds = min(max(seconds, SHORTEST), LONGEST)
        now = _now()
        self._held[link.peer] = _Held(link, now + seconds * 2 / 3, now + seconds)


def _now() -> float:
    return asyncio.get_running_loop().time()
