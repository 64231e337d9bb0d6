"""How one chain step becomes calls: its inputs, and the mode that puts them into prompts.

Inputs of other steps are cited by id and take their worst case, unless content decides what they
are: items, filtered answers and quotations are there already, as texts.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from ricochet_orchestrator.answer_check import Judged
from ricochet_orchestrator.chain_language import PARTS, SEGMENTS, Chain, ChainStep
from ricochet_orchestrator.compose import overhead, share
from ricochet_orchestrator.conditions import fits, items_of
from ricochet_orchestrator.evidence import Passage, merged
from ricochet_orchestrator.material import Material
from ricochet_orchestrator.packing import divided, groups
from ricochet_orchestrator.plan import (
    JOINT_TOKENS,
    Source,
    Spans,
    Step,
    StepId,
    position_of,
    room,
    step_id,
    text_key,
    united,
)
from ricochet_orchestrator.prompt import places
from ricochet_orchestrator.segment import MIN_BUDGET, TokenCounter
from ricochet_protocol.errors import LocalFault, UsageError
from ricochet_protocol.ids import ModelId

LABEL_TOKENS: Final = 96
"""The most that what heads a segment takes."""
MAX_ITEMS: Final = 4096
"""Calls that one `each` makes: an answer that went astray must not cost without bound."""


class Made(msgspec.Struct, frozen=True):
    """An expanded chain step; `slots` are its answers, in order, with what each is about."""

    spec: ChainStep
    answers: tuple[Source, ...]

    @property
    def slots(self) -> tuple[StepId, ...]:
        """The ids of the answers."""
        return tuple(one.step for one in self.answers if one.step is not None)


class Ground:
    """What all chain steps of a run share: document, models, parameters, and the room they have."""

    def __init__(
        self,
        chain: Chain,
        material: Material,
        default: ModelId,
        windows: Mapping[ModelId, int],
        count: TokenCounter,
        parameters: Mapping[str, str],
    ) -> None:
        self.material = material
        self.count = count
        self.parameters = parameters
        self.models = {spec.name: spec.model or default for spec in chain.steps}
        self.space = {
            spec.name: room_for_text(spec, chain, default, windows, count, parameters)
            for spec in chain.steps
        }


def room_for_text(
    spec: ChainStep,
    chain: Chain,
    default: ModelId,
    windows: Mapping[ModelId, int],
    count: TokenCounter,
    parameters: Mapping[str, str],
) -> int:
    """Tokens that `{text}` may have in a step's calls; UsageError `window_too_small` for none."""
    shares = {one.name: share(one) for one in chain.steps}
    model = spec.model or default
    frame = overhead(spec, parameters, shares, count)
    space = room(model, windows[model], spec.max_tokens) - frame
    if space < MIN_BUDGET:
        raise UsageError(
            "window_too_small",
            f"Step {spec.name} leaves {max(space, 0)} tokens for text in the window of {model} "
            f"({windows[model]} tokens, {spec.max_tokens} of them for the answer); "
            f"at least {MIN_BUDGET} are needed.",
            "Choose a model with a larger window (`ricochet models list --available`), or a chain "
            "with shorter prompts and answers.",
        )
    return space


def segment_budget(
    chain: Chain,
    default: ModelId,
    windows: Mapping[ModelId, int],
    count: TokenCounter,
    parameters: Mapping[str, str],
) -> int:
    """Tokens a segment may have, so that every step over segments fits its model's window."""
    over = [spec for spec in chain.steps if spec.over == SEGMENTS]
    rooms = [
        room_for_text(spec, chain, default, windows, count, parameters)
        - (LABEL_TOKENS if spec.cites or spec.label else 0)
        for spec in over or chain.steps
    ]
    return min(rooms + [spec.segment for spec in over if spec.segment is not None])


class Calls:
    """Makes the calls of one chain step, in order."""

    def __init__(self, ground: Ground, spec: ChainStep, number: int) -> None:
        self.ground = ground
        self.spec = spec
        self.space = ground.space[spec.name]
        self.made: list[Step] = []
        self.named: tuple[tuple[str, Source], ...] = ()
        self._number = number

    def add(self, sources: Sequence[Source], before: Source | None = None) -> Source:
        """One more call, in a refine one that goes on from `before`; its answer, as an input."""
        spec, model = self.spec, self.ground.models[self.spec.name]
        previous = None if before is None else before.step
        named = tuple((name, one.step) for name, one in self.named if one.step is not None)
        found = step_id(spec, model, sources, previous, named, self.ground.parameters)
        read = [*sources, *(() if before is None else (before,))]
        spans = united(one.spans for one in (*read, *(one for _, one in self.named)))
        step = Step(
            id=found,
            slot=found,
            spec=spec,
            model=model,
            position=position_of(self._number, len(self.made), 0),
            sources=tuple(sources),
            spans=spans,
            previous=previous,
            named=named,
        )
        self.made.append(step)
        parts = {source.part for source in read}
        part = parts.pop() if len(parts) == 1 else None
        return Source(found, share(spec), spans, part, step=found)

    def too_small(self, tokens: int, what: str) -> UsageError:
        """The error for an input that no call of the step can hold."""
        return UsageError(
            "window_too_small",
            f"Step {self.spec.name} cannot hold {what} of {tokens} tokens in the window of "
            f"{self.ground.models[self.spec.name]}.",
            "Choose a model with a larger window (`ricochet models list --available`), or lower "
            "max_tokens in the chain.",
        )


def expanded(calls: Calls, made: Mapping[str, Made], held: Mapping[StepId, Judged]) -> Made:
    """The chain step's answers; its calls are in `calls.made`."""
    spec = calls.spec
    calls.named = tuple(
        (name, one.answers[0])
        for name, one in made.items()
        if one.answers and name in {*places(spec.prompt), *places(spec.first)}
    )
    sources = list(_labelled(_inputs(calls, made, held), spec, calls.ground))
    if not sources and spec.empty:
        text = spec.empty
        sources = [Source(text_key(text), calls.ground.count(text), (), None, text=text)]
    match spec.mode:
        case "map" | "each":
            if spec.mode == "map" and spec.over != PARTS:
                sources = divided(sources, calls.space, calls.ground.count)
            answers = [calls.add((source,)) for source in _each_fits(calls, sources)]
        case "reduce":
            answers = [one for part in _by_part(spec, sources) for one in _reduced(calls, part)]
        case "refine":
            answers = [one for part in _by_part(spec, sources) for one in _refined(calls, part)]
    return Made(spec, tuple(answers))


def _inputs(
    calls: Calls, made: Mapping[str, Made], held: Mapping[StepId, Judged]
) -> Iterator[Source]:
    """What the chain step reads, one by one."""
    spec, ground = calls.spec, calls.ground
    material = ground.material
    if spec.over == SEGMENTS:
        for segment in material.segments:
            span: Spans = ((segment.index, segment.index + 1),)
            yield Source(segment.identity, 0, span, segment.part, segment=segment.index)
        return
    if spec.over == PARTS:
        for part, text in enumerate(material.texts):
            span = (material.ranges[part],)
            yield Source(text_key(text), ground.count(text), span, part, text=text)
        return
    passages: list[tuple[Passage, StepId]] = []
    for name in spec.sources:
        for answer, slot in zip(made[name].answers, made[name].slots, strict=True):
            if made[name].spec.quotes:
                passages += ((one, slot) for one in held[slot].passages)
            elif spec.only is not None and not fits(spec.only, held[slot].value):
                continue
            elif spec.mode == "each":
                yield from _items(calls, answer, held[slot].value)
            else:
                yield answer if spec.only is None else _by_text(answer, held[slot].text, ground)
    passages.sort()
    left = iter([*passages, None])
    one = next(left)
    for passage in merged(found for found, _ in passages):
        # Each was merged into one, and both are in the document's order.
        origins: list[StepId] = []
        while one is not None and (one[0].part, one[0].start) < (passage.part, passage.end):
            origins.append(one[1])
            one = next(left)
        yield _passage(passage, tuple(dict.fromkeys(origins)), ground)


def _items(calls: Calls, answer: Source, value: Any) -> Iterator[Source]:
    """The items of one answer."""
    items = items_of(value, calls.spec.items)
    if items is None or len(items) > MAX_ITEMS:
        found = "no array" if items is None else f"{len(items)} items"
        raise LocalFault(
            "bad_items",
            f"Step {calls.spec.name} finds {found} at `{calls.spec.items or 'the answer'}`; "
            f"it takes an array of at most {MAX_ITEMS}.",
            "Have the schema of the step it is over require that array (`required`, `maxItems`).",
        )
    for item in items:
        yield _by_text(answer, item, calls.ground)


def _by_text(answer: Source, text: str, ground: Ground) -> Source:
    """What an answer said, or a part of it, as an input that is there already."""
    origins = () if answer.step is None else (answer.step,)
    return Source(
        text_key(text), ground.count(text), answer.spans, answer.part, text=text, origins=origins
    )


def _passage(passage: Passage, origins: tuple[StepId, ...], ground: Ground) -> Source:
    material = ground.material
    text = material.texts[passage.part][passage.start : passage.end].strip()
    first = material.segment_at(passage.part, passage.start)
    last = material.segment_at(passage.part, passage.end - 1)
    span = ((first, last + 1),)
    return Source(
        text_key(text), ground.count(text), span, passage.part, text=text, origins=origins
    )


def _labelled(sources: Iterator[Source], spec: ChainStep, ground: Ground) -> Iterator[Source]:
    """The sources with what heads them: nothing where an input is about several."""
    for source in sources:
        label = ""
        if spec.cites or spec.label == "segment":
            if len(source.spans) == 1 and (source.step is None or _single(source.spans)):
                label = f"[{source.spans[0][0] + 1}]"
        elif spec.label == "part" and source.part is not None:
            label = ground.material.label(source.part)
        tokens = source.tokens + (ground.count(label) + JOINT_TOKENS if label else 0)
        yield msgspec.structs.replace(source, label=label, tokens=tokens) if label else source


def _single(spans: Spans) -> bool:
    return spans[0][1] - spans[0][0] == 1


def _each_fits(calls: Calls, sources: Sequence[Source]) -> Sequence[Source]:
    """For one input a call, which no planning can make smaller; UsageError where it is too long."""
    for source in sources:
        if source.segment is None and source.tokens > calls.space:
            what = "an answer" if source.step else "a text"
            if calls.spec.over == PARTS and source.part is not None:
                what = f"the file {calls.ground.material.document.parts[source.part].name}"
            raise calls.too_small(source.tokens, what)
    return sources


def _by_part(spec: ChainStep, sources: Sequence[Source]) -> list[list[Source]]:
    if spec.per is None:
        return [list(sources)] if sources else []
    found: dict[int | None, list[Source]] = {}
    for source in sources:
        found.setdefault(source.part, []).append(source)
    return list(found.values())


def _reduced(calls: Calls, sources: Sequence[Source]) -> Sequence[Source]:
    """One level with `group`, else as many as it takes to reach one answer."""
    spec = calls.spec
    sources = divided(sources, calls.space, calls.ground.count)
    while True:
        packed = groups(sources, calls.space, spec.group)
        if packed is None:
            raise calls.too_small(max(one.tokens for one in sources), "two answers")
        made = [calls.add(group) for group in packed]
        if spec.group is not None or len(made) == 1:
            return made
        sources = list(_labelled(iter(made), spec, calls.ground))


def _refined(calls: Calls, sources: Sequence[Source]) -> Sequence[Source]:
    """One answer after the other; the last one is the result."""
    sources = divided(sources, calls.space, calls.ground.count)
    packed: Sequence[tuple[Source, ...]] | None = [(source,) for source in sources]
    if calls.spec.group is not None:
        packed = groups(sources, calls.space, calls.spec.group)
    if packed is None:
        raise calls.too_small(max(one.tokens for one in sources), "two answers")
    _each_fits(calls, sources)
    before: Source | None = None
    for group in packed:
        before = calls.add(group, before)
    return [] if before is None else [before]
