"""Addresses that the owner gives: who is dialled first, by peer."""

from collections.abc import Sequence

from ricochet_protocol.errors import ConfigurationError
from ricochet_protocol.ids import PeerId, peer_public_key


def by_peer(bootstrap: Sequence[str], own: PeerId) -> dict[PeerId, tuple[str, ...]]:
    """Bootstrap addresses by peer, without our own: a node may be given its own list.

    ConfigurationError for what does not end in `/p2p/<peer id>`.
    """
    found: dict[PeerId, tuple[str, ...]] = {}
    for address in bootstrap:
        _, separator, name = address.rpartition("/p2p/")
        try:
            peer_public_key(peer := PeerId(name))
        except ValueError:
            separator = ""
        if not separator:
            raise ConfigurationError(
                "bad_bootstrap",
                f"not the address of a peer: {address!r}",
                "write it as /ip4/HOST/tcp/PORT/p2p/PEER, as `ricochet node start` prints it",
            )
        if peer != own:
            found[peer] = (*found.get(peer, ()), address)
    return found
