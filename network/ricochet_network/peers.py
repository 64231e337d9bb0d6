"""Typed calls between peers, and the directory of what they offer: the network as the apps see it.

`PeerNetwork` joins the parts: links carry calls, gossip keeps the directory, and requests that are
about adverts are answered here while all others go to the app's handler. Whatever a peer sends
becomes a typed value or a `RemoteFault` before anything else sees it.

Every peer keeps links to its bootstrap peers and to the peers it hears of, up to `MESH` of them,
from each source in turn and few of one /16, so that who brings most adverts does not choose them. A
lost link is dialled again at once; a peer that does not answer leaves the directory, and others
are told to look for themselves.
"""

import asyncio
import itertools
import logging
import random
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from typing import Final

import msgspec

from ricochet_network.conduct import Conduct, Offence
from ricochet_network.dialling import MAX_DIALS
from ricochet_network.directory import Directory
from ricochet_network.first_addresses import by_peer
from ricochet_network.gossip import Gossip
from ricochet_network.links import LASTING, Links
from ricochet_network.multiplexer import HEARTBEAT
from ricochet_network.peer_memory import PeerMemory, PeerStore
from ricochet_network.quota import RATES, SNAPSHOT_COST, Quotas, Rates
from ricochet_network.reach import Reacher
from ricochet_network.relays import Relays
from ricochet_network.task_owner import TaskOwner
from ricochet_network.vigil import Vigil
from ricochet_network.whereabouts import Whereabouts, places
from ricochet_protocol.advert import MAX_ADDRESSES, Advert, SignedAdvert, sign_advert
from ricochet_protocol.errors import RemoteCode, RemoteFault
from ricochet_protocol.ids import NetworkId, PeerId
from ricochet_protocol.messages import (
    Announce,
    DialBack,
    GetAdverts,
    Gone,
    Reply,
    Request,
    encode,
    reply_untrusted,
    request_untrusted,
)
from ricochet_protocol.multiaddr import straight
from ricochet_protocol.ports import Contact, Handler, Transport

MESH: Final = 64
"""Peers that links are kept to; others are dialled when called."""
NEIGHBOURS: Final = 2
"""Peers of one /16 (/32 of IPv6) among them, on a public network."""
SAVE: Final = 60
"""Seconds between writes of what is remembered of peers."""
JOINS: Final = MAX_DIALS // 2
"""Dials at once that nobody waits for; calls always find room beside them."""
TEND: Final = 1.0
"""Seconds between looks at who should be dialled; changes are looked at immediately."""
JOIN: Final = 5.0
"""Seconds `start` gives the bootstrap peers to answer; it goes on without them."""

PING_TIMEOUT: Final = 5.0
_log = logging.getLogger(__name__)


class LinkReport(msgspec.Struct, frozen=True):
    """A connection: who dialled, its age, bytes of frames, and the peer's score of offences.

    `relay` is the peer that it runs over, None for a direct one.
    """

    peer: PeerId
    dialled: bool
    seconds: float
    sent: int
    received: int
    score: float
    relay: PeerId | None = None


class PeerNetwork:
    """Implements `ports.Peers` over any transport.

    `bootstrap` are multiaddrs that end in `/p2p/<peer id>`; ConfigurationError for others. Without
    a `handler` this peer only makes calls. `clock` tells Unix seconds; `store` outlives a process.
    On a `public` network only global addresses are dialled, besides those of `bootstrap`, which are
    the owner's word. `members`, unless empty, are all with whom there is anything to do; `announce`
    are the addresses to give to others in place of those listened on.
    """

    def __init__(
        self,
        transport: Transport,
        seed: bytes,
        network: NetworkId,
        bootstrap: Sequence[str] = (),
        handler: Handler | None = None,
        *,
        clock: Callable[[], float] = time.time,
        rng: random.Random | None = None,
        heartbeat: float = HEARTBEAT,
        rates: Rates = RATES,
        mesh: int = MESH,
        store: PeerStore | None = None,
        public: bool = False,
        members: Collection[PeerId] = (),
        announce: Sequence[str] = (),
    ) -> None:
        self.peer = transport.peer
        self._transport = transport
        self._seed = seed
        self._bootstrap = by_peer(bootstrap, self.peer)
        self._handler = handler
        self._directory = Directory(self.peer, network)
        # Any fixed seed will do, as long as peers differ.
        self._rng = rng or random.Random(self.peer)  # noqa: S311 - spreads load, guards nothing
        self._clock = clock
        self._mesh_size = mesh
        self._public = public
        self._members = frozenset(members)
        self._announce = tuple(f"{one.partition('/p2p/')[0]}/p2p/{self.peer}" for one in announce)
        self._memory = PeerMemory(store)
        self._where = Whereabouts(self._bootstrap, self._directory.addresses, public=public)
        self._attention = asyncio.Event()
        self._conduct = Conduct(clock)
        self._quotas = Quotas(rates, lambda peer: self._blame(peer, Offence.FLOOD))
        self._gossip = Gossip(
            self._directory,
            lambda: self._links.straight(),
            clock,
            self._rng,
            news=self._attention.set,
            returned=lambda peer: self._vigil.hear_untrusted((peer,)),
            refused=self._refused,
            blame=self._blame,
        )
        self._links = Links(
            transport,
            self._serve,
            self._where.of,
            greet=self._gossip.greet,
            lost=self._lost,
            unreachable=self._missed,
            refused=self._refused,
            blame=self._blame,
            heartbeat=heartbeat,
            rates=rates,
        )
        self._vigil = Vigil(
            self._links.get,
            self._where.only_over_relays,
            self._doubted,
            self._links.linked,
            self._missed,
            lambda: self._directory.absent(_now()),
            self._rng,
        )
        self._reacher = Reacher(
            lambda: self.listens,
            self._links.straight,
            lambda: self._directory.own(_now()) is not None,
            transport.probe,
            self._rng,
        )
        self._relays = Relays(
            self.peer,
            self._links.straight,
            transport.reserve,
            self._where.of_relay,
            lambda: self._reacher.reach.reached is False,
            self._rng,
        )
        self._joining: set[PeerId] = set()
        self._keeping = False
        self._tasks = TaskOwner()

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where this peer can be dialled, once started: over relays, if others cannot dial it."""
        over = self._relays.addresses
        own = () if over and self._reacher.reach.reached is False else self.listens
        return (*own, *over)[:MAX_ADDRESSES]

    @property
    def listens(self) -> tuple[str, ...]:
        """Where this peer can be dialled straight, if nothing is in the way."""
        return self._announce or self._transport.addresses

    async def start(self) -> None:
        """Listen and join; returns when each bootstrap peer has answered, failed or taken `JOIN`.

        LocalFault `port_in_use` when it cannot listen. Unanswered bootstrap peers are retried.
        """
        await self._links.start()
        for peer, score in self._memory.load().items():
            self._conduct.restore(peer, score)
        self._conduct.bar(self._memory.barred())
        first = self._memory.first(self._rng, self._clock(), public=self._public)
        self._where.remembered = first
        self._gossip.start()
        self._vigil.start()
        self._reacher.start()
        self._relays.start()
        joining = dict.fromkeys((*self._bootstrap, *first))
        joins = [self._tasks.spawn(self._join(peer)) for peer in joining]
        if joins:
            await asyncio.wait(joins, timeout=JOIN)
        self._keeping = True
        self._tasks.spawn(self._tend())
        self._tasks.spawn(self._keep())

    async def stop(self) -> None:
        """Close everything; may be called twice, and after a failed start."""
        if self._keeping:
            self._keeping = False
            self._remember()
        await self._tasks.stop()
        await self._relays.stop()
        await self._reacher.stop()
        await self._vigil.stop()
        await self._gossip.stop()
        await self._links.stop()

    @asynccontextmanager
    async def call(self, peer: PeerId, request: Request) -> AsyncIterator[AsyncIterator[Reply]]:
        """Make one call; see `ports.Peers`."""
        link = await self._links.get(peer)
        async with link.multiplexer.call(encode(request)) as replies:
            yield _Replies(replies)

    def contact(self) -> Contact:
        """How well this peer is connected now; see `ports.Contact`."""
        known = {signed.advert.peer for signed in self.directory()} | self._bootstrap.keys()
        twin, reach = self._directory.twin(_now()), self._reacher.reach
        return Contact(
            known=len(known - {self.peer}),
            connected=len(self._links.current()),
            twin=twin.addresses if twin else (),
            reached=reach.reached,
            reached_at=reach.address,
            seen_at=reach.seen,
            relays=self._relays.held,
            listens=self.listens,
        )

    async def ping(self, peer: PeerId) -> float:
        """Seconds for a ping and its answer, without dialling; RemoteFault, also `timeout`."""
        link = await self._links.get(peer)
        try:
            async with asyncio.timeout(PING_TIMEOUT):
                return await link.multiplexer.ping()
        except TimeoutError:
            raise RemoteFault(
                RemoteCode.TIMEOUT,
                f"peer {peer} does not answer a ping within {PING_TIMEOUT:.0f} seconds",
                "try again; it leaves the directory if it stays silent",
            ) from None

    def links(self) -> tuple[LinkReport, ...]:
        """The connected peers, by id, and how their connections stand."""
        now = _now()
        found = (
            LinkReport(
                peer=link.peer,
                dialled=link.dialler == self.peer,
                seconds=now - link.since,
                sent=link.multiplexer.traffic.sent,
                received=link.multiplexer.traffic.received,
                score=self._conduct.score(link.peer).value,
                relay=link.relay,
            )
            for link in self._links.current()
        )
        return tuple(sorted(found, key=lambda one: one.peer))

    def directory(self) -> tuple[SignedAdvert, ...]:
        """The live adverts known now, one for each peer, this peer's own included."""
        return self._directory.live(_now())

    async def publish(self, advert: Advert) -> None:
        """Sign the advert, keep it in the directory and pass it on.

        ValueError when it names another peer or network, or its `seq` does not rise. Publish again
        before the ttl ends: every directory drops it then.
        """
        signed = sign_advert(self._seed, advert)
        self._directory.publish(signed, _now())
        self._gossip.spread((signed,))

    def _refused(self, peer: PeerId) -> bool:
        outside = bool(self._members) and peer not in self._members and peer != self.peer
        return outside or self._conduct.refused(peer)

    def _lost(self, peer: PeerId) -> None:
        self._relays.attend()
        self._vigil.hear_untrusted((peer,))
        self._attention.set()

    def _missed(self, peer: PeerId) -> None:
        self._where.remembered.pop(peer, None)
        if self._directory.remove(peer, _now()):
            self._gossip.mourn(peer)

    def _doubted(self, peer: PeerId) -> bool:
        """Whether a dial tells anything: it is offered, and dials begin at once."""
        live = self._directory.get(peer, _now()) is not None
        return live and self._links.should_dial(peer) and not self._links.crowded

    async def _serve(self, peer: PeerId, data: bytes) -> AsyncGenerator[bytes, None]:
        replies = self._answer(peer, self._request_untrusted(peer, data))
        try:
            async for reply in replies:
                yield encode(reply)
        finally:
            # The port promises an iterator; async generators, the usual kind, can be closed.
            if isinstance(replies, AsyncGenerator):
                await replies.aclose()

    def _request_untrusted(self, peer: PeerId, data: bytes) -> Request:
        """The request, counted against the peer's quotas; RemoteFault `garbage` or `busy`."""
        try:
            request = request_untrusted(data)
        except RemoteFault:
            self._blame(peer, Offence.UNREADABLE)
            raise
        cost = SNAPSHOT_COST if isinstance(request, GetAdverts) else 1
        self._quotas.request_untrusted(peer, cost, _now())
        if isinstance(request, Announce):
            self._quotas.adverts_untrusted(peer, len(request.adverts), _now())
        return request

    def _blame(self, peer: PeerId, offence: Offence) -> None:
        if self._conduct.blame(peer, offence):
            _log.warning("peer %s is banned for a while: it %s", peer, offence.words)
            self._shut_out(peer)

    def _shut_out(self, peer: PeerId) -> None:
        self._directory.remove(peer, _now())
        self._tasks.spawn(self._links.evict(peer))

    def _answer(self, peer: PeerId, request: Request) -> AsyncIterator[Reply]:
        if isinstance(request, GetAdverts):
            return self._gossip.snapshot()
        if isinstance(request, Announce | Gone):
            return self._heard(peer, request)
        if isinstance(request, DialBack):
            return self._dialled_back(peer, request)
        if self._handler is None:
            raise RemoteFault(RemoteCode.REFUSED, "this peer serves no calls", "ask a node")
        return self._handler(peer, request)

    async def _heard(self, peer: PeerId, request: Announce | Gone) -> AsyncIterator[Reply]:
        if isinstance(request, Gone):
            self._vigil.hear_untrusted(request.peers)
        else:
            self._gossip.announced_untrusted(peer, request.adverts)
        return
        yield  # makes this a generator: what is told is answered by its end alone

    async def _dialled_back(self, peer: PeerId, request: DialBack) -> AsyncIterator[Reply]:
        yield await self._reacher.dial_back_untrusted(peer, request)

    async def _join(self, peer: PeerId) -> None:
        try:
            link = await self._links.get(peer)
        except RemoteFault:
            return
        finally:
            self._joining.discard(peer)
            self._attention.set()
        await link.greeted.wait()

    async def _tend(self) -> None:
        while True:
            self._attention.clear()
            wanted = (*self._bootstrap, *self._where.remembered, *self._mesh())
            for peer in dict.fromkeys(wanted):
                if len(self._joining) >= JOINS:
                    break
                if peer not in self._joining and self._links.should_dial(peer):
                    self._joining.add(peer)
                    self._tasks.spawn(self._join(peer))
            try:
                async with asyncio.timeout(TEND):
                    await self._attention.wait()
            except TimeoutError:
                continue

    def _mesh(self) -> list[PeerId]:
        """The advertised peers that links are kept to."""
        chosen: list[PeerId] = []
        networks: Counter[tuple[int, int]] = Counter()
        for signed in self._directory.by_source(_now()):
            peer = signed.advert.peer
            if len(chosen) == self._mesh_size:
                break
            if not straight(signed.advert.addresses):
                continue  # it keeps links of its own, which cost no relay anything
            if self._public:
                found = places(signed.advert.addresses, peer)
                near = {place.network for place in found}
                if not found or any(networks[one] >= NEIGHBOURS for one in near):
                    continue
                networks.update(near)
            chosen.append(peer)
        return chosen

    async def _keep(self) -> None:
        """Follow the owner's bans, and remember peers."""
        for second in itertools.count(1):
            await asyncio.sleep(1)
            for peer in self._conduct.bar(self._memory.barred()):
                self._shut_out(peer)
            if second % SAVE == 0:
                self._remember()

    def _remember(self) -> None:
        for link in self._links.current():
            if _now() - link.since >= LASTING:
                found = straight(self._where.of(link.peer))
                self._memory.met(link.peer, found, self._clock())
        self._memory.save(self._conduct.scores())


class _Replies:
    """The typed replies of one call."""

    def __init__(self, replies: AsyncIterator[bytes]) -> None:
        self._replies = replies

    def __aiter__(self) -> AsyncIterator[Reply]:
        return self

    async def __anext__(self) -> Reply:
        return reply_untrusted(await anext(self._replies))


def _now() -> float:
    return asyncio.get_running_loop().time()
