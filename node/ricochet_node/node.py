"""The node's parts joined over the ports, whatever implements them: libp2p and a chain, or twins.

Construction needs no network; `join` publishes the first advert and only then admits peers' calls.
"""

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from ricochet_node.advertise import Advertiser
from ricochet_node.claimer import Claimer
from ricochet_node.config import NodeConfig
from ricochet_node.confirming import Confirming
from ricochet_node.door import Door
from ricochet_node.funds import survey
from ricochet_node.ledger import Ledger
from ricochet_node.log import EventLog
from ricochet_node.reachability import Reachability
from ricochet_node.serve import Server, Terms
from ricochet_node.standings import Standings
from ricochet_node.supply import Supply
from ricochet_protocol.ids import Address, PeerId
from ricochet_protocol.ports import Peers, Settlement

DRAIN_SECONDS: Final = 30
"""What open calls get to end by themselves when the node stops."""


@dataclass(frozen=True)
class Identity:
    """Who the node is: its peer key's seed, the peer, and the account that earns."""

    peer: PeerId
    operator: Address
    seed: bytes = field(repr=False)


class Node:
    """One key owner's node; `door` is the handler for its network."""

    def __init__(
        self,
        identity: Identity,
        config: NodeConfig,
        settlement: Settlement,
        ledger: Ledger,
        supply: Supply,
        log: EventLog,
        clock: Callable[[], float],
    ) -> None:
        self._identity = identity
        self._config = config
        self._network = settlement.domain.network
        self._ledger = ledger
        self._clock = clock
        self._supply = supply
        self.book = supply.book
        standings = Standings(ledger, settlement, identity.operator, config.credit_cap)
        self._confirming = Confirming(standings, log)
        server = Server(
            Terms(network=self._network, operator=identity.operator),
            identity.seed,
            supply.book,
            ledger,
            standings,
            supply.pool,
            lambda digest: self._advertiser.terms(digest),
            supply.records,
            clock,
            log,
        )
        self.door = Door(
            identity.peer,
            identity.operator,
            settlement,
            ledger,
            standings,
            server,
            clock,
            log,
            config.guests,
        )
        self.claimer = Claimer(settlement, ledger, identity.operator, config.claim, clock, log)
        self._settlement = settlement
        self._reachability = Reachability(lambda: self._peers.contact(), log)
        self.told_to_stop = asyncio.Event()
        """Set when the owner wants the node to end in order."""
        self._peers: Peers
        self._advertiser: Advertiser

    async def join(self, peers: Peers) -> None:
        """Publish the offers on a network that has started, and admit calls."""
        self._peers = peers
        self._advertiser = Advertiser(
            peers,
            self._identity.operator,
            self._network,
            self._config.region,
            self.book,
            self._supply.capacity.shown,
            self._clock,
        )
        self._supply.sharing.check()
        self.book.open()
        await self._advertiser.publish()

    def change(self, config: NodeConfig) -> None:
        """Offer, let in and say what this configuration does, from the next call on."""
        self._advertiser.region = config.region
        self.door.change_guests(config.guests)
        self.book.replace(config.offers)

    async def run(self) -> None:
        """Claim, advertise, and watch the chain, the keys and what may be shared; ends only by
        cancellation or a defect."""
        work = (
            self.claimer.run(),
            self._advertiser.run(),
            self._supply.pool.run(),
            self._supply.sharing.run(),
            self._confirming.run(),
            self._reachability.run(),
            self._supply.tally.run(),
        )
        tasks = [asyncio.create_task(one) for one in work]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            done.pop().result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def end_calls(self, seconds: float = DRAIN_SECONDS) -> bool:
        """Admit nothing more and let open calls end; whether they all did in time."""
        self.book.close()
        try:
            async with asyncio.timeout(seconds):
                await self.book.idle()
        except TimeoutError:
            return False
        return True

    def status(self) -> dict[str, Any]:
        """What `admin.status` documents."""
        self._supply.tally.write()
        sold = {sales.model: sales for sales in self._ledger.sales()}
        offered = {offer.id for offer in self._supply.capacity.shown()}
        models = []
        configured = (offer.model for offer in (*self.book.offers, *self._config.offers))
        for model in dict.fromkeys((*configured, *sold)):
            sales = sold.get(model)
            models.append(
                {
                    "model": model,
                    "offered": model in offered,
                    "calls": sales.calls if sales else 0,
                    "tokens_in": sales.tokens_in if sales else 0,
                    "tokens_out": sales.tokens_out if sales else 0,
                    "earned": sales.earned if sales else 0,
                }
            )
        contact = self._peers.contact()
        return {
            "pid": os.getpid(),
            "peer": self._identity.peer,
            "operator": self._identity.operator,
            "addresses": list(self._peers.addresses),
            "draining": not self.book.admitting,
            "models": models,
            "keys": self._supply.pool.document(),
            "earned": self._ledger.earned(),
            "unclaimed": self._ledger.unclaimed_sum(),
            "open_calls": self.book.open_calls,
            "peers_known": len(self._peers.directory()),
            "peers_connected": contact.connected,
            "identity_used_at": list(contact.twin),
            "reached": contact.reached,
            "reached_at": contact.reached_at,
            "seen_at": contact.seen_at,
            "relays": list(contact.relays),
            "listens": list(contact.listens),
        }

    async def drain(self) -> dict[str, Any]:
        """What `admin.drain` documents."""
        self.book.close()
        return {"open_calls": self.book.open_calls}

    async def resume(self) -> dict[str, Any]:
        """What `admin.resume` documents."""
        self.book.open()
        return {"models": [offer.id for offer in self._supply.capacity.shown()]}

    async def stop(self) -> dict[str, Any]:
        """What `admin.stop` documents."""
        self.told_to_stop.set()
        return {"pid": os.getpid(), "open_calls": self.book.open_calls}

    async def funds(self) -> dict[str, Any]:
        """What `admin.funds` documents."""
        found = await survey(self._settlement, self._ledger.books, self._identity.operator)
        return found.document()

    async def claim(self) -> dict[str, Any]:
        """What `admin.claim` documents."""
        return {"claimed": await self.claimer.claim()}

    async def withdraw(self) -> dict[str, Any]:
        """What `admin.withdraw` documents."""
        return {"withdrawn": await self.claimer.withdraw()}

    async def settle(self) -> dict[str, Any]:
        """What `admin.settle` documents."""
        settled = await self.claimer.settle()
        return {"claimed": settled.claimed, "withdrawn": settled.withdrawn}
