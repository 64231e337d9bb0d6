"""What the node offers at this moment, and how many calls of each offer are open.

An offer goes when the provider refuses its key, or when the right to share it ends. Nothing is
admitted before the node has joined and while it drains. Whoever advertises waits on `changed`. A
call holds its slot from admission to its end, however it ends.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ricochet_node.config import Offer
from ricochet_protocol.advert import ModelOffer
from ricochet_protocol.eip712 import AttestationProof
from ricochet_protocol.errors import RemoteCode, RemoteFault
from ricochet_protocol.ids import ModelId


class OfferBook:
    """Belongs to one event loop."""

    def __init__(self, offers: Sequence[Offer]) -> None:
        self._offers = {offer.model: offer for offer in offers}
        self._open: Counter[ModelId] = Counter()
        self.admitting = False
        """Whether calls are admitted: not before the start, nor while the node drains."""
        self._permissions: tuple[AttestationProof, ...] = ()
        self.changed = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def shown(self) -> tuple[ModelOffer, ...]:
        """What an advert says."""
        return tuple(o.shown for o in self._offers.values()) if self.admitting else ()

    @property
    def permissions(self) -> tuple[AttestationProof, ...]:
        """The attestations that what is shown depends on."""
        needed = {offer.basis.provider for offer in self.shown}
        return tuple(proof for proof in self._permissions if proof.provider in needed)

    @property
    def open_calls(self) -> int:
        """Calls that hold a slot."""
        return self._open.total()

    def find(self, model: ModelId) -> Offer:
        """The offer of a model; RemoteFault `no_model`, or `busy` when nothing is admitted."""
        if not self.admitting:
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

    def withdraw(self, key: str) -> tuple[ModelId, ...]:
        """Stop offering what uses this key; the models that are gone, none the second time."""
        gone = tuple(model for model, offer in self._offers.items() if offer.key == key)
        for model in gone:
            del self._offers[model]
        if gone:
            self.changed.set()
        return gone

    def permit(self, proofs: tuple[AttestationProof, ...]) -> None:
        """Advertise with these attestations from now on; they are sorted by provider."""
        if proofs != self._permissions:
            self._permissions = proofs
            self.changed.set()

    def open(self) -> None:
        """Admit calls from now on."""
        self.admitting = True
        self.changed.set()

    def close(self) -> None:
        """Admit no more calls; those that are open go on."""
        self.admitting = False
        self.changed.set()

    async def idle(self) -> None:
        """Wait until no call is open."""
        await self._idle.wait()
