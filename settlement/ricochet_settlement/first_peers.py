"""Whom a newcomer dials first: drawn from the registry, which anybody may write to for free.

Half of the draws are weighted by the commission that a node's claims have generated, which costs
money to fake; half are uniform, so that a new node is found too. On a public network at most one
address of a /16 (a /32 of IPv6) is taken, and none that is not global: a registry must not be able
to point everybody at one provider's machines, or at the reader's own home network.
"""

import re
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from random import Random
from typing import Final

from ricochet_protocol.ids import PeerId
from ricochet_settlement.index_view import RankedNode

FIRST_PEERS: Final = 8
"""Dials are capped; three answers make a newcomer's directory complete."""
_PORT: Final = re.compile("[1-9][0-9]{0,4}")
_PREFIX_BITS: Final = {4: 16, 6: 32}
"""What one provider's customer can easily fill with addresses of his own."""


def first_peers(nodes: Sequence[RankedNode], draw: Random, *, development: bool) -> tuple[str, ...]:
    """At most `FIRST_PEERS` multiaddrs, each of another node, all ending in its peer id.

    `development` networks are on one machine or one desk: every address is as good there.
    """
    waiting = [node for node in nodes if _dialable(node, development)]
    taken: list[str] = []
    places: set[object] = set()
    while waiting and len(taken) < FIRST_PEERS:
        weights = [node.commission if len(taken) % 2 == 0 else 1 for node in waiting]
        node = draw.choices(waiting, weights if any(weights) else None)[0]
        waiting.remove(node)
        for address, place in _dialable(node, development):
            if development or place not in places:
                places.add(place)
                taken.append(address)
                break
    return tuple(taken)


def _dialable(node: RankedNode, development: bool) -> list[tuple[str, object]]:
    """The node's usable addresses, each with the network it lies in."""
    return list(_usable_untrusted(node.record.addresses, node.record.peer, development))


def _usable_untrusted(
    addresses: Sequence[str], peer: PeerId, development: bool
) -> Iterator[tuple[str, object]]:
    for text in addresses:
        parts = text.split("/")
        if len(parts) not in (5, 7) or parts[0] or parts[3] != "tcp":
            continue
        if parts[5:] not in ([], ["p2p", peer]):
            continue
        host = _host_untrusted(parts[1], parts[2])
        if host is None or not (development or host.is_global):
            continue
        if not _PORT.fullmatch(parts[4]) or int(parts[4]) >= 2**16:
            continue
        shift = host.max_prefixlen - _PREFIX_BITS[host.version]
        address = f"/ip{host.version}/{host}/tcp/{parts[4]}/p2p/{peer}"
        yield address, (host.version, int(host) >> shift)


def _host_untrusted(kind: str, text: str) -> IPv4Address | IPv6Address | None:
    try:
        host = ip_address(text)
    except ValueError:
        return None
    if "%" in text or kind != f"ip{host.version}":
        return None
    return host
