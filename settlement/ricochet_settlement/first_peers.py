"""Whom a newcomer dials first: drawn from the registry, which anybody may write to for free.

Half of the draws are weighted by the commission that a node's claims have generated, which costs
money to fake; half are uniform, so that a new node is found too. On a public network at most one
address of a /16 (a /32 of IPv6) is taken, and none that is not global: a registry must not be able
to point everybody at one provider's machines, or at the reader's own home network.
"""

from collections.abc import Sequence
from random import Random
from typing import Final

from ricochet_protocol.multiaddr import Place, place_untrusted
from ricochet_settlement.index_view import RankedNode

FIRST_PEERS: Final = 8
"""Dials are capped; three answers make a newcomer's directory complete."""


def first_peers(nodes: Sequence[RankedNode], draw: Random, *, development: bool) -> tuple[str, ...]:
    """At most `FIRST_PEERS` multiaddrs, each of another node, all ending in its peer id.

    `development` networks are on one machine or one desk: every address is as good there.
    """
    waiting = [node for node in nodes if _dialable(node, development)]
    taken: list[str] = []
    networks: set[tuple[int, int]] = set()
    while waiting and len(taken) < FIRST_PEERS:
        weights = [node.commission if len(taken) % 2 == 0 else 1 for node in waiting]
        node = draw.choices(waiting, weights if any(weights) else None)[0]
        waiting.remove(node)
        for place in _dialable(node, development):
            if development or place.network not in networks:
                networks.add(place.network)
                taken.append(place.address)
                break
    return tuple(taken)


def _dialable(node: RankedNode, development: bool) -> list[Place]:
    """The node's usable addresses."""
    record = node.record
    found = (place_untrusted(one, record.peer, public=not development) for one in record.addresses)
    return [place for place in found if place is not None]
