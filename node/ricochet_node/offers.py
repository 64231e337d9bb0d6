"""What the node offers, and how many calls of each offer are open.

A source goes when the right to share it ends, and an offer with its last source; what the pool can
serve at this moment is for `capacity.py` to say. Peers are admitted when the node has joined, its
owner before that, and nobody while it drains. Whoever advertises waits on `changed`. A call holds
its slot from admission to its end, however it ends.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from ricochet_node.offer import Offer
from ricochet_protocol.advert import ModelOffer
from ricochet_protocol.eip712 import AttestationProof
from ricochet_protocol.errors import RemoteCode, RemoteFault
from ricochet_protocol.ids import ModelId


class OfferBook:
    """Belongs to one event loop."""

    def __init__(self, offers: Sequence[Offer]) -> None:
        self._offers = {offer.model: offer for offer in offers}
        self._barred: set[str] = set()
        self._open: Counter[ModelId] = Counter()
        self.admitting = False
        """Whether peers' calls are admitted: not before the node joins, nor while it drains."""
        self.serves_owner = False
        """Whether the owner's are: from the start, but not while the node drains."""
        self._permissions: tuple[AttestationProof, ...] = ()
        self.changed = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def offers(self) -> tuple[Offer, ...]:
        """What is offered whenever calls are admitted."""
        return tuple(self._offers.values())

    def permissions_of(self, shown: Iterable[ModelOffer]) -> tuple[AttestationProof, ...]:
        """The attestations that these offers depend on."""
        needed = {basis.provider for offer in shown for basis in offer.bases}
        return tuple(proof for proof in self._permissions if proof.provider in needed)

    @property
    def open_calls(self) -> int:
        """Calls that hold a slot."""
        return self._open.total()

    def open_of(self, model: ModelId) -> int:
        """Those of one model."""
        return self._open[model]

    def offer(self, model: ModelId) -> Offer | None:
        """The offer of a model, whether calls are admitted or not."""
        return self._offers.get(model)

    def find(self, model: ModelId) -> Offer:
        """The offer of a model; RemoteFault `no_model`, or `busy` when nothing is admitted."""
        return self._found(model, self.admitting)

    def find_own(self, model: ModelId) -> Offer:
        """The same for a call of the owner's, who is admitted before the node has joined."""
        return self._found(model, self.serves_owner)

    def _found(self, model: ModelId, admitting: bool) -> Offer:
        if not admitting:
            raise RemoteFault(RemoteCode.BUSY, "the node is starting or stopping", "use another")
        offer = self._offers.get(model)
        if offer is None:
            raise RemoteFault(RemoteCode.NO_MODEL, "the node does not offer this model")
        return offer

    @contextmanager
    def slot(self, offer: Offer) -> Iterator[None]:
        """Hold one of the offer's slots; RemoteFault `busy` when none is free."""
        if self._open[offer.model] >= offer.shown.slots:
            raise RemoteFault(RemoteCode.BUSY, "all slots of this model are taken; try later")
        self._open[offer.model] += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._open[offer.model] -= 1
            if not self.open_calls:
                self._idle.set()

    def bar(self, key: str) -> tuple[ModelId, ...]:
        """Sell nothing from this key until the node starts again; the models that are gone."""
        before = tuple(self._offers)
        self._barred.add(key)
        if any(key in offer.keys for offer in self.offers):
            self.replace(self.offers)
        return tuple(model for model in before if model not in self._offers)

    def replace(self, offers: Iterable[Offer]) -> None:
        """Offer these from now on, as far as their keys may be sold; open calls go on."""
        self._offers = {}
        for offer in offers:
            sources = [source for source in offer.sources if source.key not in self._barred]
            if sources:
                whole = len(sources) == len(offer.sources)
                self._offers[offer.model] = offer if whole else offer.over(sources)
        self.changed.set()

    def permit(self, proofs: tuple[AttestationProof, ...]) -> None:
        """Advertise with these attestations from now on; they are sorted by provider."""
        if proofs != self._permissions:
            self._permissions = proofs
            self.changed.set()

    def open_to_owner(self) -> None:
        """Admit the owner's own calls from now on."""
        self.serves_owner = True

    def open(self) -> None:
        """Admit everybody's calls from now on."""
        self.admitting = self.serves_owner = True
        self.changed.set()

    def close(self) -> None:
        """Admit no more calls; those that are open go on."""
        self.admitting = self.serves_owner = False
        self.changed.set()

    async def idle(self) -> None:
        """Wait until no call is open."""
        await self._idle.wait()
