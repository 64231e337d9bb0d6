"""Where peers can be dialled, as text that strangers write: what of it is an address at all.

Only numbers count: a name could mean another host tomorrow, or one in the reader's own house. On a
public network only global addresses count, or a registry and any advert could send every peer to
knock at machines that are none of their business.
"""

import re
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

import msgspec

from ricochet_protocol.ids import PeerId

_PORT: Final = re.compile("[1-9][0-9]{0,4}")
_PREFIX_BITS: Final = {4: 16, 6: 32}
"""What one provider's customer can easily fill with addresses of his own."""


class Place(msgspec.Struct, frozen=True):
    """A dialable `address` that ends in its peer's id, and the `network` (/16, or /32 of IPv6)."""

    address: str
    network: tuple[int, int]


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
