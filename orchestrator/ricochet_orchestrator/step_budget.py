"""What the calls of a run, and of each of its chain steps, may still cost.

A call is let through only if the budget holds even where every call that is out costs the most it
can. Costs of answers that an earlier process of the same run paid for count; answers that another
run paid for do not. Against the run's cap, a call that failed counts too, in whatever process, with
what its node may keep of what was signed ahead for it.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final

from ricochet_orchestrator.chain_language import ChainStep
from ricochet_protocol.errors import BudgetError
from ricochet_protocol.money import Units, dollars, parse_dollars

NOTHING: Final = Units(0)


class StepBudgets:
    """The budgets of a run's chain steps, by name; `spent` are earlier payments, likewise.

    `cap` is for the whole run, of which earlier calls that failed have `lost` some; `lose` hears of
    what is lost from now on.
    """

    def __init__(
        self,
        spent: Iterable[tuple[str, Units]],
        cap: Units | None = None,
        lost: Units = NOTHING,
        lose: Callable[[Units], None] = lambda _: None,
    ) -> None:
        self._cap = cap
        self._lost = int(lost)
        self._lose = lose
        self._capped: BudgetError | None = None
        self._spent: Counter[str] = Counter()
        for name, cost in spent:
            self._spent[name] += cost
        self._out: Counter[str] = Counter()
        self._exceeded: dict[str, BudgetError] = {}

    def open(self, spec: ChainStep, worst: Units) -> bool:
        """Let a call through that costs at most `worst`, unless the budget might not hold it."""
        name = spec.name
        if spec.budget is not None:
            limit = parse_dollars(spec.budget)
            if self._spent[name] + self._out[name] + worst > limit:
                self._exceeded[name] = _exceeded(spec, Units(self._spent[name]), worst)
                return False
        if self._cap is not None:
            before = self._spent.total() + self._lost
            if before + self._out.total() + worst > self._cap:
                self._capped = _capped(self._cap, Units(before), worst)
                return False
        self._out[name] += worst
        return True

    def close(self, spec: ChainStep, worst: Units, cost: Units, lost: Units = NOTHING) -> None:
        """A call that was let through has ended, and cost so much; `lost` is what may be gone."""
        self._lost += lost
        if lost:
            self._lose(lost)
        self._capped = None
        self._out[spec.name] -= worst
        self._spent[spec.name] += cost
        self._exceeded.pop(spec.name, None)

    def exceeded(self, spec: ChainStep) -> BudgetError | None:
        """Why no further call of a chain step is let through now."""
        return self._exceeded.get(spec.name) or self._capped


def _exceeded(spec: ChainStep, spent: Units, worst: Units) -> BudgetError:
    before = f"after {dollars(spent)} " if spent else ""
    return BudgetError(
        "step_budget",
        f"Step {spec.name} has a budget of {dollars(parse_dollars(spec.budget or '0'))}, which "
        f"{before}does not hold another call of up to {dollars(worst)} (field `budget`).",
        f"Raise steps.{spec.name}.budget in the chain, or lower its max_tokens; finished steps are "
        "kept.",
    )


def _capped(cap: Units, spent: Units, worst: Units) -> BudgetError:
    before = f"{dollars(spent)} of it is spent, and " if spent else ""
    return BudgetError(
        "max_cost",
        f"The run may cost {dollars(cap)}; {before}another call may cost {dollars(worst)}.",
        "Finished steps are kept. Go on with more: ricochet chain resume --max-cost DOLLARS",
    )
