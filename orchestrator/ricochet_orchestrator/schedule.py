"""Which steps may run now: a pure record of what waits for what.

A step is ready once every step it reads has an answer that passed. Ready steps come in the plan's
order, which makes a run repeatable; each chain step has a lane of its own, because its calls have
the model, the needs and the budget in common: where one cannot be made, nor can the next. A step
that is given up simply stays taken, and what depends on it never becomes ready.

Every operation costs the logarithm of the number of steps at most, whatever their number.
"""

from collections.abc import Iterable
from heapq import heappop, heappush

from ricochet_orchestrator.plan import Step, StepId


class Schedule:
    """Starts empty."""

    def __init__(self) -> None:
        self._steps: dict[StepId, Step] = {}
        self._passed: set[StepId] = set()
        self._missing: dict[StepId, int] = {}
        self._users: dict[StepId, list[StepId]] = {}
        self._lanes: dict[str, list[tuple[int, StepId]]] = {}

    def add(self, steps: Iterable[Step]) -> None:
        """Steps that have to be asked."""
        for step in steps:
            self._steps[step.id] = step
            missing = set(step.inputs) - self._passed
            self._missing[step.id] = len(missing)
            for source in missing:
                self._users.setdefault(source, []).append(step.id)
            if not missing:
                self._enter(step)

    def passed(self, slot: StepId) -> None:
        """What reads the answer to this step may read it now."""
        if slot in self._passed:
            return
        self._passed.add(slot)
        for user in self._users.pop(slot, ()):
            self._missing[user] -= 1
            if not self._missing[user]:
                self._enter(self._steps[user])

    def lanes(self) -> list[str]:
        """Chain steps with calls that are ready, those of the earliest first."""
        return sorted((name for name, lane in self._lanes.items() if lane), key=self._first)

    def take(self, lane: str) -> Step | None:
        """The first ready step of a chain step, which is being asked from now on."""
        waiting = self._lanes.get(lane)
        return self._steps[heappop(waiting)[1]] if waiting else None

    def put_back(self, step: StepId) -> None:
        """The step has to be asked, or asked again."""
        self._enter(self._steps[step])

    def ready(self) -> list[Step]:
        """Steps that could run now, in the plan's order."""
        entries = sorted(entry for lane in self._lanes.values() for entry in lane)
        return [self._steps[step] for _, step in entries]

    def _enter(self, step: Step) -> None:
        heappush(self._lanes.setdefault(step.name, []), (step.position, step.id))

    def _first(self, lane: str) -> int:
        return self._lanes[lane][0][0]
