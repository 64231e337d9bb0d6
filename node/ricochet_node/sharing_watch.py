"""Takes offers away when the right to share them ends, while the node runs.

An attestation that expires or is revoked ends the offers that need it: at that moment when it
expires, within `LOOK` when it is revoked. Open calls go on to their end. What was taken away comes
back with the next start; a renewed attestation needs none.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from ricochet_node.log import EventLog
from ricochet_node.offers import OfferBook
from ricochet_node.sharing import Standing, proofs
from ricochet_protocol.errors import RicochetError

LOOK: Final = 10.0
"""Seconds between looks at the file: how long a revoked offer may still be made."""


class Look(Protocol):
    """How the keys that sell stand at a moment, by key id; RicochetError when nobody can tell."""

    def __call__(self, now: float) -> Mapping[str, Standing]: ...


def nothing_sold(now: float) -> Mapping[str, Standing]:
    """The look of a node that needs no right: nothing can end."""
    return {}


class SharingWatch:
    """`clock` tells Unix seconds."""

    def __init__(
        self, look: Look, book: OfferBook, clock: Callable[[], float], log: EventLog
    ) -> None:
        self._look = look
        self._book = book
        self._clock = clock
        self._log = log
        self._watched: set[str] = set()

    def check(self) -> float:
        """Withdraw what may not be sold now; the seconds until it has to be asked again."""
        now = self._clock()
        try:
            standings = self._look(now)
        except RicochetError as error:
            # Whoever cannot show a permission has none.
            self._log.event("sharing_unreadable", code=error.code, message=error.message)
            standings = {}
            lost = self._watched
        else:
            lost = {key for key, one in standings.items() if not one.allowed}
        for key in sorted(lost):
            standing = standings.get(key)
            for model in self._book.bar(key):
                self._log.event(
                    "sharing_ended",
                    model=model,
                    key=key,
                    reason=standing.words if standing else "attestations cannot be read",
                    hint="run `ricochet policy show`, then start the node again",
                )
        self._book.permit(proofs(standings.values()))
        ends = [one.until for one in standings.values() if one.until is not None]
        self._watched = {key for key, one in standings.items() if one.until is not None}
        return min([LOOK, *(max(0.0, end - now) for end in ends)])

    async def run(self) -> None:
        """Check in time, again and again; ends only by cancellation."""
        while True:
            seconds = self.check()
            await asyncio.sleep(seconds)
