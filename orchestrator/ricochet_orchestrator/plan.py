"""What a plan is made of: calls, what each reads, and how large that may be.

A step's id is the hash of its model, prompt, parameters and inputs, where an input is a segment's
hash, another step's id, or the hash of a text that answers yielded. So ids depend on content alone:
a changed paragraph changes its own segment's steps and what depends on them, and equal calls (a
paragraph that occurs twice) are one step, whose answer is used twice.

No call can exceed its model's window: prompts are budgeted in tokens of our counter, with a margin
for the model's own tokenizer; an answer's share in a later prompt is its `max_tokens`, and an
answer that turns out longer is cut at a sentence. `growth` makes steps, `compose` their prompts.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NewType

import msgspec

from ricochet_orchestrator.answer_schema import canonical
from ricochet_orchestrator.chain_language import ChainStep
from ricochet_orchestrator.prompt import places
from ricochet_orchestrator.tokenizers import margin
from ricochet_protocol.ids import ModelId
from ricochet_protocol.usage import TEMPLATE_TOKENS

StepId = NewType("StepId", str)
"""64 hex digits."""
Spans = tuple[tuple[int, int], ...]
"""Ranges of segments (first, one behind the last), ascending and apart."""

JOINT: Final = "\n\n"
JOINT_TOKENS: Final = 2
_ATTEMPT_BITS: Final = 3
_ORDINAL_BITS: Final = 22
"""Calls of one chain step: 4 million. With 64 chain steps, positions have 31 bits."""


class Source(msgspec.Struct, frozen=True):
    """One input: a segment, another step's answer, or a text that the answers of `origins` yielded.

    `key` stands for it in ids; `tokens` is the most it takes in a prompt; `spans` are the segments
    it comes from and `part` their file, None for several.
    """

    key: str
    tokens: int
    spans: Spans
    part: int | None
    segment: int | None = None
    step: StepId | None = None
    text: str = ""
    label: str = ""
    origins: tuple[StepId, ...] = ()


class Step(msgspec.Struct, frozen=True):
    """One call. `slot` is the id that others cite: the step's own, or that of its first attempt.

    `spans` are the segments that reach it, through whatever steps. A later `attempt` follows one
    whose answer was `refused`, for a reason.
    """

    id: StepId
    slot: StepId
    spec: ChainStep
    model: ModelId
    position: int
    sources: tuple[Source, ...]
    spans: Spans
    previous: StepId | None = None
    named: tuple[tuple[str, StepId], ...] = ()
    attempt: int = 0
    refused: StepId | None = None
    reason: str = ""

    @property
    def name(self) -> str:
        """The chain step it is a call of."""
        return self.spec.name

    @property
    def role(self) -> str:
        """The role of the chain step."""
        return self.spec.role

    @property
    def max_tokens(self) -> int:
        """The most tokens its answer has."""
        return self.spec.max_tokens

    @property
    def segments(self) -> tuple[int, ...]:
        """The segments it reads directly, as such or as whole files."""
        direct = (one for one in self.sources if one.step is None and not one.origins)
        return tuple(number for one in direct for span in one.spans for number in range(*span))

    @property
    def inputs(self) -> tuple[StepId, ...]:
        """The steps whose answers it reads, or whose answers led to what it reads, in order."""
        read = [one.step for one in self.sources if one.step is not None]
        read += dict.fromkeys(origin for one in self.sources for origin in one.origins)
        read += [] if self.previous is None else [self.previous]
        return (*read, *(step for _, step in self.named))


class Plan(msgspec.Struct, frozen=True):
    """What is known of a run's calls, in order; the result is the answers of `outputs`, in order.

    `whole`: no answer can add steps, except by being refused.
    """

    steps: Mapping[StepId, Step]
    outputs: tuple[StepId, ...]
    whole: bool


def room(model: ModelId, window: int, max_tokens: int) -> int:
    """Tokens, by our count, that a prompt may have in a model's window."""
    return (window - max_tokens - TEMPLATE_TOKENS) * 100 // margin(model)


def needed_window(model: ModelId, counted: int, max_tokens: int) -> int:
    """The window a call needs whose prompt we count as `counted` tokens: the inverse of `room`."""
    return -(-counted * margin(model) // 100) + TEMPLATE_TOKENS + max_tokens


def position_of(chain_step: int, ordinal: int, attempt: int) -> int:
    """Where a step stands in its run's order, whenever it became known."""
    return (chain_step << _ORDINAL_BITS | ordinal) << _ATTEMPT_BITS | attempt


def united(spans: Iterable[Spans]) -> Spans:
    """All ranges as one."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted({one for group in spans for one in group}):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return tuple(merged)


def text_key(text: str) -> str:
    """What stands for a text in an id."""
    return "text:" + hashlib.sha256(text.encode()).hexdigest()


def step_id(
    spec: ChainStep,
    model: ModelId,
    sources: Sequence[Source],
    previous: StepId | None,
    named: Sequence[tuple[str, StepId]],
    parameters: Mapping[str, str],
) -> StepId:
    """The id of a first attempt: everything that decides the call and what passes as its answer."""
    prompt = template_of(spec, previous)
    used = {*places(prompt), *places(spec.system)}
    values = {name: parameters[name] for name in sorted(used & set(parameters))}
    keys: list[Any] = [one.key if not one.label else [one.key, one.label] for one in sources]
    options: dict[str, Any] = {
        "system": spec.system,
        "top_p": spec.top_p,
        "stop": spec.stop,
        "seed": spec.seed,
        "schema": None if spec.schema is None else canonical(spec.schema),
        "cites": spec.cites,
        "quotes": spec.quotes,
        "previous": previous,
        "named": list(named),
        "values": values,
    }
    # What is left out when it says nothing new keeps the ids of stores that were written before it.
    said = {name: value for name, value in options.items() if value and value != 1.0}
    if spec.seed is not None:
        said["seed"] = spec.seed
    content = [model, prompt, spec.max_tokens, spec.temperature]
    plain = not said and not any(isinstance(key, list) for key in keys)
    return _digest(
        ["ricochet/step/1", *content, *keys] if plain else ["ricochet/step/2", *content, said, keys]
    )


def attempt_id(slot: StepId, attempt: int, refused: StepId, reason: str) -> StepId:
    """The id of a later attempt, which sees the refused answer and the reason."""
    return _digest(["ricochet/attempt/1", slot, attempt, refused, reason])


def template_of(spec: ChainStep, previous: StepId | None) -> str:
    """The prompt a call uses: a refine's first call has one of its own."""
    return spec.first if spec.mode == "refine" and previous is None else spec.prompt


def _digest(content: list[Any]) -> StepId:
    text = json.dumps(content, separators=(",", ":"))
    return StepId(hashlib.sha256(text.encode()).hexdigest())
