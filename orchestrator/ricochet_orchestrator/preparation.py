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
from ricochet_orchestrator.progress import ModelReplaced
from ricochet_orchestrator.request import Request
from ricochet_orchestrator.segment import segment
from ricochet_orchestrator.setting import Setting
from ricochet_orchestrator.terms import models_on_offer, with_fallback
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
    if record.windows and _covers(request, record.windows):
        growth = plan_for(setting, document, request, record.model, record.windows)
        if _is_grown(growth, store.steps(record.id), store.answers(record.id)):
            growth = plan_for(setting, document, request, record.model, record.windows)
            return record, growth
    wanted = request.options.model
    default, windows = await models_on_offer(
        offers, request.chain, wanted, stop, setting.tell, request.options.fallback
    )
    for model, steps in _replaced(request, windows).items():
        setting.tell(ModelReplaced(model, request.options.fallback or model, steps))
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
    chain = with_fallback(request.chain, windows, request.options.fallback)
    values = request.options.parameters
    budget = segment_budget(chain, default, windows, setting.count, values)
    segments = segment(document, budget, setting.count, setting.context)
    return Growth(chain, Material(document, segments), default, windows, setting.count, values)


def _covers(request: Request, windows: Mapping[ModelId, int]) -> bool:
    """Whether each model of the request has a window: its fallback may be another than before."""
    chain = with_fallback(request.chain, windows, request.options.fallback)
    return all(step.model is None or step.model in windows for step in chain.steps)


def _replaced(request: Request, windows: Mapping[ModelId, int]) -> dict[ModelId, tuple[str, ...]]:
    """Steps by the model that they name and that nobody offers."""
    found: dict[ModelId, tuple[str, ...]] = {}
    for step in request.chain.steps:
        if step.model is not None and step.model not in windows:
            found[step.model] = (*found.get(step.model, ()), step.name)
    return found


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
