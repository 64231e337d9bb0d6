"""Checks on peers beside a run: canaries at who has just answered, and second answers to compare.

Both are calls like any other: admitted, paid for what they cost, and counted in what is known of
speed and success. One is out at a time. Canaries stop when the run's allowance for them does not
hold the worst case of the next; second answers are a share of the steps, drawn with the seed.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Final

from ricochet_orchestrator.canary import UNLIKE, Canary, hide, likeness
from ricochet_orchestrator.client import Served
from ricochet_orchestrator.dispatch import Assignment, Dispatcher
from ricochet_orchestrator.progress import Event, Probed
from ricochet_orchestrator.routing import RoutingSettings
from ricochet_protocol.conversation import Turn
from ricochet_protocol.errors import BudgetError, ChainError, RemoteFault
from ricochet_protocol.money import Units

CANARY: Final = "canary"
SECOND_ANSWER: Final = "second answer"
CANARY_EVERY: Final = 0.1
"""Share of answers that a canary follows while the allowance lasts."""
MOST_WANTED: Final = 16
"""Checks that wait for a free slot; older ones are forgotten."""

Work = Coroutine[Any, Any, None]
Ask = Callable[[Assignment], Coroutine[Any, Any, Served]]
Paid = Callable[[str, Assignment, Served], None]
"""Keeps the answer to a check of this kind, and pays for it."""


class Prober:
    """One run's checks; whoever makes it ends it."""

    def __init__(
        self,
        settings: RoutingSettings,
        seed: int,
        dispatcher: Dispatcher,
        paid: Paid,
        ask: Ask,
        tell: Callable[[Event], None],
    ) -> None:
        self._settings = settings
        self._left = settings.canaries
        self._dispatcher = dispatcher
        self._paid = paid
        self._ask = ask
        self._tell = tell
        # Draws which steps are checked; a node cannot see the seed.
        self._chance = random.Random(f"probes {seed}")  # noqa: S311
        self._wanted: deque[tuple[Assignment, str | None]] = deque(maxlen=MOST_WANTED)
        self._task: asyncio.Task[None] | None = None

    def answered(self, assignment: Assignment, answer: str) -> None:
        """A step was answered, and a slot is free: perhaps check on it, or on an earlier one."""
        draws = self._chance.random(), self._chance.random()
        if draws[0] < self._settings.redundancy:
            self._wanted.append((assignment, answer))
        elif self._left and draws[1] < CANARY_EVERY:
            self._wanted.append((assignment, None))
        self._start()

    async def finish(self, patience: float) -> None:
        """Let the checks that are wanted end, for so many seconds."""
        loop = asyncio.get_running_loop()
        until = loop.time() + patience
        while self._task is not None and loop.time() < until:
            await asyncio.wait({self._task}, timeout=until - loop.time())
            self._start()

    def _start(self) -> None:
        """Start the first wanted check that somebody can take, unless one is out."""
        if self._task is not None:
            if not self._task.done():
                return
            self._task.result()
            self._task = None
        for wanted in tuple(self._wanted):
            step, answer = wanted
            work = self._test(step) if answer is None else self._compare(step, answer)
            if work is not None:
                self._wanted.remove(wanted)
                self._task = asyncio.create_task(work)
                return

    async def end(self) -> None:
        """Leave nothing running."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _test(self, step: Assignment) -> Work | None:
        canary = hide(step.turns[-1].content, self._chance)
        if canary is None:
            return None
        turns = (*step.turns[:-1], Turn(role="user", content=canary.prompt))
        assignment = self._dispatcher.probe(step, turns, same_peer=True, most=self._left)
        if assignment is None:
            return None
        self._left = Units(self._left - assignment.worst)
        return self._tested(canary, assignment)

    async def _tested(self, canary: Canary, assignment: Assignment) -> None:
        served = await self._answer(CANARY, assignment)
        # A call that fails may have cost a part of it, so only what an answer left over is back.
        if served is not None:
            left = self._left + assignment.worst - served.receipt.receipt.cost
            self._left = Units(left)
            self._judge(CANARY, assignment, float(canary.passes(served.text)), served)

    def _compare(self, step: Assignment, answer: str) -> Work | None:
        assignment = self._dispatcher.probe(step, step.turns, same_peer=False)
        return None if assignment is None else self._compared(step, answer, assignment)

    async def _compared(self, step: Assignment, answer: str, assignment: Assignment) -> None:
        served = await self._answer(SECOND_ANSWER, assignment)
        if served is not None:
            alike = likeness(answer, served.text)
            # It does not show who is wrong, so it counts for both; a mean over many peers will.
            self._dispatcher.judged(step, alike, alike < UNLIKE)
            self._judge(SECOND_ANSWER, assignment, alike, served)

    async def _answer(self, kind: str, assignment: Assignment) -> Served | None:
        """The paid answer to a check; None when the call failed, which is held against its peer."""
        try:
            served = await self._ask(assignment)
        except (RemoteFault, ChainError, BudgetError) as error:
            self._dispatcher.probe_failed(assignment, error)
            return None
        except BaseException:
            self._dispatcher.probe_dropped(assignment)
            raise
        self._paid(kind, assignment, served)
        self._dispatcher.probe_served(assignment, served)
        return served

    def _judge(self, kind: str, assignment: Assignment, alike: float, served: Served) -> None:
        self._dispatcher.judged(assignment, alike, alike < UNLIKE)
        self._tell(
            Probed(
                peer=assignment.client.peer,
                check=kind,
                likeness=alike,
                cost=served.receipt.receipt.cost,
            )
        )
