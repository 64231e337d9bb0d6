"""What a run starts from: its record in the store, and its plan as far as it is known.

The plan of a run that goes on is grown again from the answers in the store, with the windows it was
planned for.
"""

import asyncio
from collections.abc import Iterable, Mapping

import msgspec

from ricochet_orchestrator.checkpoint import Answer, RunRecord, StepRecord
from ricochet_orchestrator.document import Document
from ricochet_orchestrator.expansion import segment_budget
from ricochet_orchestrator.growth import Growth
from ricochet_orchestrator.material import Material
from ricochet_orchestrator.offers import Offers
from ricochet_orchestrator.plan import StepId
from ricochet_orchestrator.request import Request
from ricochet_orchestrator.segment import segment
from ricochet_orchestrator.setting import Setting
from ricochet_orchestrator.terms import models_on_offer
from ricochet_protocol.ids import ModelId


async def prepare(
    setting: Setting,
    offers: Offers,
    record: RunRecord,
    request: Request,
    document: Document,
    stop: asyncio.Event,
) -> tuple[RunRecord, Growth]:
    """The run with its plan: the stored one, or one for the models on offer now."""
    store = setting.store
    if record.windows:
        growth = plan_for(setting, document, request, record.model, record.windows)
        if _is_grown(growth, store.steps(record.id), store.answers(record.id)):
            growth = plan_for(setting, document, request, record.model, record.windows)
            return record, growth
    wanted = request.options.model
    default, windows = await models_on_offer(offers, request.chain, wanted, stop)
    growth = plan_for(setting, document, request, default, windows)
    planned = msgspec.structs.replace(
        record,
        model=default,
        windows=windows,
        outputs=growth.outputs,
        sources=growth.material.origins,
        cites=request.chain.last.cites,
    )
    store.plan_run(planned, growth.steps.values())
    return planned, growth


def plan_for(
    setting: Setting,
    document: Document,
    request: Request,
    default: ModelId,
    windows: dict[ModelId, int],
) -> Growth:
    """The plan of a request before the first answer, for models with these windows."""
    chain, values = request.chain, request.options.parameters
    budget = segment_budget(chain, default, windows, setting.count, values)
    segments = segment(document, budget, setting.count, setting.context)
    return Growth(chain, Material(document, segments), default, windows, setting.count, values)


def _is_grown(
    growth: Growth, entered: Iterable[StepRecord], answers: Mapping[StepId, Answer]
) -> bool:
    """Whether exactly the steps that were entered grow from the answers there are, or more."""
    for fresh in iter(growth.fresh, []):
        for step in fresh:
            if step.id in answers:
                found = answers[step.id]
                growth.answered(step.id, found.text, found.finish == "length")
    return {step.id for step in entered} <= growth.steps.keys()
