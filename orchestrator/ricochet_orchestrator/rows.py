"""Rows of `runs.db` as the values they stand for, and back."""

from typing import Any

import msgspec

from ricochet_orchestrator.checkpoint import (
    Answer,
    Origin,
    RunRecord,
    RunStatus,
    Status,
    StepRecord,
    Wish,
)
from ricochet_orchestrator.plan import Step, StepId
from ricochet_orchestrator.spending import Answered
from ricochet_orchestrator.tables import AnswerRow, CallRow, RunRow, StepRow
from ricochet_protocol.ids import Address, ModelId, PeerId, Period
from ricochet_protocol.money import Units


def json_of(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def run_columns(run: RunRecord) -> dict[str, Any]:
    names = ("windows", "outputs", "sources", "passages")
    structured = {name: json_of(getattr(run, name)) for name in names}
    return {**msgspec.structs.asdict(run), **structured}


def run_of(row: RunRow) -> RunRecord:
    return RunRecord(
        id=row.id,
        key=row.key,
        document=row.document,
        chain=row.chain,
        model=ModelId(row.model),
        windows=msgspec.json.decode(row.windows, type=dict[ModelId, int]),
        status=RunStatus(row.status),
        created_at=row.created_at,
        outputs=msgspec.json.decode(row.outputs, type=tuple[StepId, ...]),
        seconds=row.seconds,
        sources=msgspec.json.decode(row.sources, type=tuple[Origin, ...]),
        passages=msgspec.json.decode(row.passages, type=tuple[Origin, ...]),
        cites=row.cites,
        digest=row.digest,
        wish=Wish(row.wish),
        worker=row.worker,
        error=row.error,
        lost=Units(row.lost),
    )


def step_columns(run_id: str, step: Step) -> dict[str, Any]:
    return {
        "run": run_id,
        "id": step.id,
        "position": step.position,
        "name": step.name,
        "role": step.role,
        "model": step.model,
        "status": Status.PENDING,
        "peer": None,
        "advert": None,
        "attempts": 0,
        "error": "",
        "started_at": None,
        "completed_at": None,
        "inputs": json_of(step.inputs),
        "segments": json_of(step.segments),
        "slot": step.slot,
        "attempt": step.attempt,
        "max_tokens": step.max_tokens,
    }


def step_of(row: StepRow) -> StepRecord:
    return StepRecord(
        id=StepId(row.id),
        name=row.name,
        role=row.role,
        model=ModelId(row.model),
        status=Status(row.status),
        peer=None if row.peer is None else PeerId(row.peer),
        advert=row.advert,
        attempts=row.attempts,
        error=row.error,
        started_at=row.started_at,
        completed_at=row.completed_at,
        inputs=msgspec.json.decode(row.inputs, type=tuple[StepId, ...]),
        segments=msgspec.json.decode(row.segments, type=tuple[int, ...]),
        slot=StepId(row.slot or row.id),
        attempt=row.attempt,
        max_tokens=row.max_tokens,
    )


def answer_of(row: AnswerRow) -> Answer:
    return Answer(**{name: getattr(row, name) for name in Answer.__struct_fields__})


def answered_of(row: AnswerRow | CallRow, model: str) -> Answered:
    return Answered(
        period=Period(row.period),
        node=Address(row.operator),
        model=ModelId(model),
        completed_at=row.completed_at,
        cost=Units(row.cost),
    )
