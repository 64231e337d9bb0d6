"""The section `relay` of node.yaml: what a node does for nodes that nobody can dial.

relay:
  offer: true
  reservations: 16
  circuits: 32
  minutes: 30
  megabytes: 64
  kilobytes_per_second: 1024
"""

import msgspec

from ricochet_network.relay_book import RELAY_LIMITS, RelayLimits

_KILOBYTE = 1024
_MEGABYTE = 1024 * 1024


class Relaying(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """As in the file; ValueError names the field that cannot be used.

    `reservations` are the nodes it relays to, `circuits` the connections it carries at once, each
    of at most so many `minutes` and `megabytes` each way, and all of them together so many
    `kilobytes_per_second`.
    """

    offer: bool = True
    reservations: int = RELAY_LIMITS.reservations
    circuits: int = RELAY_LIMITS.circuits
    minutes: int = RELAY_LIMITS.duration // 60
    megabytes: int = RELAY_LIMITS.data // _MEGABYTE
    kilobytes_per_second: int = int(RELAY_LIMITS.rate) // _KILOBYTE

    def __post_init__(self) -> None:
        if not 1 <= self.reservations <= 256 or not 1 <= self.circuits <= 256:
            raise ValueError("reservations, circuits: 1 to 256")
        if not 1 <= self.minutes <= 24 * 60:
            raise ValueError("minutes: 1 to 1440")
        if not 1 <= self.megabytes <= 4096:
            raise ValueError("megabytes: 1 to 4096")
        if not 16 <= self.kilobytes_per_second <= 1024 * 1024:
            raise ValueError("kilobytes_per_second: 16 to 1048576")

    def limits(self) -> RelayLimits | None:
        """What its transport is told; None when it relays nothing."""
        if not self.offer:
            return None
        return RelayLimits(
            reservations=self.reservations,
            circuits=self.circuits,
            duration=60 * self.minutes,
            data=_MEGABYTE * self.megabytes,
            rate=float(_KILOBYTE * self.kilobytes_per_second),
        )
