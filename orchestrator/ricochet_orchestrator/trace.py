"""Where a run's answers come from: each step, what it read, and the source text that it rests on.

A step reads segments of the document or the answers of other steps, so what an answer rests on is
the union over all it depends on. Everything is taken from the store; nothing is planned again.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ricochet_orchestrator.checkpoint import Answer, Origin, RunRecord, Status, StepRecord
from ricochet_orchestrator.plan import StepId
from ricochet_orchestrator.result import RunResult, passages_of, shown
from ricochet_protocol.ids import ModelId, PeerId
from ricochet_protocol.money import Units


class TracedStep(msgspec.Struct, frozen=True):
    """One step. `segments` are those it read itself, `rests_on` all that it depends on, by number.

    `peer` and amounts are of its answer; `paid` is false when another run paid for that.
    """

    id: StepId
    name: str
    role: str
    model: ModelId
    status: Status
    segments: tuple[int, ...]
    inputs: tuple[StepId, ...]
    rests_on: tuple[int, ...]
    text: str = ""
    peer: PeerId | None = None
    tokens_in: int = 0
    tokens_out: int = 0
    cost: Units = Units(0)
    seconds: float = 0.0
    paid: bool = False


class Trace(msgspec.Struct, frozen=True):
    """A run with its steps in order of dependency; `outputs` are the steps that are its result.

    `origins` are the segments: file, offsets in its text in characters, pages or chapters.
    """

    run: RunRecord
    result: RunResult
    steps: tuple[TracedStep, ...]
    outputs: tuple[StepId, ...]

    @property
    def origins(self) -> tuple[Origin, ...]:
        """The document's segments, by number."""
        return self.run.sources

    @property
    def places(self) -> tuple[str, ...]:
        """Where each segment is, and what was quoted of it, for a person."""
        return tuple(self._place(origin) for origin in self.origins)

    def _place(self, origin: Origin) -> str:
        quoted = passages_of(self.run, origin)
        ends = f"; quoted: {'; '.join(map(_range, quoted))}" if quoted else ""
        return f"{place(origin)}{ends}"


def trace(
    run: RunRecord,
    result: RunResult,
    steps: Sequence[StepRecord],
    answers: Mapping[StepId, Answer],
) -> Trace:
    """The trace of a run's steps, whose order is that of dependency."""
    last = _asked_last(steps)
    rests: dict[StepId, frozenset[int]] = {}
    traced = []
    for step in steps:
        inputs = tuple(last.get(source, source) for source in step.inputs)
        below = (rests.get(source, frozenset()) for source in inputs)
        rests[step.id] = frozenset(step.segments).union(*below)
        traced.append(_traced(run, step, inputs, rests[step.id], answers.get(step.id)))
    return Trace(run=run, result=result, steps=tuple(traced), outputs=run.outputs)


def _asked_last(steps: Sequence[StepRecord]) -> dict[StepId, StepId]:
    """For each call, the step that was asked last for it: earlier answers were refused."""
    last: dict[StepId, StepRecord] = {}
    for step in steps:
        before = last.get(step.slot)
        if before is None or step.attempt > before.attempt:
            last[step.slot] = step
    return {slot: step.id for slot, step in last.items()}


def _traced(
    run: RunRecord,
    step: StepRecord,
    inputs: tuple[StepId, ...],
    rests_on: frozenset[int],
    answer: Answer | None,
) -> TracedStep:
    bare = TracedStep(
        id=step.id,
        name=step.name,
        role=step.role,
        model=step.model,
        status=step.status,
        segments=step.segments,
        inputs=inputs,
        rests_on=tuple(sorted(rests_on)),
    )
    if answer is None:
        return bare
    return msgspec.structs.replace(
        bare,
        text=shown(answer),
        peer=answer.peer,
        tokens_in=answer.tokens_in,
        tokens_out=answer.tokens_out,
        cost=answer.cost,
        seconds=answer.seconds,
        paid=answer.run == run.id,
    )


def ranges(numbers: Sequence[int]) -> str:
    """Segment numbers as people write them, from 1: `1-4, 7`."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ", ".join(
        f"{low + 1}" if low == high else f"{low + 1}-{high + 1}" for low, high in parts
    )


def place(origin: Origin, passages: Sequence[Origin] = ()) -> str:
    """Where a segment is, or passages of it, for a person: file, characters, pages."""
    return f"{origin.part}, characters {'; '.join(map(_range, passages or (origin,)))}"


def place_document(number: int, origin: Origin, passages: Sequence[Origin]) -> dict[str, Any]:
    """The same of segment `number`, counted from 1, for programs."""
    return {
        "number": number,
        "file": origin.part,
        **_range_document(origin),
        "passages": [_range_document(one) for one in passages],
    }


def _range_document(origin: Origin) -> dict[str, Any]:
    return {"start": origin.start, "end": origin.end, "places": list(origin.places)}


def _range(origin: Origin) -> str:
    pages = f" ({', '.join(origin.places)})" if origin.places else ""
    return f"{origin.start:,} to {origin.end:,}{pages}"
