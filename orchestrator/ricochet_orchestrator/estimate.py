"""What a run would take, before any call: a function of plan, offers and history.

The plan is grown as a run grows it, with stand-ins for answers that are not stored yet: text of the
length that an answer is expected to have, the shortest seen, or `max_tokens`. So prompts are built
and counted, those that read answers included. Stored answers stand for themselves and cost nothing.

The lower end takes the cheapest offer and the shortest answers, the upper end the dearest offer,
every answer at `max_tokens`, every bill at what the rules allow it to be and every retry used: no
run costs more, save for what failing nodes keep. Steps whose number only the content of answers
decides cannot be told in advance; they are named.
"""

import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Literal

import msgspec

from ricochet_orchestrator.checkpoint import Kind, Seen
from ricochet_orchestrator.growth import Growth
from ricochet_orchestrator.plan import Step, StepId, needed_window
from ricochet_orchestrator.route import ANSWER_PERCENT, Candidate
from ricochet_orchestrator.routing import Strategy
from ricochet_protocol.ids import ModelId
from ricochet_protocol.money import Units, cost
from ricochet_protocol.steps import Metered

SHORTEST_PERCENT: Final = 10
"""Of `max_tokens`, for the lower end, where no answer of the kind was seen."""
GUESSED_START: Final = 1.0
"""Seconds to the first token where no call was timed; "guessed" is said beside the estimate."""
GUESSED_PACE: Final = 40.0
"""Tokens a second, likewise."""
End = Literal["low", "likely", "high"]


class Call(msgspec.Struct, frozen=True):
    """One call that would be made."""

    step: Step
    counted: int
    tokens_out: int


class ModelUse(msgspec.Struct, frozen=True):
    """Calls of one model, and who could take them."""

    model: ModelId
    window: int
    calls: int
    peers: tuple[Candidate, ...]


class Estimate(msgspec.Struct, frozen=True):
    """Amounts in units; tokens and seconds as they are likely. `timed`: from calls seen before.

    `open_steps` are those whose calls only the content of answers decides: they come on top.
    """

    segments: int
    calls: int
    stored: int
    tokens_in: int
    tokens_out: int
    cost_low: Units
    cost: Units
    cost_high: Units
    seconds: float
    timed: bool
    models: tuple[ModelUse, ...]
    open_steps: tuple[str, ...]


class Basis(msgspec.Struct, frozen=True):
    """What an estimate is made from. `stored` gives the text of answers that are there."""

    windows: Mapping[ModelId, int]
    offers: Mapping[ModelId, Sequence[Candidate]]
    history: Mapping[Kind, Seen]
    stored: Callable[[Sequence[StepId]], Mapping[StepId, str]]
    strategy: Strategy = "balanced"


def estimate(made: Callable[[], Growth], basis: Basis) -> Estimate:
    """The estimate for a plan; `made` makes it, as it is before the first answer."""
    growth = made()
    calls, stored = _calls(growth, basis, "likely")
    low, _ = _calls(made(), basis, "low")
    high, _ = _calls(made(), basis, "high")
    seconds, timed = _makespan(calls, basis)
    return Estimate(
        segments=len(growth.material.segments),
        calls=len(calls),
        stored=stored,
        tokens_in=sum(call.counted for call in calls),
        tokens_out=sum(call.tokens_out for call in calls),
        cost_low=Units(sum(_cheapest(call, basis) for call in low)),
        cost=Units(round(sum(_likely(call, basis) for call in calls))),
        cost_high=Units(sum(_dearest(call, basis) for call in high)),
        seconds=seconds,
        timed=timed,
        models=tuple(_uses(calls, basis)),
        open_steps=growth.unexpanded,
    )


def _calls(growth: Growth, basis: Basis, end: End) -> tuple[list[Call], int]:
    """The calls that would be made, in order of dependency, and how many answers are stored."""
    calls: list[Call] = []
    stored = 0
    waiting: list[Step] = growth.fresh()
    while waiting:
        known = basis.stored([step.id for step in waiting])
        for step in waiting:
            text = known.get(step.id)
            if text is not None:
                stored += 1
            else:
                _, counted = growth.turns(step, basis.windows[step.model])
                tokens = _length(step, basis, end)
                calls.append(Call(step, counted, tokens))
                text = _stand_in(step, growth, tokens)
            growth.stand_in(step.id, text)
        waiting = growth.fresh()
    return calls, stored


def _length(step: Step, basis: Basis, end: End) -> int:
    seen = basis.history.get(Kind(step.name, step.model, step.max_tokens))
    if end == "high":
        return step.max_tokens
    if end == "low":
        part = step.max_tokens * SHORTEST_PERCENT // 100
        return max(1, part if seen is None else seen.least)
    usual = step.max_tokens * ANSWER_PERCENT / 100 if seen is None else seen.mean
    return max(1, round(usual))


def _stand_in(step: Step, growth: Growth, tokens: int) -> str:
    """Text of so many tokens; of a step that quotes, the beginning of what it reads."""
    if step.spec.quotes and step.segments:
        text = growth.material.segments[step.segments[0]].text
        return text[: 4 * tokens]
    return " word" * tokens


def _able(call: Call, basis: Basis) -> Sequence[Candidate]:
    """Who could take a call; all that offer the model when a stand-in made its prompt too long."""
    step = call.step
    window = needed_window(step.model, call.counted, step.max_tokens)
    offers = basis.offers[step.model]
    return [one for one in offers if one.offer.context >= window] or offers


def _price(call: Call, one: Candidate) -> Units:
    return cost(call.counted, call.tokens_out, one.offer.price_in, one.offer.price_out)


def _cheapest(call: Call, basis: Basis) -> int:
    return min(int(_price(call, one) * min(1.0, one.surplus)) for one in _able(call, basis))


def _likely(call: Call, basis: Basis) -> float:
    """By whom it would be taken: everybody by what he takes at once, or the cheapest alone."""
    able = _able(call, basis)
    if basis.strategy == "cheapest":
        return min(_price(call, one) * one.surplus for one in able)
    weight = sum(one.limit for one in able)
    return sum(_price(call, one) * one.surplus * one.limit for one in able) / weight


def _dearest(call: Call, basis: Basis) -> int:
    metered = (
        Metered(one.offer, call.counted, call.step.max_tokens).worst for one in _able(call, basis)
    )
    return max(metered) * (1 + call.step.spec.retries)


def _makespan(calls: Sequence[Call], basis: Basis) -> tuple[float, bool]:
    """When the last call would end with as many at once as the nodes take, in order of the plan."""
    free: dict[ModelId, list[float]] = {
        model: [0.0] * max(1, sum(one.limit for one in offers))
        for model, offers in basis.offers.items()
    }
    ends: dict[StepId, float] = {}
    timed = True
    for call in calls:
        step = call.step
        seen = basis.history.get(Kind(step.name, step.model, step.max_tokens))
        timed = timed and seen is not None
        takes = GUESSED_START + call.tokens_out / GUESSED_PACE if seen is None else seen.seconds
        slot = heapq.heappop(free[step.model])
        start = max([slot, *(ends.get(source, 0.0) for source in step.inputs)])
        ends[step.slot] = start + takes
        heapq.heappush(free[step.model], start + takes)
    return max(ends.values(), default=0.0), timed and bool(calls)


def _uses(calls: Iterable[Call], basis: Basis) -> Iterable[ModelUse]:
    for model, offers in basis.offers.items():
        number = sum(call.step.model == model for call in calls)
        yield ModelUse(model, basis.windows[model], number, tuple(offers))
