"""Whether an answer passes: JSON by schema, citations of what was shown, lines that were copied.

The verdict depends on the step, the document and the answer alone, so that a run which is resumed
judges a stored answer as the run did that paid for it.
"""

import re
from typing import Any, Final

import msgspec

from ricochet_orchestrator.answer_schema import canonical, value_of
from ricochet_orchestrator.evidence import Passage, passages, whole
from ricochet_orchestrator.material import Material
from ricochet_orchestrator.plan import Spans, Step, StepId

_CITED: Final = re.compile(r"\[(\d{1,9}(?:\s*[,;]\s*\d{1,9})*)\]")


class Judged(msgspec.Struct, frozen=True):
    """`refusal` is empty for an answer that passes; then `value` or `passages` is what it holds.

    `step` is the attempt that gave it, `text` all it said.
    """

    refusal: str = ""
    value: Any = None
    passages: tuple[Passage, ...] = ()
    step: StepId | None = None
    text: str = ""


def judge(step: Step, text: str, material: Material, cut: bool) -> Judged:
    """What an answer holds, or why it is refused; `cut` when it ended for its length."""
    spec = step.spec
    value: Any = text
    if spec.schema is not None:
        value, refusal = value_of(text, canonical(spec.schema))
        if refusal:
            return Judged(refusal=refusal)
    if spec.cites and (wrong := _unshown(text, step.spans)):
        shown = ", ".join(f"{start + 1} to {end}" for start, end in step.spans)
        return Judged(refusal=f"It cites {wrong}, but only {shown or 'nothing'} can be cited.")
    if spec.quotes and cut:
        return Judged(refusal="It was cut off, so lines may be missing. Copy less around each.")
    if spec.quotes:
        found, refusal = passages(text, step.segments[0], material)
        return Judged(refusal=refusal, passages=found, step=step.id)
    return Judged(value=value, step=step.id, text=text)


def kept(step: Step, material: Material) -> Judged | None:
    """What stands in for an answer when retries are used up; None: nothing does."""
    if not step.spec.quotes:
        return None
    return Judged(passages=whole(step.segments[0], material), step=step.id)


def cited(text: str) -> tuple[int, ...]:
    """The numbers an answer cites, as `[3]` or `[3, 4]`, each once, in order of appearance."""
    groups = (re.split(r"\s*[,;]\s*", match[1]) for match in _CITED.finditer(text))
    return tuple(dict.fromkeys(int(number) for group in groups for number in group))


def _unshown(text: str, spans: Spans) -> str:
    wrong = [
        number for number in cited(text) if not any(start < number <= end for start, end in spans)
    ]
    return ", ".join(f"[{number}]" for number in wrong)
