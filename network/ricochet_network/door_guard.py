"""Who may begin a handshake: decided by the source address alone, before anything is read.

A handshake costs milliseconds, an accept and a close a tenth of one. So connections that are half
open are few in all and fewer of one address, an address may begin only so many a second, and it may
keep only so many. An address is an IPv4 address or an IPv6 /64, which is what one customer has;
people behind one router share what one address may do.
"""

from ipaddress import ip_address
from typing import Final

from ricochet_network.quota import Bucket

HALF_OPEN: Final = 128
"""Handshakes at once; each may take five seconds."""
HALF_OPEN_EACH: Final = 32
OPEN: Final = 512
"""Connections at once, half open ones included."""
OPEN_EACH: Final = 192
RATE: Final = 20.0
"""New connections a second of one address: a fifth of a core's worth of handshakes."""
BURST: Final = 200.0
"""At once: all peers of a network that share one router, after it was down."""
MAX_SOURCES: Final = 4096


class _Source:
    def __init__(self) -> None:
        self.rate = Bucket(RATE, BURST)
        self.half_open = 0
        self.open = 0


class Visit:
    """One connection that was let in; `enter` and `leave` keep the guard's count."""

    def __init__(self, guard: "DoorGuard", source: _Source) -> None:
        self._guard = guard
        self._source = source
        self._half_open = True
        guard.half_open += 1
        guard.open += 1
        source.half_open += 1
        source.open += 1

    def enter(self) -> None:
        """The handshake is over."""
        if self._half_open:
            self._half_open = False
            self._guard.half_open -= 1
            self._source.half_open -= 1

    def leave(self) -> None:
        """The connection is closed; called once."""
        self.enter()
        self._guard.open -= 1
        self._source.open -= 1


class DoorGuard:
    """Counts of one listener's connections; `half_open` is part of `open`."""

    def __init__(self) -> None:
        self.half_open = 0
        self.open = 0
        self.turned_away = 0
        self._sources: dict[str, _Source] = {}

    def knock(self, address: str, now: float) -> Visit | None:
        """Let a connection from an address begin, or None; `now` is any steady clock."""
        source = self._source(source_of(address), now)
        if (
            source is None
            or self.half_open >= HALF_OPEN
            or self.open >= OPEN
            or source.half_open >= HALF_OPEN_EACH
            or source.open >= OPEN_EACH
            or not source.rate.take(1, now)
        ):
            self.turned_away += 1
            return None
        return Visit(self, source)

    def _source(self, key: str, now: float) -> _Source | None:
        known = self._sources.get(key)
        if known is None:
            if len(self._sources) >= MAX_SOURCES:
                self._sources = {
                    one: source
                    for one, source in self._sources.items()
                    if source.open or not source.rate.full(now)
                }
            if len(self._sources) >= MAX_SOURCES:
                return None
            known = self._sources[key] = _Source()
        return known


def source_of(address: str) -> str:
    """The address, or the /64 of one of IPv6: what one customer has."""
    host = ip_address(address.partition("%")[0])
    if host.version == 6 and host.ipv4_mapped is None:
        return str(int(host) >> 64)
    return str(host)
