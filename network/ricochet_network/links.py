"""One connection to each peer: dialled on demand, shared by all calls, dialled again after loss.

Two peers that dial each other at the same moment get two connections. Both sides then prefer the
one dialled by the lower peer id, put no new call on the other and close it once it is idle. A
connection that comes later than that replaces the older one: its peer knows that the old is dead.
A direct connection is always better than one over a relay.

A dial that fails, or a connection that does not last, postpones the next dial to that peer; until
then a call fails at once instead of waiting for what has just failed. A peer that is refused gets
neither; one that breaks the protocol is blamed for it.
"""

import asyncio
import functools
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Final

import msgspec

from ricochet_network.conduct import Offence
from ricochet_network.dialling import DIAL_TIMEOUT, Dialler
from ricochet_network.multiplexer import IDLE, Multiplexer
from ricochet_network.quota import RATES, MemoryBudget, Rates
from ricochet_network.task_owner import TaskOwner
from ricochet_protocol.errors import RemoteCode, RemoteFault
from ricochet_protocol.ids import PeerId
from ricochet_protocol.ports import Connection, Transport

OVERALL: Final = 4 * DIAL_TIMEOUT
"""Seconds for all ways to a peer, waiting for other dials included."""
IDLE_OVER: Final = 60.0
"""Seconds without a call after which a connection over a relay is closed: its circuits are few."""
SIMULTANEOUS: Final = DIAL_TIMEOUT
"""Seconds within which two connections to one peer count as dialled at the same moment."""
GRACE: Final = 1.0
"""Seconds in which calls that are already under way to a surplus connection arrive."""
FIRST_DELAY: Final = 0.5
LAST_DELAY: Final = 30.0
MAX_CONNECTIONS: Final = 3
"""Of one peer: two dialled at the same moment, and one of its life before it was restarted."""
LASTING: Final = 10.0
"""Seconds after which a connection was a good one, and its loss is followed by a dial at once."""


class Link:
    """A running connection; `greeted` is set when the first exchange of adverts is over."""

    def __init__(
        self, multiplexer: Multiplexer, connection: Connection, dialler: PeerId, since: float
    ) -> None:
        self.multiplexer = multiplexer
        self.peer = connection.remote
        self.host = connection.host
        self.relay = connection.relay
        self.dialler = dialler
        self.since = since
        self.greeted = asyncio.Event()


class _Backoff(msgspec.Struct, frozen=True):
    until: float
    delay: float


class Links:
    """The connections of one peer.

    `addresses` tells where a peer may be dialled, `greet` runs once on each new straight link,
    `lost` is told of a peer that had one and has none, `unreachable` of a peer that a dial missed
    or that fell silent; `refused` tells whom to have nothing to do with, `blame` hears what a peer
    did wrong.
    """

    def __init__(
        self,
        transport: Transport,
        serve: Callable[[PeerId, bytes], AsyncGenerator[bytes, None]],
        addresses: Callable[[PeerId], tuple[str, ...]],
        greet: Callable[[Link], Awaitable[None]],
        lost: Callable[[PeerId], None],
        unreachable: Callable[[PeerId], None],
        refused: Callable[[PeerId], bool],
        blame: Callable[[PeerId, Offence], None],
        heartbeat: float,
        rates: Rates = RATES,
    ) -> None:
        self._transport = transport
        self._serve = serve
        self._addresses = addresses
        self._greet = greet
        self._lost = lost
        self._unreachable = unreachable
        self._refused = refused
        self._blame = blame
        self._heartbeat = heartbeat
        self._rates = rates
        self._memory = MemoryBudget()
        self._open: Counter[PeerId] = Counter()
        self._running: set[Link] = set()
        self._dialler = Dialler(transport, self.get)
        self._links: dict[PeerId, Link] = {}
        self._dials: dict[PeerId, asyncio.Task[Link | RemoteFault]] = {}
        self._backoffs: dict[PeerId, _Backoff] = {}
        self._tasks = TaskOwner()

    async def start(self) -> None:
        """Listen for other peers; LocalFault `port_in_use` when that is not possible."""
        await self._transport.start(self._accept)

    async def stop(self) -> None:
        """Close every connection and stop listening."""
        await self._tasks.stop()
        await self._transport.stop()

    def current(self) -> tuple[Link, ...]:
        """The link of each connected peer."""
        return tuple(self._links.values())

    def straight(self) -> tuple[Link, ...]:
        """Those of them that run over no relay."""
        return tuple(link for link in self._links.values() if link.relay is None)

    @property
    def crowded(self) -> bool:
        """Whether dials wait for each other, so that a slow one says nothing of its peer."""
        return self._dialler.crowded

    def linked(self, peer: PeerId) -> bool:
        """Whether there is a link to a peer."""
        return peer in self._links

    def should_dial(self, peer: PeerId) -> bool:
        """Whether a dial would begin now: no link, no dial under way, none failed lately."""
        busy = peer in self._links or peer in self._dials or peer == self._transport.peer
        return not (busy or self._postponed(peer) or self._refused(peer))

    async def evict(self, peer: PeerId) -> None:
        """Close every connection with a peer."""
        for link in [link for link in self._running if link.peer == peer]:
            await link.multiplexer.close()

    async def get(self, peer: PeerId, relay_addresses: tuple[str, ...] = ()) -> Link:
        """The link to a peer, dialled when there is none.

        `relay_addresses` are given for a peer that is wanted as a relay: it is dialled there too,
        and not over another relay. RemoteFault `unreachable`, `refused`, or `busy` when the only
        way is a relay that does all that it may.
        """
        if self._refused(peer):
            raise RemoteFault(
                RemoteCode.REFUSED,
                f"peer {peer} is banned here, or no member of this private network",
                f"`ricochet peers unban {peer}` lifts a ban; `members` in network.json are let in",
            )
        if link := self._links.get(peer):
            return link
        if peer not in self._dials:
            if not self.should_dial(peer):
                raise _unreachable(f"peer {peer} did not answer a moment ago")
            self._dials[peer] = self._tasks.spawn(self._dial(peer, relay_addresses))
        dial = self._dials[peer]
        await asyncio.wait((dial,))
        if dial.cancelled():
            raise _unreachable("this peer has stopped")
        result = dial.result()
        if isinstance(result, RemoteFault):
            raise RemoteFault(result.code, result.message, result.hint, result.wait)
        return result

    async def _dial(self, peer: PeerId, relay_addresses: tuple[str, ...]) -> Link | RemoteFault:
        try:
            addresses = (*self._addresses(peer), *relay_addresses)
            if not addresses:
                return _unreachable(f"no address of peer {peer} is known")
            self._postpone(peer)
            straight_only = bool(relay_addresses)
            async with asyncio.timeout(OVERALL):
                connection = await self._dialler.dial(peer, addresses, straight_only=straight_only)
            link = self._adopt(connection)
            self._tasks.spawn(self._carry(link, connection))
            return self._links[peer]
        except (RemoteFault, TimeoutError) as error:
            if peer in self._links:
                return self._links[peer]
            if not isinstance(error, RemoteFault):
                error = _unreachable(f"peer {peer} did not answer within {OVERALL:.0f} seconds")
            # A relay that is busy says nothing of the peer behind it.
            if error.code != RemoteCode.BUSY:
                self._unreachable(peer)
            return error
        finally:
            del self._dials[peer]

    async def _accept(self, connection: Connection) -> None:
        peer = connection.remote
        if self._refused(peer):
            return
        if self._open[peer] >= MAX_CONNECTIONS:
            self._blame(peer, Offence.FLOOD)
            return
        await self._carry(self._adopt(connection), connection)

    def _adopt(self, connection: Connection) -> Link:
        """Make a link of a connection, and the link of its peer if it is the better one."""
        peer = connection.remote
        dialler = self._transport.peer if connection.dialled else peer
        serve = functools.partial(self._serve, peer)
        idle = IDLE if connection.relay is None else IDLE_OVER
        multiplexer = Multiplexer(
            connection, serve, self._heartbeat, self._memory, self._rates, idle
        )
        link = Link(multiplexer, connection, dialler, _now())
        other = self._links.get(peer)
        if other is None or _replaces(link, other):
            self._links[peer] = link
        if other is not None:
            surplus = other if self._links[peer] is link else link
            self._tasks.spawn(_close_when_idle(surplus))
        return link

    async def _carry(self, link: Link, connection: Connection) -> None:
        greeting = self._tasks.spawn(self._greeting(link))
        self._running.add(link)
        self._open[link.peer] += 1
        try:
            end = await link.multiplexer.run()
            if end.code == RemoteCode.GARBAGE:
                self._blame(link.peer, Offence.GARBAGE)
            elif link.multiplexer.silent and self._links.get(link.peer) is link:
                self._unreachable(link.peer)
        finally:
            greeting.cancel()
            link.greeted.set()
            self._running.discard(link)
            self._open[link.peer] -= 1
            if not self._open[link.peer]:
                del self._open[link.peer]
            if self._links.get(link.peer) is link:
                del self._links[link.peer]
                if _now() - link.since >= LASTING:
                    self._backoffs.pop(link.peer, None)
                # A circuit ends for reasons of its relay; who is behind it has links of its own.
                if link.relay is None:
                    self._lost(link.peer)

    async def _greeting(self, link: Link) -> None:
        if link.relay is None:
            await self._greet(link)
        link.greeted.set()

    def _postponed(self, peer: PeerId) -> bool:
        return peer in self._backoffs and _now() < self._backoffs[peer].until

    def _postpone(self, peer: PeerId) -> None:
        last, now = self._backoffs.get(peer), _now()
        delay = min(2 * last.delay, LAST_DELAY) if last else FIRST_DELAY
        forgotten = now - 2 * LAST_DELAY
        self._backoffs = {
            known: backoff for known, backoff in self._backoffs.items() if backoff.until > forgotten
        }
        self._backoffs[peer] = _Backoff(now + delay, delay)


def _replaces(new: Link, old: Link) -> bool:
    if (new.relay is None) is not (old.relay is None):
        return new.relay is None
    if new.dialler == old.dialler or new.since - old.since > SIMULTANEOUS:
        return True
    return new.dialler < old.dialler


async def _close_when_idle(link: Link) -> None:
    await asyncio.sleep(GRACE)
    # Looking once a second at the rare surplus connection is simpler than an event on every call.
    while not link.multiplexer.idle:  # noqa: ASYNC110
        await asyncio.sleep(GRACE)
    await link.multiplexer.close()


def _now() -> float:
    return asyncio.get_running_loop().time()


def _unreachable(message: str) -> RemoteFault:
    return RemoteFault(RemoteCode.UNREACHABLE, message, "ask another peer")
