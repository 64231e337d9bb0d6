"""What changed between two runs: steps, answers, cost and text.

A step's id says all that it depends on, so steps with one id have one answer: what the second run
computed anew are the steps that the first has not.
"""

import difflib
from collections import Counter
from collections.abc import Iterable

import msgspec

from ricochet_orchestrator.trace import Trace, TracedStep


class StepChange(msgspec.Struct, frozen=True):
    """How many calls of a chain step are in both runs, and in one only."""

    name: str
    same: int
    added: int
    removed: int


class Difference(msgspec.Struct, frozen=True):
    """From one run to another. `segments` are those of the second that steps read anew, by number.

    `cost` is what the second cost more, in units; `text` a unified diff of the results.
    """

    first: str
    second: str
    steps: tuple[StepChange, ...]
    segments: tuple[int, ...]
    calls: int
    cost: int
    seconds: float
    text: tuple[str, ...]


def difference(first: Trace, second: Trace) -> Difference:
    """What the second run did otherwise than the first."""
    before = {step.id for step in first.steps}
    after = {step.id for step in second.steps}
    names = dict.fromkeys(step.name for step in (*first.steps, *second.steps))
    same = _count(step for step in second.steps if step.id in before)
    added = _count(step for step in second.steps if step.id not in before)
    removed = _count(step for step in first.steps if step.id not in after)
    fresh = {number for step in second.steps if step.id not in before for number in step.segments}
    return Difference(
        first=first.run.id,
        second=second.run.id,
        steps=tuple(StepChange(name, same[name], added[name], removed[name]) for name in names),
        segments=tuple(sorted(fresh)),
        calls=second.result.calls - first.result.calls,
        cost=second.result.cost - first.result.cost,
        seconds=second.run.seconds - first.run.seconds,
        text=tuple(
            difflib.unified_diff(
                first.result.output.splitlines(),
                second.result.output.splitlines(),
                first.run.id,
                second.run.id,
                lineterm="",
            )
        ),
    )


def _count(steps: Iterable[TracedStep]) -> Counter[str]:
    return Counter(step.name for step in steps)
