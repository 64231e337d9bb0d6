"""Runs a chain over a document; the only place that knows the order of things.

segment → plan → checkpoint → (route → ask → checkpoint → pay) for each step. What is stored is
never asked again: a run goes on where it stopped, in whatever process, from what its record holds,
and a step that was being asked goes to the same node under the same request id, which replays the
answer it has. A step that fails is routed around a bounded number of times; then it is given up,
and the run ends `partial` once nothing else can be done.

`work_on` owns every task it starts: however it ends, calls are cancelled and awaited, and the
store says where the run stands.
"""

import asyncio
from collections.abc import Coroutine, Iterable, Mapping
from contextlib import suppress
from typing import Any, Final, TypeVar

from ricochet_orchestrator.checkpoint import REFUSED, Answer, RunRecord, RunStatus, Status
from ricochet_orchestrator.dispatch import Assignment, Dispatcher
from ricochet_orchestrator.document import Document
from ricochet_orchestrator.entering import entered
from ricochet_orchestrator.growth import Growth
from ricochet_orchestrator.listening import close, limited, listening
from ricochet_orchestrator.offers import Offers
from ricochet_orchestrator.ownership import worker_name
from ricochet_orchestrator.payments import Payments
from ricochet_orchestrator.plan import Step, StepId
from ricochet_orchestrator.preparation import prepare
from ricochet_orchestrator.probing import Prober
from ricochet_orchestrator.progress import (
    Event,
    PlanGrew,
    RunFinished,
    RunStarted,
    StepFailed,
    StepFinished,
    StepRefused,
    StepRetried,
    printable,
)
from ricochet_orchestrator.race import Lost, Won
from ricochet_orchestrator.request import Request
from ricochet_orchestrator.result import RunResult, summarize
from ricochet_orchestrator.schedule import Schedule
from ricochet_orchestrator.setting import Setting
from ricochet_orchestrator.step_budget import StepBudgets
from ricochet_orchestrator.step_calls import StepCalls, finished
from ricochet_orchestrator.terms import paid_period
from ricochet_protocol.errors import (
    ChainError,
    RicochetError,
)
from ricochet_protocol.money import Units
from ricochet_protocol.ports import Subscription

TICK: Final = 0.1
"""Seconds between looks at the directory, and at who has cooled down."""
LOOK: Final = 32
"""Calls of a chain step that are looked at for one that a free peer can take: most are alike."""
SETTLE_WAIT: Final = 15.0
"""Seconds that the end of a run waits for vouchers to be acknowledged; unsent ones are kept."""
T = TypeVar("T")


async def work_on(
    setting: Setting,
    run_id: str,
    stop: asyncio.Event,
    resume_hint: str,
    cap: Units | None = None,
) -> RunResult:
    """Work on an entered run until it ends, for now or for good; its caller owns it.

    Setting `stop` pauses it, and so does a wish in the store: no further call is started, calls
    that are out are cut off. Errors that end a run early (budget, no peer, chain) leave it paused
    too. It may cost at most `cap`, where that is less than what its options say.
    """
    store = setting.store
    record, request, document = entered(store, run_id)
    store.begin(run_id, worker_name())
    status = RunStatus.PAUSED
    loop = asyncio.get_running_loop()
    begin = loop.time()
    try:
        async with listening(store, run_id, stop), limited(record, request.options, stop):
            status = await _work(setting, record, request, document, stop, cap)
    finally:
        worked = record.seconds + loop.time() - begin
        status = close(store, run_id, status, worked)
        setting.tell(RunFinished(run=run_id, status=status, seconds=worked))
    ended = store.run(run_id)
    assert ended is not None, "a run is never deleted"
    readable = store.readable(run_id)
    return summarize(store.readable_run(ended), store.steps(run_id), readable, resume_hint)


async def _work(
    setting: Setting,
    record: RunRecord,
    request: Request,
    document: Document,
    stop: asyncio.Event,
    cap: Units | None,
) -> RunStatus:
    subscription = await paid_period(setting)
    own = {setting.payer.subscriber, *setting.private_nodes}
    offers = Offers(setting.peers, setting.settlement, setting.clock, own, setting.routing)
    planned, growth = await prepare(setting, offers, record, request, document, stop)
    setting.store.mark_cached(record.id, setting.clock())
    caps = [one for one in (request.options.max_cost, cap) if one is not None]
    max_cost = min(caps, default=None)
    run = _Run(setting, subscription, offers, planned, growth, stop, max_cost)
    run.announce(resumed=bool(record.windows))
    return await run.execute()


class _Run:
    """One run in this process: its schedule, and the calls and payments that are out."""

    def __init__(
        self,
        setting: Setting,
        subscription: Subscription,
        offers: Offers,
        record: RunRecord,
        growth: Growth,
        stop: asyncio.Event,
        max_cost: Units | None,
    ) -> None:
        self._setting = setting
        self._store = setting.store
        self._offers = offers
        self._record = record
        self._growth = growth
        self._stop = stop
        self._schedule = Schedule()
        self._outputs = record.outputs
        self._news: list[Event] = []
        known = self._store.answers(record.id)
        entered = self._store.steps(record.id)
        names = {step.id: step.name for step in entered}
        paid = (answer for answer in known.values() if answer.run == record.id)
        self._dispatcher = Dispatcher(
            setting,
            offers,
            subscription,
            growth,
            record.windows,
            entered,
            StepBudgets(
                ((names[answer.step], answer.cost) for answer in paid),
                max_cost,
                record.lost,
                lambda lost: self._store.lose(record.id, lost),
            ),
        )
        period = subscription.period
        self._asking = StepCalls(setting, record.id, period, self._dispatcher)
        self._payments = Payments(setting, period, offers, self._dispatcher)
        self._prober = Prober(
            setting.routing,
            setting.seed,
            self._dispatcher,
            self._asking.check_paid,
            self._asking.check,
            setting.tell,
        )
        self._calls: dict[asyncio.Task[tuple[Won, Answer]], Assignment] = {}
        self._woken = asyncio.Event()
        self._grow(known)

    def announce(self, resumed: bool) -> None:
        """Tell of the plan and of the answers that are there already."""
        record = self._record
        done = sum(isinstance(event, StepFinished) for event in self._news)
        self._setting.tell(
            RunStarted(
                run=record.id,
                document=record.document,
                chain=record.chain,
                segments=len(record.sources),
                steps=len(self._growth.steps),
                done=done,
                resumed=resumed,
            )
        )
        self._tell_news()

    def _tell_news(self) -> None:
        news, self._news = self._news, []
        for event in news:
            self._setting.tell(event)

    def _grow(self, known: Mapping[StepId, Answer]) -> None:
        """Take up the steps that became known; answers that are there may make more known."""
        while fresh := self._growth.fresh():
            missing = [step for step in fresh if step.id not in known]
            stored = self._store.add_steps(self._record.id, missing, self._setting.clock())
            for step in fresh:
                answer = known.get(step.id) or stored.get(step.id)
                if answer is None:
                    self._schedule.add((step,))
                else:
                    self._news.append(finished(step, answer, cached=True))
                    self._judge(step, answer)
        if self._outputs != self._growth.outputs:
            self._outputs = self._growth.outputs
            self._store.set_outputs(self._record.id, self._outputs, self._growth.passages)

    def _judge(self, step: Step, answer: Answer) -> None:
        """An answer is stored: whether it passes, and what becomes ready by it."""
        verdict = self._growth.answered(step.id, answer.text, answer.finish == "length")
        if verdict.passed:
            self._schedule.passed(step.slot)
        if not verdict.refusal:
            return
        reason = f"{REFUSED}: {verdict.refusal}"
        again = verdict.passed or verdict.retry is not None
        status = Status.COMPLETED if again else Status.FAILED
        self._store.mark_step(self._record.id, step.id, status, reason)
        self._news.append(
            StepRefused(step.id, step.name, answer.peer, reason)
            if again
            else StepFailed(step.id, step.name, "answer_refused", reason)
        )

    async def execute(self) -> RunStatus:
        """Work until all steps are done or none can be; where the run stands then."""
        await self._offers.refresh()
        watcher = self._waking(self._watch())
        stopped = self._waking(self._stop.wait())
        try:
            while not (self._stop.is_set() or self._growth.complete):
                self._start_calls()
                if not self._calls:
                    waiting = self._schedule.ready()
                    if not waiting:
                        break
                    self._raise_if_hopeless(waiting)
                await self._news_or_tick()
                if watcher.done():
                    watcher.result()
                for task in [task for task in self._calls if task.done()]:
                    self._finish(task)
                self._payments.reap()
            if not self._stop.is_set():
                await self._prober.finish(SETTLE_WAIT)
                await self._payments.settle(stopped, SETTLE_WAIT)
        finally:
            await self._prober.end()
            await _end([watcher, stopped, *self._calls])
            await self._payments.end()
            self._dispatcher.close(asyncio.get_running_loop().time())
        if self._growth.complete:
            return RunStatus.COMPLETED
        return RunStatus.PAUSED if self._stop.is_set() else RunStatus.PARTIAL

    def _waking(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """A task whose end the loop of `execute` hears of."""
        task = asyncio.create_task(work)
        task.add_done_callback(lambda _: self._woken.set())
        return task

    async def _news_or_tick(self) -> None:
        # An event, because waiting for tasks by name costs as much as there are calls.
        with suppress(TimeoutError):
            async with asyncio.timeout(TICK):
                await self._woken.wait()
        self._woken.clear()

    async def _watch(self) -> None:
        while True:
            await self._offers.refresh()
            await asyncio.sleep(TICK)

    def _start_calls(self) -> None:
        now = asyncio.get_running_loop().time()
        self._dispatcher.look()
        for lane in self._schedule.lanes():
            passed_over: list[Step] = []
            while len(passed_over) < LOOK and (step := self._schedule.take(lane)):
                if not self._dispatcher.can_take(step.spec, step.model, now):
                    passed_over.append(step)
                    break
                assignment = self._dispatcher.assign(step, now)
                if assignment is None:
                    passed_over.append(step)
                else:
                    self._calls[self._waking(self._asking.call(assignment))] = assignment
            for step in passed_over:
                self._schedule.put_back(step.id)

    def _raise_if_hopeless(self, waiting: list[Step]) -> None:
        error = self._dispatcher.hopeless(waiting, asyncio.get_running_loop().time())
        if error is not None:
            raise error

    def _finish(self, task: asyncio.Task[tuple[Won, Answer]]) -> None:
        """Take up a call that has ended, well or not."""
        step = self._calls.pop(task).step
        try:
            won, answer = task.result()
        except Lost as lost:
            self._failed(lost.assignment, lost.error)
            return
        self._dispatcher.served(won.assignment, won.served, asyncio.get_running_loop().time())
        self._payments.start(won.assignment.client)
        self._prober.answered(won.assignment, won.served.text)
        steps = len(self._growth.steps)
        self._judge(step, answer)
        self._grow({})
        if len(self._growth.steps) > steps:
            self._setting.tell(PlanGrew(steps=len(self._growth.steps)))
        self._tell_news()

    def _failed(self, assignment: Assignment, error: RicochetError) -> None:
        step, peer = assignment.step, assignment.client.peer
        reason = printable(error.message)
        now = asyncio.get_running_loop().time()
        if self._dispatcher.failed(assignment, error, now):
            self._schedule.put_back(step.id)
            self._store.mark_step(self._record.id, step.id, Status.READY, reason)
            self._setting.tell(StepRetried(step.id, step.name, peer, error.code, reason))
            return
        if isinstance(error, ChainError):
            raise error
        self._store.mark_step(self._record.id, step.id, Status.FAILED, reason)
        self._setting.tell(StepFailed(step.id, step.name, error.code, reason))


async def _end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel and await tasks; what they raise has been dealt with or no longer matters."""
    owned = list(tasks)
    for task in owned:
        task.cancel()
    await asyncio.gather(*owned, return_exceptions=True)
