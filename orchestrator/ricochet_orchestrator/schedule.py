"""Which steps may run now: a pure record of what waits for what.

A step is ready once every step it reads has an answer. Ready steps come in the plan's order, which
makes a run repeatable. A step that is given up simply stays taken, and what depends on it never
becomes ready.
"""

from collections.abc import Iterable, Mapping

from ricochet_orchestrator.plan import Step, StepId


class Schedule:
    """Starts with `done` steps answered."""

    def __init__(self, steps: Mapping[StepId, Step], done: Iterable[StepId]) -> None:
        self._steps = steps
        self._done = set(done)
        self._taken: set[StepId] = set()
        self._users: dict[StepId, list[StepId]] = {}
        for step in steps.values():
            for source in set(step.inputs):
                self._users.setdefault(source, []).append(step.id)
        self._position = {step_id: number for number, step_id in enumerate(steps)}
        self._ready = {step.id for step in steps.values() if self._is_ready(step)}

    def ready(self) -> list[Step]:
        """Steps that could run now, in the plan's order."""
        return [self._steps[step] for step in sorted(self._ready, key=self._position.__getitem__)]

    def started(self, step: StepId) -> None:
        """The step is being asked."""
        self._ready.remove(step)
        self._taken.add(step)

    def put_back(self, step: StepId) -> None:
        """The step has to be asked again."""
        self._taken.remove(step)
        self._ready.add(step)

    def completed(self, step: StepId) -> None:
        """The step has an answer."""
        self._taken.remove(step)
        self._done.add(step)
        users = (self._steps[user] for user in self._users.get(step, ()))
        self._ready.update(user.id for user in users if self._is_ready(user))

    @property
    def complete(self) -> bool:
        """Whether every step has an answer."""
        return len(self._done) == len(self._steps)

    def _is_ready(self, step: Step) -> bool:
        return step.id not in self._done | self._taken and self._done.issuperset(step.inputs)
