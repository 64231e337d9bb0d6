"""What the layers ask of each other, as protocols: implementations are chosen in the two apps.

`Transport` moves frames between two peers and knows who the other is. `Peers` makes typed calls
over it. `Settlement` is the contract as node and orchestrator see it. Every implementation of a
port, twins in the tests included, passes that port's conformance suite.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import msgspec

from ricochet_protocol.advert import Advert, SignedAdvert
from ricochet_protocol.eip712 import Domain, SignedReservation, SignedVoucher
from ricochet_protocol.ids import Address, PeerId, Period
from ricochet_protocol.messages import Reply, Request
from ricochet_protocol.money import Units


class Connection(Protocol):
    """One authenticated stream of frames to `remote`; `dialled` on the side that dialled.

    `host` is the other side's IP address as it is seen here, "" where there is none. `relay` is the
    peer that the connection runs over, None for a direct one.
    """

    remote: PeerId
    dialled: bool
    host: str
    relay: PeerId | None

    async def send(self, payload: bytes) -> None:
        """Queue one frame's payload; RemoteFault `disconnected` when the connection is gone.

        Waits while the peer is slow. Cancelling the wait never damages the stream.
        """

    async def receive(self) -> bytes:
        """The next frame's payload; RemoteFault `disconnected` at the end, `garbage` for no frame.

        An end in mid-frame is `disconnected` too: a process that dies cuts its frames.
        """

    async def close(self) -> None:
        """Close both directions; never raises, may be called twice."""


class Transport(Protocol):
    """Peers on one network; addresses are multiaddrs that end in `/p2p/<peer id>`."""

    peer: PeerId

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where this peer listens, once started."""

    async def start(self, accept: Callable[[Connection], Awaitable[None]]) -> None:
        """Listen; `accept` owns each incoming connection until it returns.

        LocalFault `port_in_use` when the address is taken.
        """

    async def dial(self, addresses: Sequence[str], peer: PeerId) -> Connection:
        """Connect to `peer` at the first address that answers as that peer.

        RemoteFault `unreachable` when none does.
        """

    async def dial_over(self, relay: PeerId, peer: PeerId) -> Connection:
        """Connect to `peer` over a circuit of a relay that there is a direct connection to.

        RemoteFault `busy` when the relay does all that it may, `unreachable` when the peer has no
        reservation there or does not answer.
        """

    async def reserve(self, relay: PeerId) -> float:
        """Ask a peer with a direct connection to let others dial us over it; for how many seconds.

        It ends with that connection. RemoteFault `busy`, `refused` by who is no relay, or another.
        """

    async def probe(self, addresses: Sequence[str], peer: PeerId) -> str:
        """The first of the addresses at which `peer` proves itself, "" for none; no connection."""

    async def stop(self) -> None:
        """Close every connection and stop listening; may be called twice."""


Handler = Callable[[PeerId, Request], AsyncIterator[Reply]]
"""Serves one request of an authenticated peer. Raising RemoteFault or RicochetError fails the call
with its code; being closed (`aclose`) means the caller has cancelled or vanished."""


class Contact(msgspec.Struct, frozen=True):
    """How many other peers should be there, first peers and advertised ones, and how many are.

    `twin` are the addresses of another node that runs with this one's identity, if one was heard.
    `reached` says whether others can dial this peer, None while nobody has tried; `reached_at` is
    where one did, `seen_at` the host from which others see it come. `relays` are the peers over
    which it can be dialled, `listens` where it can be if nothing is in the way.
    """

    known: int
    connected: int
    twin: tuple[str, ...] = ()
    reached: bool | None = None
    reached_at: str = ""
    seen_at: str = ""
    relays: tuple[PeerId, ...] = ()
    listens: tuple[str, ...] = ()


class Peers(Protocol):
    """Typed calls to other peers, and the directory of what they offer."""

    peer: PeerId

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where this peer can be dialled."""

    def call(
        self, peer: PeerId, request: Request
    ) -> AbstractAsyncContextManager[AsyncIterator[Reply]]:
        """Make one call; dials when needed. Leaving the context early cancels the call.

        RemoteFault says why it failed; its code is the peer's own or `unreachable`,
        `disconnected`, `garbage`.
        """

    def contact(self) -> Contact:
        """How well this peer is connected now."""

    def directory(self) -> tuple[SignedAdvert, ...]:
        """The live adverts known now, one for each peer, this peer's own included."""

    async def publish(self, advert: Advert) -> None:
        """Sign the advert, keep it in the directory and pass it on."""


class Subscription(msgspec.Struct, frozen=True):
    """A subscriber's period; `start` and `end` are Unix seconds of the chain."""

    subscriber: Address
    delegate: Address
    period: Period
    budget: Units
    committed: Units
    paid: Units
    start: int
    end: int


class Commitment(msgspec.Struct, frozen=True):
    """What a period commits to one node, and how much of it the node has claimed.

    `confirmed` is what it commits at the network's confirmation depth: what counts as payment. It
    grows later than `committed`, and shrinks when the chain takes back a block that deep.
    """

    committed: Units
    claimed: Units
    confirmed: Units = Units(0)


class NodeRecord(msgspec.Struct, frozen=True):
    """A registry entry."""

    operator: Address
    peer: PeerId
    addresses: tuple[str, ...]
    payout: Address


class Outcome(msgspec.Struct, frozen=True):
    """Whether the contract took one entry of a batch, or why not; `commitment` says what it holds.

    A voucher is taken also when the budget covers only a part of it.
    """

    accepted: bool
    reason: str = ""


class Settlement(Protocol):
    """The contract, read at the latest block and written with this process's gas key.

    What is said to be confirmed is read as many blocks below it as the network asks for.
    Every method raises ChainError when the chain cannot be reached or refuses.
    """

    domain: Domain

    async def subscription(self, subscriber: Address) -> Subscription | None:
        """The latest period, ended or not; None for an account that never subscribed."""

    async def period(self, subscriber: Address, period: Period) -> Subscription | None:
        """One period, ended or not, with the delegate of now; None if it was never opened."""

    async def chain_time(self) -> int:
        """Unix seconds of the latest block: the contract's only clock."""

    async def commitment(self, subscriber: Address, period: Period, node: Address) -> Commitment:
        """Zeroes when nothing is committed."""

    async def earned(self, subscriber: Address, node: Address) -> Units:
        """What confirmed claims of all periods paid for the node, commission included."""

    async def node(self, operator: Address) -> NodeRecord | None:
        """The registry entry of an operator."""

    async def nodes(self) -> tuple[NodeRecord, ...]:
        """All registered operators, in order of registration."""

    async def reserve(self, reservations: Sequence[SignedReservation]) -> tuple[Outcome, ...]:
        """Relay reservations in one transaction, after simulating it; outcomes in their order."""

    async def claim(self, vouchers: Sequence[SignedVoucher]) -> tuple[Outcome, ...]:
        """Claim vouchers in one transaction; outcomes in their order."""

    async def claim_cost(self, vouchers: Sequence[SignedVoucher]) -> int:
        """What the gas of that claim would cost now, in wei, without a rollup's own data fee."""

    async def withdrawable(self, account: Address) -> Units:
        """What `withdraw` would pay out."""

    async def withdraw(self, account: Address) -> Units:
        """Send an operator's earnings to its payout address; the amount, 0 when there is none."""
