"""Whether others can dial this peer: asked of them, and answered for them.

A peer asks one it is linked to for a dial back. That one dials only addresses with the host from
which the asker's own connection comes, whatever the asker writes, lets him prove himself there, and
hangs up. So nobody can have third parties dialled; how often anybody may ask is limited, for each
and in all. The answer names the host that was seen, which who is behind a router cannot know.

One peer that got through is proof. That nobody did is believed of two, or of the only one there is.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec

from ricochet_network.links import Link
from ricochet_network.quota import Bucket
from ricochet_network.task_owner import TaskOwner
from ricochet_protocol.errors import RemoteCode, RemoteFault
from ricochet_protocol.ids import PeerId
from ricochet_protocol.messages import (
    MAX_DIALLED_BACK,
    DialBack,
    DialledBack,
    encode,
    reply_untrusted,
)
from ricochet_protocol.multiaddr import place_untrusted

FIRST: Final = 5.0
"""Seconds from start to the first question: links have settled."""
PERIOD: Final = 600.0
"""Seconds between questions; a router's table or a provider's address seldom changes faster."""
AGAIN: Final = 65.0
"""Seconds to the next question of who is not reached: its owner may be mending that."""
ASKED: Final = 3
"""Peers asked each time."""
PATIENCE: Final = 20.0
"""Seconds for an answer: a dial that nobody answers takes its time."""
EACH: Final = 60.0
"""Seconds between two dials back for one peer."""
MAX_ASKERS: Final = 1024
RATE: Final = 1.0
"""Dials back a second, for all who ask."""
BURST: Final = 10.0


class Reach(msgspec.Struct, frozen=True):
    """Whether others reached this peer, at which address; `seen` is the host they see it at.

    `reached` is None until somebody has tried.
    """

    reached: bool | None = None
    address: str = ""
    seen: str = ""


class Reacher:
    """Asks and answers for one peer; `addresses` are those it gives to others.

    `probe` dials addresses until the peer proves itself at one, which it returns, or "".
    """

    def __init__(
        self,
        addresses: Callable[[], tuple[str, ...]],
        links: Callable[[], tuple[Link, ...]],
        wanted: Callable[[], bool],
        probe: Callable[[Sequence[str], PeerId], Awaitable[str]],
        rng: random.Random,
    ) -> None:
        self._addresses = addresses
        self._links = links
        self._wanted = wanted
        self._probe = probe
        self._rng = rng
        self._dials = Bucket(RATE, BURST)
        self._answered: dict[PeerId, float] = {}
        self._tasks = TaskOwner()
        self.reach = Reach()
        """What was found last."""

    def start(self) -> None:
        """Begin to ask."""
        self._tasks.spawn(self._run())

    async def stop(self) -> None:
        """Ask no more."""
        await self._tasks.stop()

    # For others.

    async def dial_back_untrusted(self, peer: PeerId, request: DialBack) -> DialledBack:
        """Dial a peer that asks for it; RemoteFault `busy` when it, or all, ask too often."""
        now = _now()
        self._answered = {one: at for one, at in self._answered.items() if now - at < EACH}
        link = next((one for one in self._links() if one.peer == peer), None)
        if link is None or not link.host:
            raise RemoteFault(RemoteCode.REFUSED, "no connection to see an address of")
        crowd = len(self._answered) >= MAX_ASKERS
        if peer in self._answered or crowd or not self._dials.take(1, now):
            raise RemoteFault(RemoteCode.BUSY, "dials back are few", "ask another peer", wait=60)
        self._answered[peer] = now
        allowed = [
            place.address
            for text in request.addresses
            if (place := place_untrusted(text, peer, public=False))
            and place.address.split("/")[2] == link.host
        ]
        return DialledBack(await self._probe(allowed, peer) if allowed else "", link.host)

    # For ourselves.

    async def _run(self) -> None:
        await asyncio.sleep(FIRST)
        while True:
            if self._wanted():
                await self._look()
            await asyncio.sleep(PERIOD if self.reach.reached else AGAIN)

    async def _look(self) -> None:
        links = list(self._links())
        self._rng.shuffle(links)
        seen, missed = self.reach.seen, 0
        for link in links[:ASKED]:
            answer = await self._ask(link, seen)
            if answer is None:
                continue
            if answer.address in self._asked(seen) and answer.address:
                self.reach = Reach(True, answer.address, answer.host)
                return
            seen, missed = answer.host, missed + 1
        if missed >= min(2, len(links)) and missed:
            self.reach = Reach(False, "", seen)

    def _asked(self, seen: str) -> tuple[str, ...]:
        """Our addresses, and our ports at the host that others see: a router may forward them."""
        own = self._addresses()
        version = "ip6" if ":" in seen else "ip4"
        ports = dict.fromkeys(one.split("/")[4] for one in own if len(one.split("/")) > 4)
        peer = own[0].rpartition("/p2p/")[2] if own else ""
        forwarded = [f"/{version}/{seen}/tcp/{port}/p2p/{peer}" for port in ports if seen]
        return tuple(dict.fromkeys((*own, *forwarded)))[:MAX_DIALLED_BACK]

    async def _ask(self, link: Link, seen: str) -> DialledBack | None:
        asked = self._asked(seen)
        if not asked:
            return None
        try:
            async with (
                asyncio.timeout(PATIENCE),
                link.multiplexer.call(encode(DialBack(asked))) as replies,
            ):
                async for data in replies:
                    reply = reply_untrusted(data)
                    return reply if isinstance(reply, DialledBack) else None
        except (RemoteFault, TimeoutError):
            return None
        return None


def _now() -> float:
    return asyncio.get_running_loop().time()
