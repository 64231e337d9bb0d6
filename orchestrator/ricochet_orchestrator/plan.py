"""Turns a chain and a document into a static graph of calls, before the first one is made.

A step's id is the hash of its model, prompt, parameters and inputs, where an input is a segment's
hash or another step's id. So ids depend on content alone: a changed paragraph changes its own
segment's steps and what depends on them, and equal calls (a paragraph that occurs twice) are one
step, whose answer is used twice.

No call can exceed its model's window: prompts are budgeted in tokens of our counter, with a margin
for the model's own tokenizer, an answer's share in a later prompt is its `max_tokens`, and an
answer that turns out longer is cut at a sentence. A reduce whose inputs could exceed the window is
planned in several levels.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Final, NewType

import msgspec

from ricochet_orchestrator.chains import PLACEHOLDER, SEGMENTS, Chain, ChainStep
from ricochet_orchestrator.segment import MIN_BUDGET, Segment, TokenCounter, pieces
from ricochet_orchestrator.tokenizers import margin
from ricochet_protocol.errors import LocalFault, UsageError
from ricochet_protocol.ids import ModelId
from ricochet_protocol.usage import TEMPLATE_TOKENS

StepId = NewType("StepId", str)
"""64 hex digits."""

_JOINT: Final = "\n\n"
_JOINT_TOKENS: Final = 2
_SEAM_TOKENS: Final = 8
"""Tokenizing the pieces of a prompt together may give a few tokens more than apart."""


class Step(msgspec.Struct, frozen=True):
    """One call. It reads either segments (by index) or the answers of other steps, in order."""

    id: StepId
    name: str
    role: str
    model: ModelId
    prompt: str
    max_tokens: int
    temperature: float
    segments: tuple[int, ...] = ()
    inputs: tuple[StepId, ...] = ()


class Plan(msgspec.Struct, frozen=True):
    """`steps` are in order of dependency; the result is the answers of `outputs`, in order."""

    segments: tuple[Segment, ...]
    steps: Mapping[StepId, Step]
    outputs: tuple[StepId, ...]


def room(model: ModelId, window: int, max_tokens: int) -> int:
    """Tokens, by our count, that a prompt may have in a model's window."""
    return (window - max_tokens - TEMPLATE_TOKENS) * 100 // margin(model)


def needed_window(model: ModelId, counted: int, max_tokens: int) -> int:
    """The window a call needs whose prompt we count as `counted` tokens: the inverse of `room`."""
    return -(-counted * margin(model) // 100) + TEMPLATE_TOKENS + max_tokens


def segment_budget(
    chain: Chain, default: ModelId, windows: Mapping[ModelId, int], count: TokenCounter
) -> int:
    """Tokens a segment may have, so that every step over segments fits its model's window."""
    return min(
        _room_for_text(step, model, windows[model], count)
        for step in chain.steps
        for model in (step.model or default,)
        if step.over == SEGMENTS
    )


def make_plan(
    chain: Chain,
    segments: tuple[Segment, ...],
    default: ModelId,
    windows: Mapping[ModelId, int],
    count: TokenCounter,
) -> Plan:
    """The graph; UsageError `window_too_small` when two answers of a step cannot be joined."""
    steps: dict[StepId, Step] = {}
    answers: dict[str, tuple[Step, ...]] = {}
    for spec in chain.steps:
        model = spec.model or default
        if spec.over == SEGMENTS:
            made = tuple(_over_segment(spec, model, segment) for segment in segments)
        elif spec.mode == "map":
            made = tuple(_over_steps(spec, model, (one,)) for one in answers[spec.over])
        else:
            space = _room_for_text(spec, model, windows[model], count)
            levels = list(_reduced(spec, model, answers[spec.over], space))
            for level in levels[:-1]:
                steps |= {step.id: step for step in level}
            made = levels[-1]
        _check_inputs_fit(spec, made, steps, windows[model], count)
        steps |= {step.id: step for step in made}
        answers[spec.name] = made
    outputs = tuple(step.id for step in answers[chain.last.name])
    return Plan(segments=segments, steps=steps, outputs=outputs)


def prompt_of(
    step: Step, plan: Plan, answers: Mapping[StepId, str], window: int, count: TokenCounter
) -> str:
    """The text to send; `answers` holds those of the step's inputs."""
    if step.segments:
        text = "".join(plan.segments[index].shown for index in step.segments)
    else:
        text = _JOINT.join(
            _within(answers[source].strip(), plan.steps[source].max_tokens, count)
            for source in step.inputs
        )
    prompt = step.prompt.replace(PLACEHOLDER, text)
    if count(prompt) > room(step.model, window, step.max_tokens):
        raise LocalFault(
            "prompt_too_long",
            f"A call of step {step.name} would exceed the window of {step.model}.",
            "Use a model with a larger window, or report this with the chain file.",
        )
    return prompt


def _within(text: str, share: int, count: TokenCounter) -> str:
    """`text`, or as much of it from the start as its share of a prompt allows."""
    budget = max(share, MIN_BUDGET)
    return text if count(text) <= budget else pieces(text, budget, count)[0].strip()


def _reduced(
    spec: ChainStep, model: ModelId, inputs: tuple[Step, ...], space: int
) -> Iterator[tuple[Step, ...]]:
    """The levels of a reduce: one with `group`, else as many as it takes to reach one answer."""
    while True:
        fit = space // (max(max(step.max_tokens for step in inputs), MIN_BUDGET) + _JOINT_TOKENS)
        size = fit if spec.group is None else min(fit, spec.group)
        if size < min(2, len(inputs)):
            raise UsageError(
                "window_too_small",
                f"Step {spec.name} cannot join answers of {inputs[0].max_tokens} tokens "
                f"in the window of {model}.",
                "Choose a model with a larger window, or lower max_tokens in the chain.",
            )
        inputs = tuple(_over_steps(spec, model, group) for group in _groups(inputs, size))
        yield inputs
        if spec.group is not None or len(inputs) == 1:
            return


def _groups(inputs: Sequence[Step], size: int) -> list[Sequence[Step]]:
    """As few groups as `size` allows, as even as they can be, so that none holds a lone answer."""
    number = -(-len(inputs) // size)
    bounds = [len(inputs) * index // number for index in range(number + 1)]
    return [inputs[start:end] for start, end in pairwise(bounds)]


def _room_for_text(spec: ChainStep, model: ModelId, window: int, count: TokenCounter) -> int:
    frame = count(spec.prompt.replace(PLACEHOLDER, ""))
    return room(model, window, spec.max_tokens) - frame - _SEAM_TOKENS


def _check_inputs_fit(
    spec: ChainStep,
    made: Sequence[Step],
    earlier: Mapping[StepId, Step],
    window: int,
    count: TokenCounter,
) -> None:
    """A map over answers has one input a call, which no planning can make smaller."""
    if spec.mode != "map" or spec.over == SEGMENTS:
        return
    most = max(earlier[source].max_tokens for step in made for source in step.inputs)
    if max(most, MIN_BUDGET) > _room_for_text(spec, made[0].model, window, count):
        raise UsageError(
            "window_too_small",
            f"An answer of {most} tokens does not fit the window of step {spec.name}'s model.",
            "Choose a model with a larger window, or lower max_tokens in the chain.",
        )


def _over_segment(spec: ChainStep, model: ModelId, segment: Segment) -> Step:
    return _step(spec, model, (segment.identity,), segments=(segment.index,))


def _over_steps(spec: ChainStep, model: ModelId, inputs: Sequence[Step]) -> Step:
    sources = tuple(step.id for step in inputs)
    return _step(spec, model, sources, inputs=sources)


def _step(
    spec: ChainStep,
    model: ModelId,
    sources: Sequence[str],
    segments: tuple[int, ...] = (),
    inputs: tuple[StepId, ...] = (),
) -> Step:
    content = ["ricochet/step/1", model, spec.prompt, spec.max_tokens, spec.temperature, *sources]
    digest = hashlib.sha256(json.dumps(content, separators=(",", ":")).encode()).hexdigest()
    return Step(
        id=StepId(digest),
        name=spec.name,
        role=spec.role,
        model=model,
        prompt=spec.prompt,
        max_tokens=spec.max_tokens,
        temperature=spec.temperature,
        segments=segments,
        inputs=inputs,
    )
