"""What a relay has promised to whom: reservations, circuits and their limits, without any I/O.

A reservation belongs to a peer that is connected and ends with its last connection or its time. A
circuit exists between a caller and a peer with a reservation. Every count has a limit, in all, for
each peer and, since identities cost nothing, for each address that peers come from: what relaying
costs is bounded whoever asks. Refusals are libp2p's own.

All circuits share one bucket of bytes: a relay's owner gives away so much of his line and no more.
"""

from collections import Counter
from typing import Final

import msgspec

from ricochet_network.door_guard import source_of
from ricochet_network.quota import Bucket
from ricochet_protocol.circuit import Limit, Status
from ricochet_protocol.ids import PeerId


class RelayLimits(msgspec.Struct, frozen=True):
    """How much a relay does for others; times in seconds, `data` in bytes each way of a circuit."""

    reservations: int = 16
    reservations_near: int = 4
    """Of peers at one address, as behind one router."""
    period: float = 3600.0
    """Of a reservation: as long as go-libp2p's."""
    circuits: int = 32
    circuits_to: int = 8
    """To one peer with a reservation."""
    circuits_from: int = 4
    """Of one caller."""
    circuits_near: int = 12
    """Of callers at one address."""
    duration: int = 1800
    data: int = 64 * 1024 * 1024
    """Of text: some ten million words."""
    rate: float = 1024 * 1024
    """Bytes a second of all circuits: a tenth of a usual line at home."""

    @property
    def limit(self) -> Limit:
        """What the ends of a circuit are told."""
        return Limit(self.duration, self.data)


RELAY_LIMITS: Final = RelayLimits()


class Circuit:
    """One circuit that is counted; `left` are the bytes that may still pass each way."""

    def __init__(self, caller: PeerId, callee: PeerId, source: str, data: int) -> None:
        self.caller = caller
        self.callee = callee
        self.source = source
        self.left = {caller: data, callee: data}


class RelayBook:
    """The promises of one relay; `now` is any steady clock, `host` an IP address or ""."""

    def __init__(self, limits: RelayLimits = RELAY_LIMITS) -> None:
        self.limits = limits
        self._until: dict[PeerId, float] = {}
        self._source: dict[PeerId, str] = {}
        self._circuits: set[Circuit] = set()
        self._rate = Bucket(limits.rate, 2 * limits.rate)

    @property
    def reserved(self) -> frozenset[PeerId]:
        """Who has a reservation, lapsed ones included."""
        return frozenset(self._until)

    @property
    def circuits(self) -> int:
        """How many circuits are open."""
        return len(self._circuits)

    def reserve(self, peer: PeerId, host: str, now: float) -> Status:
        """Promise to pass on to a peer for the period, or longer if it had a reservation."""
        for lapsed in [one for one, until in self._until.items() if until <= now]:
            self.gone(lapsed)
        source = _source(host)
        others = [near for one, near in self._source.items() if one != peer]
        near = others.count(source) if source else 0
        if len(others) >= self.limits.reservations or near >= self.limits.reservations_near:
            return Status.RESERVATION_REFUSED
        self._until[peer], self._source[peer] = now + self.limits.period, source
        return Status.OK

    def connect(self, caller: PeerId, callee: PeerId, host: str, now: float) -> Circuit | Status:
        """Count a circuit, until `close`, or say why there is none."""
        if caller == callee:
            return Status.PERMISSION_DENIED
        if self._until.get(callee, now) <= now:
            return Status.NO_RESERVATION
        calls = Counter(one.caller for one in self._circuits)
        called = Counter(one.callee for one in self._circuits)
        source = _source(host)
        near = sum(one.source == source for one in self._circuits) if source else 0
        if (
            len(self._circuits) >= self.limits.circuits
            or calls[caller] >= self.limits.circuits_from
            or near >= self.limits.circuits_near
            or called[callee] >= self.limits.circuits_to
        ):
            return Status.RESOURCE_LIMIT_EXCEEDED
        circuit = Circuit(caller, callee, source, self.limits.data)
        self._circuits.add(circuit)
        return circuit

    def close(self, circuit: Circuit) -> None:
        """A circuit is over; may be called twice."""
        self._circuits.discard(circuit)

    def gone(self, peer: PeerId) -> None:
        """The last connection of a peer has ended, and its reservation with it."""
        self._until.pop(peer, None)
        self._source.pop(peer, None)

    def pass_on(self, circuit: Circuit, sender: PeerId, size: int, now: float) -> float | None:
        """Count bytes; the seconds to wait before more are read, None if these are too many."""
        circuit.left[sender] -= size
        if circuit.left[sender] < 0:
            return None
        return self._rate.pause(size, now)


def _source(host: str) -> str:
    return source_of(host) if host else ""
