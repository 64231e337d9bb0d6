"""The nodes that a subscriber deals with in one period: a client for each, and who may serve.

There is one client a node, whoever calls: it knows all calls that are open there, and signs for all
of them together.
"""

from collections.abc import Collection

from ricochet_orchestrator.account import calls_at_once
from ricochet_orchestrator.client import NodeClient
from ricochet_orchestrator.offers import Offers
from ricochet_orchestrator.route import Candidate
from ricochet_orchestrator.setting import Setting, SharedClients
from ricochet_protocol.advert import SignedAdvert
from ricochet_protocol.conversation import Feature
from ricochet_protocol.ids import ModelId, PeerId
from ricochet_protocol.ports import Subscription


class Suppliers:
    """Clients are made on first use."""

    def __init__(self, setting: Setting, offers: Offers, subscription: Subscription) -> None:
        self.subscription = subscription
        self._setting = setting
        self._offers = offers
        shared = setting.clients or SharedClients(setting.tell)
        self._tell = shared.tell
        self._clients = shared.periods.setdefault(subscription.period, {})

    def topped_up(self, subscription: Subscription) -> None:
        """Take up what the chain says now of the same period."""
        self.subscription = subscription
        for client in self._clients.values():
            client.paying.subscription = subscription

    def client(self, signed: SignedAdvert) -> NodeClient:
        """The client of the node that signed the advert."""
        client = self._clients.get(signed.advert.peer)
        if client is None or client.operator != signed.advert.operator:
            client = NodeClient(
                self._setting.peers,
                self._setting.settlement,
                self._setting.store,
                self._setting.payer,
                self.subscription,
                signed,
                self._setting.count,
                self._setting.clock,
                self._tell,
            )
            self._clients[signed.advert.peer] = client
        client.saw(signed)
        return client

    def candidates(
        self, model: ModelId, features: Collection[Feature] = (), without: Collection[PeerId] = ()
    ) -> list[Candidate]:
        """Who offers the model with these features, save the peers in `without`."""
        found = []
        for signed in self._offers.believed():
            offer = self._offers.offer(signed, model)
            if offer is None or signed.advert.peer in without:
                continue
            if not set(features) - set(offer.features):
                account = self.client(signed).paying.account
                limit = calls_at_once(account, offer.slots)
                found.append(Candidate(signed, offer, limit, account.surplus.factor))
        return found
