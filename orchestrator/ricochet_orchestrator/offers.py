"""Which adverts are believed: those whose operator the registry on the chain maps to that peer.

The directory is hearsay that any peer can fill; the contract's registry says who is paid. An advert
counts only when both agree and the network is ours, so money cannot be steered to another peer. A
confirmed pair is kept for the run; one the registry does not know yet is looked up again later.

Of a believed advert, a model counts only while its bases hold (`ricochet_protocol.sharing`): a
permission that is forged or has expired takes its models away and leaves the others. Private offers
count only where the operator is one of ours; to everybody else they are nothing. What the settings
of the run leave out (`eligible`) counts as little.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Collection
from typing import Final

from ricochet_orchestrator.eligible import WORDS, why_not
from ricochet_orchestrator.routing import DEFAULTS, RoutingSettings
from ricochet_protocol.advert import ModelOffer, SignedAdvert
from ricochet_protocol.conversation import Feature
from ricochet_protocol.errors import ChainError, LocalFault
from ricochet_protocol.ids import Address, ModelId, PeerId
from ricochet_protocol.ports import Peers, Settlement

OFFER_WAIT: Final = 10.0
"""Seconds to wait for a peer that offers a model: joining a network takes a few."""
RECHECK: Final = 5.0
"""Seconds after which an unconfirmed advert is looked up again: registration may follow it."""


class Offers:
    """The believed part of a directory; `refresh` keeps it current.

    `own` are the operators whose private offers are meant for us; `clock` tells Unix seconds. What
    `routing` excludes is not offered.
    """

    def __init__(
        self,
        peers: Peers,
        settlement: Settlement,
        clock: Callable[[], float],
        own: Collection[Address],
        routing: RoutingSettings = DEFAULTS,
    ) -> None:
        self._peers = peers
        self._settlement = settlement
        self._clock = clock
        self._own = own
        self.routing = routing
        self._confirmed: set[tuple[Address, PeerId]] = set()
        self._doubted: dict[tuple[Address, PeerId], float] = {}
        self.unreachable: ChainError | None = None
        """Why adverts could not be checked at the last refresh."""

    async def refresh(self) -> None:
        """Look up what is new in the directory; a failure of the chain is kept, not raised."""
        now = asyncio.get_running_loop().time()
        for signed in self._peers.directory():
            pair = (signed.advert.operator, signed.advert.peer)
            if pair in self._confirmed or self._doubted.get(pair, now) > now:
                continue
            try:
                record = await self._settlement.node(signed.advert.operator)
            except ChainError as error:
                self.unreachable = error
                return
            if record is not None and record.peer == signed.advert.peer:
                self._confirmed.add(pair)
            else:
                self._doubted[pair] = now + RECHECK
        self.unreachable = None

    def believed(self) -> tuple[SignedAdvert, ...]:
        """Adverts of other peers that the registry confirms."""
        network = self._settlement.domain.network
        return tuple(
            signed
            for signed in self._peers.directory()
            if (signed.advert.operator, signed.advert.peer) in self._confirmed
            and signed.advert.network == network
            and signed.advert.peer != self._peers.peer
        )

    def offer(self, signed: SignedAdvert, model: ModelId) -> ModelOffer | None:
        """What a believed advert offers us of a model now."""
        return None if self.why_not(signed, model) else signed.advert.offer(model)

    def why_not(self, signed: SignedAdvert, model: ModelId) -> str:
        """Why a believed advert's offer of a model does not count; empty when it does."""
        offer = signed.advert.believed(model, self._settlement.domain, self._clock())
        if offer is None:
            return "basis"
        if offer.is_private and signed.advert.operator not in self._own:
            return "private"
        return why_not(signed.advert, offer, self.routing)

    def models(self) -> tuple[ModelId, ...]:
        """Models on offer, those that most peers offer first."""
        offered = Counter(
            offer.id
            for one in self.believed()
            for offer in one.advert.models
            if self.offer(one, offer.id) is not None
        )
        return tuple(sorted(offered, key=lambda model: (-offered[model], model)))

    @property
    def found(self) -> bool:
        """Whether registered nodes offer anything, to us or to others."""
        return any(one.advert.models for one in self.believed())

    def left_out(self, model: ModelId | None) -> Counter[str]:
        """Why offers of the model (None: of any) do not count (`eligible.WORDS`), one a peer."""
        return Counter(
            reasons[0]
            for one in self.believed()
            if (
                reasons := [
                    reason
                    for offer in one.advert.models
                    if model in (None, offer.id) and (reason := self.why_not(one, offer.id))
                ]
            )
        )

    def window(self, model: ModelId) -> int | None:
        """The window to plan for: half of the peers or more have it; None without an offer."""
        windows = sorted(
            offer.context
            for one in self.believed()
            if (offer := self.offer(one, model)) is not None
        )
        return windows[(len(windows) - 1) // 2] if windows else None


def no_peer(
    model: ModelId | None, offers: Offers, needs: frozenset[Feature] = frozenset()
) -> LocalFault:
    """The error for a model that nobody offers to this run; None stands for any model at all."""
    offered = offers.models()
    counts = bool(offered) if model is None else model in offered
    if not counts and (left := offers.left_out(model)):
        wanted = "a model" if model is None else f"the model {model}"
        example = model or min(one.id for each in offers.believed() for one in each.advert.models)
        return LocalFault(
            "no_peer",
            f"No peer offers {wanted} to this run.",
            f"Registered nodes that offer it and are left out: {left.total()}; most often for this "
            f"reason: {WORDS[left.most_common(1)[0][0]]}. `ricochet route explain "
            f"{example}` tells it of each node.",
        )
    what = "a model" if model is None else f"the model {model} with the window the run needs"
    features = f" and support for {', '.join(sorted(needs))}" if needs else ""
    return LocalFault(
        "no_peer",
        f"No peer offers {what}{features}.",
        f"Models on offer now: {', '.join(offered)}. Choose one with --model, or try again later."
        if offered
        else "No registered node answers. Check that nodes are running and that `bootstrap` in "
        "network.json names one, then run the same command again.",
    )
