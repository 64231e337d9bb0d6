"""Where a peer can be dialled, of all that was heard: what it says, what the owner here was told.

On a public network only global addresses count, except those that the owner of this peer gave.
"""

from collections.abc import Callable, Mapping, Sequence

from ricochet_protocol.ids import PeerId
from ricochet_protocol.multiaddr import Place, circuit_untrusted, place_untrusted, straight


class Whereabouts:
    """What one peer knows; `given` by its owner, `remembered` of earlier, `said` in adverts."""

    def __init__(
        self,
        given: Mapping[PeerId, tuple[str, ...]],
        said: Callable[[PeerId], tuple[str, ...]],
        *,
        public: bool,
    ) -> None:
        self._given = given
        self._said = said
        self._public = public
        self.remembered: dict[PeerId, tuple[str, ...]] = {}

    def of(self, peer: PeerId) -> tuple[str, ...]:
        """Where to dial a peer, over relays too."""
        offered = self._said(peer)
        if self._public:
            circuits = (circuit_untrusted(one, peer, public=True) for one in offered)
            over = (place.address for place in circuits if place is not None)
            offered = (*(place.address for place in places(offered, peer)), *over)
        own = (*self._given.get(peer, ()), *self.remembered.get(peer, ()))
        return tuple(dict.fromkeys((*own, *offered)))

    def of_relay(self, relay: PeerId) -> tuple[str, ...]:
        """Where others can dial a peer: as it says, or as we do where it has said nothing."""
        known = straight(self._said(relay)) or straight(self.of(relay))
        if self._public:
            return tuple(place.address for place in places(known, relay))
        return tuple(f"{one.partition('/p2p/')[0]}/p2p/{relay}" for one in known)

    def only_over_relays(self, peer: PeerId) -> bool:
        """Whether no way to a peer leads straight to it."""
        return not straight(self.of(peer))


def places(addresses: Sequence[str], peer: PeerId) -> tuple[Place, ...]:
    """The global ones among addresses that a peer gives of itself."""
    found = (place_untrusted(one, peer, public=True) for one in addresses)
    return tuple(place for place in found if place is not None)
