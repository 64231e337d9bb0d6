"""What the owner's keys can serve, and what he is served before anybody else.

It needs keys and offers, and neither a chain nor peers: his own door opens while the node still
joins, and `Node` sells from the same slots, pool and limits.
"""

from collections.abc import Callable

from ricochet_node.capacity import Capacity
from ricochet_node.config import NodeConfig
from ricochet_node.key_room import Rooms
from ricochet_node.key_states import KeyStates
from ricochet_node.ledger import Ledger
from ricochet_node.log import EventLog
from ricochet_node.offers import OfferBook
from ricochet_node.own_calls import OwnCalls
from ricochet_node.own_tally import OwnTally
from ricochet_node.pool import Pool
from ricochet_node.recording import Records
from ricochet_node.sharing_watch import Look, SharingWatch
from ricochet_node.upstream import Upstream


class Supply:
    """Belongs to one event loop; `clock` tells Unix seconds."""

    def __init__(
        self,
        config: NodeConfig,
        ledger: Ledger,
        upstream: Upstream,
        log: EventLog,
        clock: Callable[[], float],
        sharing: Look,
        states: KeyStates,
        rooms: Rooms,
    ) -> None:
        self.book = OfferBook(config.offers)
        self.pool = Pool(self.book, upstream, states, rooms, clock, log)
        self.capacity = Capacity(self.book, self.pool, clock)
        self.sharing = SharingWatch(sharing, self.book, clock, log)
        self.records = Records()
        """Hear how each request went, when it has ended."""
        self.tally = OwnTally(ledger)
        self.own = OwnCalls(self.book, self.pool, self.records, self.tally, clock)

    def open_to_owner(self) -> None:
        """Serve his own calls from now on, from keys that may be shared."""
        self.sharing.check()
        self.book.open_to_owner()
