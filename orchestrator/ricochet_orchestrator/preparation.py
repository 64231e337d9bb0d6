"""What a run starts from: its record in the store, and its plan as far as it is known.

A run of the same document, chain, models and parameters is the same run until it is completed: its
plan is grown again from the answers in the store, with the windows it was planned for.
"""

import asyncio
import hashlib
import secrets
from collections.abc import Iterable, Mapping

import msgspec

from ricochet_orchestrator.chain_language import Chain
from ricochet_orchestrator.checkpoint import Answer, RunRecord, RunStatus, StepRecord
from ricochet_orchestrator.context import Context
from ricochet_orchestrator.document import Document
from ricochet_orchestrator.expansion import segment_budget
from ricochet_orchestrator.growth import Growth
from ricochet_orchestrator.material import Material
from ricochet_orchestrator.offers import Offers
from ricochet_orchestrator.plan import StepId
from ricochet_orchestrator.segment import segment
from ricochet_orchestrator.setting import Setting
from ricochet_orchestrator.terms import models_on_offer
from ricochet_protocol.ids import ModelId


async def prepare(
    setting: Setting,
    offers: Offers,
    document: Document,
    chain: Chain,
    model: ModelId | None,
    parameters: Mapping[str, str],
    stop: asyncio.Event,
) -> tuple[RunRecord, Growth, bool]:
    """The run to work on with its plan, and whether it was begun before."""
    key = _run_key(document, chain, model, parameters, setting.context)
    earlier = setting.store.unfinished(key)
    if earlier is not None:
        growth = _growth(setting, document, chain, earlier.model, earlier.windows, parameters)
        if _is_grown(growth, setting.store.steps(earlier.id), setting.store.answers(earlier.id)):
            growth = _growth(setting, document, chain, earlier.model, earlier.windows, parameters)
            return earlier, growth, True
    default, windows = await models_on_offer(offers, chain, model, stop)
    growth = _growth(setting, document, chain, default, windows, parameters)
    now = setting.clock()
    record = RunRecord(
        id=secrets.token_hex(4),
        key=key,
        document=document.name,
        chain=chain.name,
        model=default,
        windows=windows,
        status=RunStatus.RUNNING,
        created_at=now,
        outputs=growth.outputs,
        sources=growth.material.origins,
        cites=chain.last.cites,
    )
    setting.store.create_run(record, tuple(growth.steps.values()))
    return record, growth, False


def _growth(
    setting: Setting,
    document: Document,
    chain: Chain,
    default: ModelId,
    windows: dict[ModelId, int],
    parameters: Mapping[str, str],
) -> Growth:
    budget = segment_budget(chain, default, windows, setting.count, parameters)
    segments = segment(document, budget, setting.count, setting.context)
    return Growth(chain, Material(document, segments), default, windows, setting.count, parameters)


def _is_grown(
    growth: Growth, entered: Iterable[StepRecord], answers: Mapping[StepId, Answer]
) -> bool:
    """Whether exactly the steps that were entered grow from the answers there are, or more."""
    for fresh in iter(growth.fresh, []):
        for step in fresh:
            if step.id in answers:
                growth.answered(step.id, answers[step.id].text)
    return {step.id for step in entered} <= growth.steps.keys()


def _run_key(
    document: Document,
    chain: Chain,
    model: ModelId | None,
    parameters: Mapping[str, str],
    context: Context,
) -> str:
    content = (document.sha256, chain, model, sorted(parameters.items()), context)
    return hashlib.sha256(msgspec.json.encode(content)).hexdigest()
