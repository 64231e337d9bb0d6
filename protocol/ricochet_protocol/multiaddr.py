"""Where peers can be dialled, as text that strangers write: what of it is an address at all.

Only numbers count: a name could mean another host tomorrow, or one in the reader's own house. On a
public network only global addresses count, or a registry and any advert could send every peer to
knock at machines that are none of their business. For a circuit, that is its relay's address.
"""

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

import msgspec

from ricochet_protocol.ids import PeerId, peer_public_key

_PORT: Final = re.compile("[1-9][0-9]{0,4}")
_CIRCUIT: Final = "/p2p-circuit"
_PREFIX_BITS: Final = {4: 16, 6: 32}
"""What one provider's customer can easily fill with addresses of his own."""


class Place(msgspec.Struct, frozen=True):
    """A dialable `address` that ends in its peer's id, and the `network` (/16, or /32 of IPv6)."""

    address: str
    network: tuple[int, int]


class CircuitPlace(msgspec.Struct, frozen=True):
    """Where a peer is reached over a `relay`, which can be dialled at `relay_address`."""

    address: str
    relay: PeerId
    relay_address: str


def is_circuit(text: str) -> bool:
    """Whether a multiaddr leads over a relay."""
    return _CIRCUIT in text


def straight(addresses: Sequence[str]) -> tuple[str, ...]:
    """Those among multiaddrs that lead over no relay."""
    return tuple(one for one in addresses if not is_circuit(one))


def circuit_untrusted(text: str, peer: PeerId, *, public: bool) -> CircuitPlace | None:
    """What `…/p2p/RELAY/p2p-circuit/p2p/PEER` says; None when it is no circuit to `peer`."""
    relay_address, separator, end = text.partition(_CIRCUIT)
    relay = PeerId(relay_address.rpartition("/p2p/")[2])
    if not separator or end not in ("", f"/p2p/{peer}") or relay == peer:
        return None
    try:
        peer_public_key(relay)
    except ValueError:
        return None
    if public:
        place = place_untrusted(relay_address, relay, public=True)
        if place is None:
            return None
        relay_address = place.address
    return CircuitPlace(f"{relay_address}{_CIRCUIT}/p2p/{peer}", relay, relay_address)


def place_untrusted(text: str, peer: PeerId, *, public: bool) -> Place | None:
    """What a multiaddr says; None when it is no TCP address of `peer` that may be dialled."""
    parts = text.split("/")
    if len(parts) not in (5, 7) or parts[0] or parts[3] != "tcp":
        return None
    if parts[5:] not in ([], ["p2p", peer]):
        return None
    host = _host_untrusted(parts[1], parts[2])
    if host is None or (public and not host.is_global):
        return None
    if not _PORT.fullmatch(parts[4]) or int(parts[4]) >= 2**16:
        return None
    shift = host.max_prefixlen - _PREFIX_BITS[host.version]
    address = f"/ip{host.version}/{host}/tcp/{parts[4]}/p2p/{peer}"
    return Place(address, (host.version, int(host) >> shift))


def _host_untrusted(kind: str, text: str) -> IPv4Address | IPv6Address | None:
    try:
        host = ip_address(text)
    except ValueError:
        return None
    if "%" in text or kind != f"ip{host.version}":
        return None
    return host
