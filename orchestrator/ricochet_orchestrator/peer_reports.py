"""What is known of peers, for people: who would serve a call and why, and what was learnt of whom.

The explanation of a route is made by the code that routes, from the same adverts, settings and
opinions; it asks nothing of anybody and changes nothing.
"""

import asyncio

import msgspec

from ricochet_orchestrator import opinion_store
from ricochet_orchestrator.account import calls_at_once
from ricochet_orchestrator.breaker import Breaker, State
from ricochet_orchestrator.memory import recall
from ricochet_orchestrator.offers import Offers
from ricochet_orchestrator.opinion import Opinion
from ricochet_orchestrator.plan import needed_window
from ricochet_orchestrator.route import Candidate, Need, Parts, Router
from ricochet_orchestrator.setting import Setting
from ricochet_orchestrator.store import Store
from ricochet_orchestrator.terms import KNOWN_WAIT, LOOK
from ricochet_protocol.advert import ModelOffer, SignedAdvert
from ricochet_protocol.errors import LocalFault
from ricochet_protocol.ids import Address, ModelId, PeerId, Period


class RouteRow(msgspec.Struct, frozen=True):
    """One peer that offers the model; `reason` (a word of `eligible.WORDS`) is why it is out."""

    peer: PeerId
    operator: Address
    region: str
    offer: ModelOffer
    limit: int
    reason: str
    parts: Parts
    breaker: State
    opinion: Opinion


class PeerRow(msgspec.Struct, frozen=True):
    """One peer: what it offers now, if it was seen, and what was learnt of it.

    `registered` tells whether the chain maps its operator to it; only such peers are asked.
    """

    peer: PeerId
    operator: Address | None
    region: str
    registered: bool
    offers: tuple[ModelOffer, ...]
    opinions: dict[ModelId, Opinion]
    breaker: Breaker

    @property
    def seen(self) -> bool:
        """Whether it is in the directory now."""
        return self.operator is not None


async def explain(setting: Setting, model: ModelId, need: Need) -> tuple[RouteRow, ...]:
    """Every peer that offers the model, best first; LocalFault `no_peer` when there is none."""
    offers = await _heard(setting, model)
    now = asyncio.get_running_loop().time()
    router = Router(setting.seed, setting.routing.strategy, setting.routing.max_latency)
    recall(setting.store, router, setting.clock(), now)
    period = await _period(setting)
    against: dict[PeerId, str] = {}
    candidates = []
    for signed in offers.believed():
        offer = signed.advert.offer(model)
        if offer is None:
            continue
        one = _candidate(setting.store, signed, offer, period)
        candidates.append(one)
        window = needed_window(model, need.counted, need.max_tokens)
        reason = offers.why_not(signed, model) or ("window" if offer.context < window else "")
        if reason:
            against[one.peer] = reason
    if not candidates:
        raise LocalFault(
            "no_peer",
            f"No peer offers the model {model}.",
            "`ricochet peers list` shows what is on offer.",
        )
    rows = [
        RouteRow(
            peer=one.candidate.peer,
            operator=one.candidate.advert.advert.operator,
            region=one.candidate.advert.advert.region,
            offer=one.candidate.offer,
            limit=one.candidate.limit,
            reason=against.get(one.candidate.peer, one.reason),
            parts=one.parts,
            breaker=one.breaker,
            opinion=one.opinion,
        )
        for one in router.explain(candidates, need, now)
    ]
    return tuple(sorted(rows, key=lambda row: row.reason != ""))


async def survey(setting: Setting) -> tuple[PeerRow, ...]:
    """All peers seen now or known from earlier, those seen first."""
    offers = await _heard(setting, None)
    registered = {signed.advert.peer for signed in offers.believed()}
    known = {row.peer: row for row in remembered(setting.store)}
    rows = []
    for signed in setting.peers.directory():
        advert = signed.advert
        if advert.peer == setting.peers.peer:
            continue
        before = known.pop(advert.peer, None)
        rows.append(
            PeerRow(
                peer=advert.peer,
                operator=advert.operator,
                region=advert.region,
                registered=advert.peer in registered,
                offers=advert.models,
                opinions={} if before is None else before.opinions,
                breaker=Breaker() if before is None else before.breaker,
            )
        )
    return (*sorted(rows, key=lambda row: row.peer), *known.values())


def remembered(store: Store) -> tuple[PeerRow, ...]:
    """What earlier runs have learnt, without looking at the network."""
    breakers = opinion_store.breakers(store)
    by_peer: dict[PeerId, dict[ModelId, Opinion]] = {peer: {} for peer in breakers}
    for (peer, model), opinion in opinion_store.opinions(store).items():
        by_peer.setdefault(peer, {})[model] = opinion
    return tuple(
        PeerRow(
            peer=peer,
            operator=None,
            region="",
            registered=False,
            offers=(),
            opinions=dict(sorted(opinions.items())),
            breaker=breakers.get(peer, Breaker()),
        )
        for peer, opinions in sorted(by_peer.items())
    )


async def _heard(setting: Setting, model: ModelId | None) -> Offers:
    """The offers, once somebody offers the model (None: any), or after a wait."""
    own = {setting.payer.subscriber, *setting.private_nodes}
    offers = Offers(setting.peers, setting.settlement, setting.clock, own, setting.routing)
    loop = asyncio.get_running_loop()
    end = loop.time() + KNOWN_WAIT
    while True:
        await offers.refresh()
        if offers.unreachable is not None:
            raise offers.unreachable
        found = [one for one in offers.believed() if model is None or one.advert.offer(model)]
        if found or loop.time() >= end:
            return offers
        await asyncio.sleep(LOOK)


async def _period(setting: Setting) -> Period:
    """The running period, or one in which nobody has an account."""
    found = await setting.settlement.subscription(setting.payer.subscriber)
    return Period(0) if found is None else found.period


def _candidate(store: Store, signed: SignedAdvert, offer: ModelOffer, period: Period) -> Candidate:
    account = store.account(signed.advert.operator, period)
    return Candidate(signed, offer, calls_at_once(account, offer.slots), account.surplus.factor)
