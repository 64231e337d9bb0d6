"""Turns a chain into calls, as far as the answers that are there decide it.

`grow` is the rule: a function of chain, document, parameters, windows and answers. `Growth`
computes the same in small steps while answers come, in any order, each in time that does not depend
on how many came before. A chain step is *expanded* into its calls once the steps it reads are
expanded, or, where the content of answers decides (`each`, `only`, `when`, quotations), once all of
those have passed. One without inputs, or whose conditions do not hold, has no calls.

An answer that is refused makes one more call known, up to the step's `retries`; then the call has
failed, what depends on it never becomes known, and the rest goes on.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from ricochet_orchestrator.answer_check import Judged, judge, kept
from ricochet_orchestrator.chain_check import reads
from ricochet_orchestrator.chain_language import Chain, ChainStep
from ricochet_orchestrator.checkpoint import Origin
from ricochet_orchestrator.compose import Answers, share, turns_of
from ricochet_orchestrator.conditions import holds
from ricochet_orchestrator.evidence import merged
from ricochet_orchestrator.expansion import Calls, Ground, Made, expanded
from ricochet_orchestrator.material import Material
from ricochet_orchestrator.plan import Plan, Step, StepId, attempt_id
from ricochet_orchestrator.progress import printable
from ricochet_orchestrator.segment import TokenCounter
from ricochet_protocol.conversation import Turn
from ricochet_protocol.ids import ModelId

_REASON: Final = 400
"""Characters of a reason that are kept."""


class Verdict(msgspec.Struct, frozen=True):
    """What an answer means for its call: it passed, or `retry` is asked instead, or it failed.

    `refusal` says why it was refused; with `passed` too: something else stands in for it.
    """

    passed: bool
    refusal: str = ""
    retry: Step | None = None


class Growth:
    """A run's plan as it grows. `steps` are all that are known."""

    def __init__(
        self,
        chain: Chain,
        material: Material,
        default: ModelId,
        windows: Mapping[ModelId, int],
        count: TokenCounter,
        parameters: Mapping[str, str],
    ) -> None:
        """UsageError `window_too_small` when a step can make no call."""
        self.steps: dict[StepId, Step] = {}
        self._shares: dict[StepId, int] = {}
        self._ground = Ground(chain, material, default, windows, count, parameters)
        self.material = material
        self._chain = chain
        self._passed: dict[StepId, str] = {}
        self._given: dict[StepId, str] = {}
        self._held: dict[StepId, Judged] = {}
        self._made: dict[str, Made] = {}
        self._open: dict[str, int] = {}
        self._of: dict[StepId, list[str]] = {}
        self._fresh: list[Step] = []
        self._unexpanded = [
            (number, spec, _Needs.of(spec, chain)) for number, spec in enumerate(chain.steps)
        ]
        self._expand()

    @property
    def outputs(self) -> tuple[StepId, ...]:
        """The steps whose answers are the result, as far as they are known."""
        made = self._made.get(self._chain.last.name)
        if made is None:
            return ()
        if not self._chain.last.checked:
            return made.slots
        held = (self._held[slot].step for slot in made.slots if slot in self._held)
        return tuple(step for step in held if step is not None)

    @property
    def passages(self) -> tuple[Origin, ...]:
        """What was quoted of the document so far, in its order, each place once."""
        quoting = (made for made in self._made.values() if made.spec.quotes)
        held = (self._held[slot] for made in quoting for slot in made.slots if slot in self._held)
        found = merged(passage for one in held for passage in one.passages)
        return tuple(self.material.origin(one.part, one.start, one.end) for one in found)

    @property
    def whole(self) -> bool:
        """Whether every chain step is expanded."""
        return not self._unexpanded

    @property
    def complete(self) -> bool:
        """Whether every call has an answer that passed."""
        return self.whole and not any(self._open.values())

    def fresh(self) -> list[Step]:
        """The steps that became known since the last time this was called."""
        fresh, self._fresh = self._fresh, []
        return fresh

    def answered(self, step_id: StepId, text: str, cut: bool = False) -> Verdict:
        """Take up the answer to a known step; `cut` when it ended for its length."""
        step = self.steps[step_id]
        self._given[step_id] = text
        judged = judge(step, text, self.material, cut)
        refusal = printable(judged.refusal)[:_REASON]
        if refusal and step.attempt < step.spec.retries:
            return Verdict(passed=False, refusal=refusal, retry=self._retry(step, refusal))
        if refusal:
            instead = kept(step, self.material)
            if instead is None:
                return Verdict(passed=False, refusal=refusal)
            judged = instead
        self._pass(step, text, judged)
        return Verdict(passed=True, refusal=refusal)

    def stand_in(self, step_id: StepId, text: str) -> None:
        """Take up text in the place of an answer, to see what the plan would be.

        Where the content of the answer decides what follows, nothing follows.
        """
        step = self.steps[step_id]
        self._given[step_id] = text
        judged = judge(step, text, self.material, False)
        if not judged.refusal:
            self._pass(step, text, judged)
        elif step.spec.quotes and (instead := kept(step, self.material)) is not None:
            self._pass(step, text, instead)
        elif step.spec.schema is None:
            self._pass(step, text, Judged(value=text, step=step_id, text=text))

    @property
    def unexpanded(self) -> tuple[str, ...]:
        """Chain steps whose calls are not known."""
        return tuple(spec.name for _, spec, _ in self._unexpanded)

    def turns(self, step: Step, window: int) -> tuple[tuple[Turn, ...], int]:
        """What to send for a step whose inputs have passed, and its tokens by our count."""
        ground = self._ground
        return turns_of(
            step,
            self._shares,
            self.material,
            ground.parameters,
            Answers(passed=self._passed, given=self._given),
            window,
            ground.count,
        )

    def _retry(self, step: Step, refusal: str) -> Step:
        attempt = step.attempt + 1
        retry = msgspec.structs.replace(
            step,
            id=attempt_id(step.slot, attempt, step.id, refusal),
            attempt=attempt,
            refused=step.id,
            reason=refusal,
            position=step.position + 1,
        )
        self._enter(retry)
        return retry

    def _pass(self, step: Step, text: str, judged: Judged) -> None:
        if step.slot in self._held:
            return
        self._held[step.slot] = judged
        self._passed[step.slot] = text
        for name in self._of[step.slot]:
            self._open[name] -= 1
        if self._unexpanded and any(not self._open[name] for name in self._of[step.slot]):
            self._expand()

    def _expand(self) -> None:
        """Expand every chain step that can be; one may make the next possible."""
        waiting = []
        for number, spec, needs in self._unexpanded:
            known = needs.known <= self._made.keys()
            if known and not any(self._open[name] for name in needs.passed):
                self._take(number, spec)
            else:
                waiting.append((number, spec, needs))
        # Chain steps are in order of dependency, so one pass finds all.
        self._unexpanded = waiting

    def _take(self, number: int, spec: ChainStep) -> None:
        met = all(holds(one, self._values(one.step)) for one in spec.when)
        calls = Calls(self._ground, spec, number)
        made = expanded(calls, self._made, self._held) if met else Made(spec, ())
        self._made[spec.name] = made
        for step in calls.made:
            self._enter(step)
        own = {step.slot for step in calls.made}
        for slot in own:
            names = self._of.setdefault(slot, [])
            if spec.name not in names:
                names.append(spec.name)
        self._open[spec.name] = sum(slot not in self._held for slot in own)

    def _values(self, name: str) -> Sequence[Any]:
        """What a chain step's answers hold; a quotation that found nothing is no answer."""
        made = self._made[name]
        held = [self._held[slot] for slot in made.slots]
        if made.spec.quotes:
            return [one.passages for one in held if one.passages]
        return [one.value for one in held]

    def _enter(self, step: Step) -> None:
        if step.id not in self.steps:
            self.steps[step.id] = step
            self._shares[step.slot] = share(step.spec)
            self._fresh.append(step)


class _Needs(msgspec.Struct, frozen=True):
    """Names of chain steps that must be expanded, and of those that must have passed."""

    known: frozenset[str]
    passed: frozenset[str]

    @classmethod
    def of(cls, spec: ChainStep, chain: Chain) -> "_Needs":
        over = frozenset() if spec.over_document else frozenset(spec.sources)
        by_text = spec.mode == "each" or spec.only or any(chain.step(one).quotes for one in over)
        asked = frozenset(one.step for one in spec.when)
        names = frozenset(one.name for one in chain.steps)
        return cls(known=reads(spec, names), passed=asked | (over if by_text else frozenset()))


def grow(
    chain: Chain,
    material: Material,
    default: ModelId,
    windows: Mapping[ModelId, int],
    count: TokenCounter,
    parameters: Mapping[str, str],
    answers: Mapping[StepId, str],
) -> Plan:
    """The plan of a run once it has these answers; those to steps it does not know are ignored."""
    growth = Growth(chain, material, default, windows, count, parameters)
    fresh = growth.fresh()
    while fresh:
        for step in fresh:
            if step.id in answers:
                growth.answered(step.id, answers[step.id])
        fresh = growth.fresh()
    ordered = sorted(growth.steps.values(), key=lambda step: step.position)
    return Plan({step.id: step for step in ordered}, growth.outputs, growth.whole)
