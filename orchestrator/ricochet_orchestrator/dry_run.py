"""Gathers what an estimate needs from network and store, without a call, and has it computed."""

import asyncio
from collections.abc import Sequence

from ricochet_orchestrator.account import calls_at_once
from ricochet_orchestrator.answer_history import history
from ricochet_orchestrator.document import Document
from ricochet_orchestrator.estimate import Basis, Estimate, estimate
from ricochet_orchestrator.growth import Growth
from ricochet_orchestrator.offers import Offers
from ricochet_orchestrator.plan import StepId
from ricochet_orchestrator.preparation import plan_for
from ricochet_orchestrator.request import Request
from ricochet_orchestrator.route import Candidate
from ricochet_orchestrator.setting import Setting
from ricochet_orchestrator.terms import models_on_offer
from ricochet_protocol.ids import ModelId, Period


async def dry_run(setting: Setting, request: Request, document: Document) -> Estimate:
    """What a run of the request would take now; LocalFault `no_peer` when nobody could serve it."""
    own = {setting.payer.subscriber, *setting.private_nodes}
    offers = Offers(setting.peers, setting.settlement, setting.clock, own, setting.routing)
    never = asyncio.Event()
    wanted = request.options.model
    default, windows = await models_on_offer(
        offers, request.chain, wanted, never, setting.tell, request.options.fallback
    )
    subscription = await setting.settlement.subscription(setting.payer.subscriber)
    period = Period(0) if subscription is None else subscription.period

    def made() -> Growth:
        return plan_for(setting, document, request, default, windows)

    def stored(steps: Sequence[StepId]) -> dict[StepId, str]:
        return {step: answer.text for step, answer in setting.store.answers_to(steps).items()}

    basis = Basis(
        windows=windows,
        offers={model: _candidates(setting, offers, model, period) for model in windows},
        history=history(setting.store),
        stored=stored,
        strategy=setting.routing.strategy,
    )
    return estimate(made, basis)


def _candidates(
    setting: Setting, offers: Offers, model: ModelId, period: Period
) -> tuple[Candidate, ...]:
    found = []
    for signed in offers.believed():
        offer = offers.offer(signed, model)
        if offer is not None:
            account = setting.store.account(signed.advert.operator, period)
            limit = calls_at_once(account, offer.slots)
            bills = account.surplus
            # For paying, a bill is expected to be no less than our count; here, as it was.
            factor = bills.billed / bills.counted if bills.counted else 1.0
            found.append(Candidate(signed, offer, limit, factor))
    return tuple(sorted(found, key=lambda one: one.peer))
