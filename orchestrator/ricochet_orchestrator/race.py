"""One call, and a rival for it when its first token is late: who begins to answer first, wins.

The other call is cut off at once, so that its node is owed the prompt at most. A call that fails
while the other is out does not end the race. However it ends, no call is left running, and the
dispatcher has heard of each exactly once, save the one that is returned or raised.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final, NamedTuple

from ricochet_orchestrator.client import Served
from ricochet_orchestrator.dispatch import Assignment, Dispatcher
from ricochet_protocol.errors import BudgetError, ChainError, RemoteFault

LOOK: Final = 1.0
"""Seconds between looks whether a call is late by now, or somebody has become free for it."""
Ask = Callable[[Assignment, Callable[[], bool]], Coroutine[Any, Any, Served]]
"""Makes a call; to tell when its first token has come, and to hear whether it leads."""


class Won(NamedTuple):
    """The call that was answered."""

    assignment: Assignment
    served: Served


class Lost(Exception):
    """No call was answered; `error` is the last one's."""

    def __init__(
        self, assignment: Assignment, error: RemoteFault | ChainError | BudgetError
    ) -> None:
        super().__init__(str(error))
        self.assignment = assignment
        self.error = error


async def race(first: Assignment, dispatcher: Dispatcher, ask: Ask) -> Won:
    """The answer to a call or to its rival; Lost when none came."""
    runners = _Race(dispatcher, ask)
    try:
        runners.start(first)
        await _find_rival(first, dispatcher, runners)
        while True:
            won = await runners.next()
            if won is not None:
                return won
    finally:
        await runners.end()


async def _find_rival(first: Assignment, dispatcher: Dispatcher, runners: "_Race") -> None:
    """Start a rival once the first token is late and somebody can take the call."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while dispatcher.may_race(first) and runners.nobody_leads:
        late = dispatcher.late_after(first)
        left = LOOK if late is None else began + late - loop.time()
        if left <= 0:
            rival = dispatcher.rival(first, loop.time())
            if rival is not None:
                runners.start(rival)
                return
            left = LOOK
        await runners.wait(left)


class _Race:
    def __init__(self, dispatcher: Dispatcher, ask: Ask) -> None:
        self._dispatcher = dispatcher
        self._ask = ask
        self._tasks: dict[asyncio.Task[Served], Assignment] = {}
        self._began: dict[asyncio.Task[Served], float] = {}
        self._lead: asyncio.Future[Assignment] = asyncio.get_running_loop().create_future()

    @property
    def nobody_leads(self) -> bool:
        return not self._lead.done() and not any(task.done() for task in self._tasks)

    def start(self, assignment: Assignment) -> None:
        def begun() -> bool:
            if not self._lead.done():
                self._lead.set_result(assignment)
            return self._lead.result() is assignment

        task = asyncio.create_task(self._ask(assignment, begun))
        self._tasks[task] = assignment
        self._began[task] = asyncio.get_running_loop().time()

    async def wait(self, seconds: float | None) -> None:
        """Until somebody leads or ends; no longer than so many seconds."""
        awaited: set[asyncio.Future[Any]] = {*self._tasks}
        if not self._lead.done():
            awaited.add(self._lead)
        await asyncio.wait(awaited, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)

    async def next(self) -> Won | None:
        """Who has won, once that is known; Lost when all have failed."""
        await self.wait(None)
        if self._lead.done():
            await self._cut_off(self._lead.result())
        now = asyncio.get_running_loop().time()
        for task in [task for task in self._tasks if task.done()]:
            assignment = self._tasks.pop(task)
            try:
                served = task.result()
            except (RemoteFault, ChainError, BudgetError) as error:
                if not self._tasks:
                    raise Lost(assignment, error) from None
                self._dispatcher.failed(assignment, error, now)
                continue
            await self._cut_off(assignment)
            return Won(assignment, served)
        return None

    async def _cut_off(self, leader: Assignment) -> None:
        """End the calls of all others: they were slower."""
        now = asyncio.get_running_loop().time()
        for task, assignment in tuple(self._tasks.items()):
            # One that has ended meanwhile is heard of like any other.
            if assignment is not leader and not task.done():
                del self._tasks[task]
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                self._dispatcher.outrun(assignment, now - self._began[task])

    async def end(self) -> None:
        """Leave nothing running."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._lead.cancel()
