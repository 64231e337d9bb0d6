"""Notices when the node is cut off: peers are known, and no connection to any of them lasts.

This says that the network does not reach the node *or* that the node does not reach the network: a
cable, a firewall, a changed address, a first peer that is gone. A short loss is not told, since
links are dialled again within a second. A node that can dial and cannot be dialled (behind a router
without a forwarded port) is told so as well, other peers try, when they are asked; and that it is
reached over relays, or no more.

It also tells the owner of another node with his node's identity: a copied home, or one that was
moved and is still running where it was. Both owners are told.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from ricochet_node.log import EventLog
from ricochet_protocol.ports import Contact

PATIENCE: Final = 180.0
"""Seconds alone before it is told; redials happen every 30 at most."""
LOOK: Final = 15.0
IDENTITY_USED_TWICE: Final = (
    "another node runs with this node's identity, and calls go to whichever advertised last: stop "
    "one of the two, or give it a home of its own (`--home`) with its own wallet; if there is no "
    "other, this machine's clock has gone back"
)


class Reachability:
    """`contact` says how many peers are known and connected now."""

    def __init__(self, contact: Callable[[], Contact], log: EventLog) -> None:
        self._contact = contact
        self._log = log
        self._alone_since: float | None = None
        self.unreachable = False
        """Whether the node has been alone for `PATIENCE`."""
        self._twin: tuple[str, ...] = ()
        self._dialled: bool | None = None
        self._relayed = False

    async def run(self) -> None:
        """Look again and again; ends only by cancellation."""
        while True:
            self.check(asyncio.get_running_loop().time())
            await asyncio.sleep(LOOK)

    def check(self, now: float) -> None:
        """Log `unreachable` or `reachable` when that has changed; `now` is the loop's time."""
        contact = self._contact()
        self._check_twin(contact.twin)
        self._check_dialled(contact)
        if contact.connected or not contact.known:
            self._alone_since = None
            if self.unreachable:
                self.unreachable = False
                self._log.event("reachable", connected=contact.connected)
            return
        if self._alone_since is None:
            self._alone_since = now
        if now - self._alone_since >= PATIENCE and not self.unreachable:
            self.unreachable = True
            self._log.event(
                "unreachable",
                known=contact.known,
                seconds=round(now - self._alone_since),
                hint="check this machine's network, `bootstrap` in network.json, and whether those "
                "peers run; this is told once",
            )

    def _check_twin(self, addresses: tuple[str, ...]) -> None:
        if addresses and addresses != self._twin:
            self._log.event(
                "identity_used_twice", addresses=" ".join(addresses), hint=IDENTITY_USED_TWICE
            )
        self._twin = addresses

    def _check_dialled(self, contact: Contact) -> None:
        if contact.reached is not None and contact.reached != self._dialled:
            if contact.reached:
                self._log.event("dialled", address=contact.reached_at)
            else:
                hint = "`ricochet node doctor` says what to do"
                self._log.event("not_dialled", seen_at=contact.seen_at, hint=hint)
        self._dialled = contact.reached
        if bool(contact.relays) != self._relayed:
            self._relayed = not self._relayed
            if self._relayed:
                self._log.event("relayed", relays=" ".join(contact.relays))
            elif not contact.reached:
                self._log.event("relays_lost", hint="`ricochet node doctor` says what to do")
