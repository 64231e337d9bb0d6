"""The words of a call: what a step says to its model, and how much room each part of that takes.

The same function measures a prompt's frame before anything is planned and fills it when the call is
made, so that what was planned fits.
"""

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from ricochet_orchestrator.answer_schema import canonical
from ricochet_orchestrator.chain_language import PREVIOUS, SCHEMA, TEXT, ChainStep
from ricochet_orchestrator.material import Material
from ricochet_orchestrator.plan import JOINT, Source, Step, StepId, room, template_of
from ricochet_orchestrator.prompt import fill, places
from ricochet_orchestrator.segment import MIN_BUDGET, TokenCounter, pieces
from ricochet_protocol.conversation import Turn, texts_of_turns
from ricochet_protocol.errors import LocalFault

SEAM_TOKENS: Final = 8
"""Tokenizing the pieces of a prompt together may give a few tokens more than apart."""
REASON_TOKENS: Final = 128
_FEEDBACK: Final = "This answer was refused. {reason}\nAnswer again, in full, with that mended."
_FEEDBACK_TOKENS: Final = REASON_TOKENS + 32


class Answers(msgspec.Struct, frozen=True):
    """`passed` has the text of each slot whose answer passed, `given` that of each attempt."""

    passed: Mapping[StepId, str]
    given: Mapping[StepId, str]


def overhead(
    spec: ChainStep,
    parameters: Mapping[str, str],
    named: Mapping[str, int],
    count: TokenCounter,
) -> int:
    """Tokens of a step's calls besides `{text}`; `named` are those of the steps it names."""
    used = [name for name in places(spec.prompt) if name in named]
    blank = dict.fromkeys(named, "") | {TEXT: "", PREVIOUS: ""}
    values = _values(spec, parameters, blank)
    frames = [fill(spec.prompt, values), fill(spec.first, values)]
    tokens = max(map(count, frames)) + SEAM_TOKENS + sum(named[name] for name in used)
    if spec.system:
        tokens += count(fill(spec.system, values))
    if spec.mode == "refine":
        tokens += share(spec)
    if spec.schema is not None:
        tokens += count(canonical(spec.schema))
    if spec.checked and spec.retries:
        tokens += share(spec) + _FEEDBACK_TOKENS
    return tokens


def share(spec: ChainStep) -> int:
    """Tokens that an answer of a step may take in a later prompt."""
    return max(spec.max_tokens, MIN_BUDGET)


def turns_of(
    step: Step,
    shares: Mapping[StepId, int],
    material: Material,
    parameters: Mapping[str, str],
    answers: Answers,
    window: int,
    count: TokenCounter,
) -> tuple[tuple[Turn, ...], int]:
    """What to send, and its tokens by our count; `shares` are those of the steps it reads."""

    def read(source: StepId) -> str:
        return within(answers.passed[source].strip(), shares[source], count)

    written = JOINT.join(_written(one, material, read) for one in step.sources)
    places_of = {name: read(slot) for name, slot in step.named} | {TEXT: written}
    places_of[PREVIOUS] = "" if step.previous is None else read(step.previous)
    values = _values(step.spec, parameters, places_of)
    turns = []
    if step.spec.system:
        turns.append(Turn(role="system", content=fill(step.spec.system, values)))
    turns.append(Turn(role="user", content=fill(template_of(step.spec, step.previous), values)))
    if step.refused is not None:
        bad = within(answers.given[step.refused].strip(), share(step.spec), count)
        turns.append(Turn(role="assistant", content=bad))
        reason = within(step.reason, REASON_TOKENS, count)
        turns.append(Turn(role="user", content=fill(_FEEDBACK, {"reason": reason})))
    tokens = sum(map(count, texts_of_turns(turns)))
    if step.spec.schema is not None:
        # A provider that holds its model to the schema reads it too.
        tokens += count(canonical(step.spec.schema))
    if tokens > room(step.model, window, step.max_tokens):
        raise LocalFault(
            "prompt_too_long",
            f"A call of step {step.name} would exceed the window of {step.model}.",
            "Use a model with a larger window, or report this with the chain file.",
        )
    return tuple(turns), tokens


def within(text: str, tokens: int, count: TokenCounter) -> str:
    """`text`, or as much of it from the start as its share of a prompt allows."""
    budget = max(tokens, MIN_BUDGET)
    return text if count(text) <= budget else pieces(text, budget, count)[0].strip()


def _written(source: Source, material: Material, read: Callable[[StepId], str]) -> str:
    if source.segment is not None:
        text = material.segments[source.segment].shown
    else:
        text = source.text if source.step is None else read(source.step)
    if not source.label:
        return text
    return f"{source.label}{' ' if source.label.startswith('[') else chr(10)}{text}"


def _values(
    spec: ChainStep, parameters: Mapping[str, str], others: Mapping[str, str]
) -> dict[str, str]:
    schema = "" if spec.schema is None else canonical(spec.schema)
    return {**parameters, **others, SCHEMA: schema}
