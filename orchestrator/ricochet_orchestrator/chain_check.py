"""What makes a chain file's fields a chain: rules within a step, and between steps.

Each rule gives the field and the reason, and `chains` puts the file's name before them. Steps come
back in order of dependency with the chain's one end last.
"""

import re
from collections.abc import Iterator
from typing import Final

import msgspec

from ricochet_orchestrator.answer_schema import problem_of
from ricochet_orchestrator.chain_language import (
    PARTS,
    PREVIOUS,
    RESERVED,
    SCHEMA,
    SEGMENTS,
    TEXT,
    Chain,
    ChainStep,
    Condition,
    Filter,
)
from ricochet_orchestrator.prompt import places
from ricochet_protocol.conversation import check_stops
from ricochet_protocol.money import parse_dollars

NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
MAX_STEPS: Final = 64
MAX_ANSWER: Final = 32_768
"""More tokens than any model here answers in one call."""
MAX_RETRIES: Final = 5
MAX_GROUP: Final = 1024
_BAD_NAME: Final = "use lower-case letters, digits, `-` and `_`, at most 64"
Problem = tuple[str, str]
"""A field's path, and what is wrong with it."""


class NotAChainError(Exception):
    """The first problem found."""

    def __init__(self, field: str, why: str) -> None:
        super().__init__(f"field `{field}`: {why}")


def checked(chain: Chain) -> Chain:
    """The chain with its steps in order; NotAChainError."""
    if not NAME.fullmatch(chain.name):
        raise NotAChainError("name", _BAD_NAME)
    if not 0 < len(chain.steps) <= MAX_STEPS:
        raise NotAChainError("steps", f"a chain has 1 to {MAX_STEPS} steps")
    for index, step in enumerate(chain.steps):
        for field, why in (*_alone(step), *_options(step), *_inputs(step)):
            raise NotAChainError(f"steps[{index}].{field}", why)
    _check_names(chain)
    ordered = _ordered(chain)
    for index, step in enumerate(chain.steps):
        for field, why in (*_references(step, chain), *_placeholders(step, chain)):
            raise NotAChainError(f"steps[{index}].{field}", why)
    return msgspec.structs.replace(chain, steps=ordered)


def reads(step: ChainStep, names: frozenset[str]) -> frozenset[str]:
    """Which of the steps called `names` come before this one, those in prompts included."""
    named = {name for _, text in step.templates for name in places(text)}
    over = () if step.over_document else step.sources
    return frozenset({*over, *named, *(one.step for one in step.when)}) & names


def _alone(step: ChainStep) -> Iterator[Problem]:
    """Problems of the fields that every step has."""
    if not NAME.fullmatch(step.name) or step.name in RESERVED:
        yield "name", f"{_BAD_NAME}; {', '.join(sorted(RESERVED))} are taken"
    if not 0 < len(step.role) <= 64 or not step.role.isprintable():
        yield "role", "a role has 1 to 64 printable characters"
    if not 0 < step.max_tokens <= MAX_ANSWER:
        yield "max_tokens", f"from 1 to {MAX_ANSWER}"
    if not 0.0 <= step.temperature <= 2.0:
        yield "temperature", "from 0 to 2"
    if not 0.0 < step.top_p <= 1.0:
        yield "top_p", "above 0, up to 1"
    if step.seed is not None and not -(2**63) <= step.seed < 2**63:
        yield "seed", "a number of at most 64 bits"
    if step.model is not None and not (0 < len(step.model) <= 128 and step.model.isprintable()):
        yield "model", "a model id has 1 to 128 printable characters"
    try:
        check_stops(step.stop)
    except ValueError as error:
        yield "stop", str(error)


def _options(step: ChainStep) -> Iterator[Problem]:
    """Problems of checks, retries, budgets, conditions and filters."""
    if not 0 <= step.retries <= MAX_RETRIES:
        yield "retries", f"from 0 to {MAX_RETRIES}"
    if step.budget is not None:
        try:
            if not parse_dollars(step.budget):
                yield "budget", "more than nothing"
        except ValueError as error:
            yield "budget", f'dollars as text, such as "0.05": {error}'
    if step.schema is not None and (found := problem_of(step.schema)):
        yield f"schema{found[0]}", found[1]
    if step.quotes and (step.schema is not None or step.mode != "map" or step.over != SEGMENTS):
        yield "quotes", f"only a map over {SEGMENTS} copies lines, and without a schema"
    for index, one in enumerate(step.when):
        if not _states_one(one):
            yield f"when[{index}]", "exactly one of `count`, `empty` and `equals`"
        if one.count is not None and (one.field or one.count == type(one.count)()):
            yield f"when[{index}].count", "`min` or `max` or both, without a `field`"
    if step.only is not None and not _states_one(step.only):
        yield "only", "exactly one of `empty` and `equals`"


def _states_one(test: Condition | Filter) -> bool:
    stated = [test.empty is not None, test.equals is not msgspec.UNSET]
    if isinstance(test, Condition):
        stated.append(test.count is not None)
    return sum(stated) == 1


def _inputs(step: ChainStep) -> Iterator[Problem]:
    """Problems of where the inputs come from and how they are put together."""
    sources = step.sources
    if not sources or len(set(sources)) < len(sources):
        yield "over", "one or more, each once"
    if len(sources) > 1 and not {SEGMENTS, PARTS}.isdisjoint(sources):
        yield "over", f"{SEGMENTS} and {PARTS} stand alone"
    if step.mode == "reduce" and step.over_document:
        yield "over", "a reduce goes over the answers of another step: map the segments first"
    if step.segment is not None and (step.over != SEGMENTS or not 64 <= step.segment <= 2**20):
        yield "segment", f"from 64 to {2**20} tokens, of a step over {SEGMENTS}"
    if step.mode == "each" and step.over_document:
        yield "over", "an each goes over the items of another step's JSON answers"
    if step.group is not None and (step.mode not in ("reduce", "refine") or step.over_document):
        yield "group", "only a reduce or refine over steps groups its inputs"
    if step.group is not None and not 2 <= step.group <= MAX_GROUP:
        yield "group", f"from 2 to {MAX_GROUP}"
    if step.items and step.mode != "each":
        yield "items", "only an each has items"
    if step.only is not None and step.over_document:
        yield "only", "only answers of other steps can be chosen from"
    if step.per is not None and step.mode not in ("reduce", "refine"):
        yield "per", "only a reduce or refine is made for each file"
    if step.empty and step.mode != "reduce":
        yield "empty", "only a reduce can have no inputs and yet make a call"
    if bool(step.first) != (step.mode == "refine"):
        yield "first", "a refine, and nothing else, has a prompt for the first call"
    if step.cites and step.label == "part":
        yield "label", "a step that cites shows segments' numbers"


def _check_names(chain: Chain) -> None:
    seen: set[str] = set()
    for index, step in enumerate(chain.steps):
        if step.name in seen:
            raise NotAChainError(f"steps[{index}].name", f"{step.name!r} is there twice")
        seen.add(step.name)
    for name in chain.parameters:
        if not NAME.fullmatch(name) or name in RESERVED or name in seen:
            taken = "that is the name of a step" if name in seen else _BAD_NAME
            raise NotAChainError(f"parameters.{name}", taken)


def _references(step: ChainStep, chain: Chain) -> Iterator[Problem]:
    """Problems that show once all steps are known, and known not to wait in a circle."""
    steps = {one.name: one for one in chain.steps}
    over = () if step.over_document else step.sources
    for name in over:
        if (step.mode == "each" or step.only is not None) and steps[name].schema is None:
            field = "over" if step.mode == "each" else "only"
            yield field, f"step {name!r} has no `schema`, so its answers have no fields"
        if step.per is not None and not of_one_part(steps[name], steps):
            yield "per", f"answers of {name!r} are about several files together"
    for index, one in enumerate(step.when):
        if one.field and steps[one.step].schema is None:
            yield f"when[{index}].field", f"step {one.step!r} has no `schema`"


def of_one_part(step: ChainStep, steps: dict[str, ChainStep]) -> bool:
    """Whether each of the step's answers comes from one file only."""
    if step.mode in ("reduce", "refine"):
        return step.per is not None
    return step.over_document or all(of_one_part(steps[name], steps) for name in step.sources)


def _answers_once(step: ChainStep) -> bool:
    joins = step.mode == "refine" or (step.mode == "reduce" and step.group is None)
    return joins and step.per is None


def _placeholders(step: ChainStep, chain: Chain) -> Iterator[Problem]:
    single = {one.name for one in chain.steps if _answers_once(one)} - {step.name}
    for field, template in step.templates:
        names = places(template)
        if field != "system" and names.count(TEXT) != 1:
            yield field, "the prompt holds {text} exactly once, where the inputs go"
        wanted = 1 if field == "prompt" and step.mode == "refine" else 0
        if names.count(PREVIOUS) != wanted:
            yield field, "{previous} belongs into the `prompt` of a refine, exactly once"
        if SCHEMA in names and step.schema is None:
            yield field, "{schema} stands for the step's `schema`, and there is none"
        known = {*chain.parameters, SCHEMA}
        if field != "system":
            known |= {TEXT, PREVIOUS, *single}
        for name in names:
            if name not in known:
                listed = ", ".join(sorted(known))
                yield (
                    field,
                    f"{{{name}}} is neither a parameter nor a step with one answer here "
                    f"(known: {listed}); write {{{{{name}}}}} for the literal text",
                )


def _ordered(chain: Chain) -> tuple[ChainStep, ...]:
    """Steps in order of dependency with the chain's one end last; refuses anything else."""
    names = frozenset(step.name for step in chain.steps)
    for index, step in enumerate(chain.steps):
        for name in () if step.over_document else step.sources:
            if name not in names:
                listed = ", ".join([SEGMENTS, PARTS, *(one.name for one in chain.steps)])
                raise NotAChainError(f"steps[{index}].over", f"no {name!r} here, only {listed}")
        for number, one in enumerate(step.when):
            if one.step not in names:
                raise NotAChainError(f"steps[{index}].when[{number}].step", f"no step {one.step!r}")
    needs = {step.name: reads(step, names) for step in chain.steps}
    ordered: list[ChainStep] = []
    done: set[str] = set()
    waiting = list(chain.steps)
    while waiting:
        ready = [step for step in waiting if needs[step.name] <= done]
        if not ready:
            circle = ", ".join(step.name for step in waiting)
            raise NotAChainError("steps", f"{circle} wait for each other in a circle")
        ordered += ready
        done |= {step.name for step in ready}
        waiting = [step for step in waiting if step.name not in done]
    used = frozenset().union(*needs.values())
    ends = [step for step in ordered if step.name not in used]
    if len(ends) != 1:
        listed = ", ".join(step.name for step in ends)
        raise NotAChainError("steps", f"a chain has one end, this one has {listed}")
    return (*(step for step in ordered if step is not ends[0]), ends[0])
