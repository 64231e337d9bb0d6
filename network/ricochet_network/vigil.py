"""Finds out together who is gone, and looks for those who may be back.

Nobody is linked to everybody, so who loses a peer tells the others, and each of them tries for
itself: a dial that fails within `CHECK` removes the peer here and passes the word on. A liar gains
one dial of each reader and `AGAIN` seconds, and his word goes no further than his own links.

A peer that vanished is dialled again now and then for an hour, so that two halves of a network find
each other after a partition whoever the first peers were.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from ricochet_network.task_owner import TaskOwner
from ricochet_protocol.errors import RemoteFault
from ricochet_protocol.ids import PeerId

CHECK: Final = 1.5
"""Seconds for a dial to a peer that is said to be gone: six to eight have passed in silence."""
CHECK_RELAYED: Final = 4.5
"""Likewise for a peer behind a relay, to which a link may be needed first: three dials' worth."""
SPREAD: Final = 0.3
"""Seconds over which the dials of all readers are spread."""
AGAIN: Final = 60.0
"""Seconds between two checks of one peer, whoever asks for them."""
MAX_CHECKED: Final = 2048
"""Peers of which the time of a check is kept: a directory of them."""
SEEK: Final = 30.0
"""Seconds between dials to a peer that vanished: two halves of any size meet within a minute."""


class Vigil:
    """Checks hints for one peer.

    `reach` links to a peer or raises RemoteFault, `relayed` tells who is behind a relay, `doubted`
    of whom a check would say anything new, `linked` who is connected, `missed` hears who did not
    answer, `absent` tells who vanished lately.
    """

    def __init__(
        self,
        reach: Callable[[PeerId], Awaitable[object]],
        relayed: Callable[[PeerId], bool],
        doubted: Callable[[PeerId], bool],
        linked: Callable[[PeerId], bool],
        missed: Callable[[PeerId], None],
        absent: Callable[[], tuple[PeerId, ...]],
        rng: random.Random,
    ) -> None:
        self._reach = reach
        self._relayed = relayed
        self._doubted = doubted
        self._linked = linked
        self._missed = missed
        self._absent = absent
        self._rng = rng
        self._checked: dict[PeerId, float] = {}
        self._tasks = TaskOwner()

    def start(self) -> None:
        """Begin to look for those who vanished."""
        self._tasks.spawn(self._seek())

    async def stop(self) -> None:
        """End every check."""
        await self._tasks.stop()

    def hear_untrusted(self, peers: Iterable[PeerId]) -> None:
        """Take a hint that peers are gone."""
        now = asyncio.get_running_loop().time()
        if len(self._checked) >= MAX_CHECKED:
            self._checked = {one: at for one, at in self._checked.items() if now - at < AGAIN}
        for peer in peers:
            lately = now - self._checked.get(peer, float("-inf")) < AGAIN
            if not lately and len(self._checked) < MAX_CHECKED and self._doubted(peer):
                self._checked[peer] = now
                self._tasks.spawn(self._check(peer))

    async def _check(self, peer: PeerId) -> None:
        await asyncio.sleep(self._rng.uniform(0, SPREAD))
        if not self._doubted(peer):
            return
        try:
            async with asyncio.timeout(CHECK_RELAYED if self._relayed(peer) else CHECK):
                await self._reach(peer)
        except (RemoteFault, TimeoutError):
            if not self._linked(peer):
                self._missed(peer)

    async def _seek(self) -> None:
        while True:
            await asyncio.sleep(SEEK)
            if absent := self._absent():
                try:
                    await self._reach(self._rng.choice(absent))
                except RemoteFault:
                    continue
