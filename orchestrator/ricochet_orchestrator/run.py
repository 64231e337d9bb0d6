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
import hashlib
import secrets
from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextlib import suppress
from typing import Any, Final, TypeVar

import msgspec

from ricochet_orchestrator.chain_language import Chain
from ricochet_orchestrator.checkpoint import REFUSED, Answer, Check, RunRecord, RunStatus, Status
from ricochet_orchestrator.client import NodeClient, Served
from ricochet_orchestrator.dispatch import Assignment, Dispatcher
from ricochet_orchestrator.document import Document
from ricochet_orchestrator.growth import Growth
from ricochet_orchestrator.listening import close, limited, listening
from ricochet_orchestrator.offers import Offers
from ricochet_orchestrator.ownership import worker_name
from ricochet_orchestrator.plan import Step, StepId
from ricochet_orchestrator.preparation import prepare
from ricochet_orchestrator.probing import Prober
from ricochet_orchestrator.progress import (
    Event,
    FirstToken,
    PaymentDelayed,
    PlanGrew,
    RunFinished,
    RunStarted,
    StepFailed,
    StepFinished,
    StepRefused,
    StepRetried,
    StepStarted,
    printable,
)
from ricochet_orchestrator.race import Lost, Won, race
from ricochet_orchestrator.request import Options, Request, request_for
from ricochet_orchestrator.result import RunResult, summarize
from ricochet_orchestrator.schedule import Schedule
from ricochet_orchestrator.setting import Setting
from ricochet_orchestrator.step_budget import StepBudgets
from ricochet_orchestrator.store import Store
from ricochet_orchestrator.terms import paid_period
from ricochet_protocol.errors import (
    ChainError,
    RemoteFault,
    RicochetError,
    UsageError,
)
from ricochet_protocol.ids import ModelId
from ricochet_protocol.messages import Ask
from ricochet_protocol.money import Units
from ricochet_protocol.ports import Subscription

TICK: Final = 0.1
"""Seconds between looks at the directory, and at who has cooled down."""
LOOK: Final = 32
"""Calls of a chain step that are looked at for one that a free peer can take: most are alike."""
DEADLINE: Final = 300
"""Seconds a node may take for one call; part of the ask, so it never varies."""
SETTLE_WAIT: Final = 15.0
"""Seconds that the end of a run waits for vouchers to be acknowledged; unsent ones are kept."""
_encode = msgspec.msgpack.Encoder().encode
T = TypeVar("T")


def enter(
    store: Store, document: Document, chain: Chain, options: Options, now: float
) -> tuple[RunRecord, bool]:
    """The run to work on for a request, and whether it was there already.

    A run of the same text, chain and model that has not ended is gone on with, with these options.
    """
    request = request_for(document, chain, options)
    earlier = store.unfinished(request.key)
    if earlier is not None and store.document(request.source) is not None:
        store.take_up(earlier.id, request)
        return earlier, True
    record = RunRecord(
        id=secrets.token_hex(4),
        key=request.key,
        document=document.name,
        chain=chain.name,
        model=options.model or ModelId(""),
        windows={},
        status=RunStatus.PENDING,
        created_at=now,
        outputs=(),
        digest=request.source,
    )
    store.enter(record, request, document)
    return record, False


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
    record, request, document = _entered(store, run_id)
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
    return summarize(ended, store.steps(run_id), store.readable(run_id), resume_hint)


def _entered(store: Store, run_id: str) -> tuple[RunRecord, Request, Document]:
    """All that was stored of a run; UsageError when it cannot be gone on with."""
    record, request = store.run(run_id), store.request(run_id)
    document = None if request is None else store.document(request.source)
    if record is None or request is None or document is None:
        raise UsageError(
            "run_too_old",
            f"Run {run_id} was made by a version that kept no document with it.",
            "Give the document again: `ricochet chain run FILE`; answers that are stored count.",
        )
    return record, request, document


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
        self._period = subscription.period
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
        self._prober = Prober(
            setting.routing,
            setting.seed,
            self._dispatcher,
            self._check_paid,
            self._check,
            setting.tell,
        )
        self._calls: dict[asyncio.Task[tuple[Won, Answer]], Assignment] = {}
        self._payments: set[asyncio.Task[None]] = set()
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
                    self._news.append(_finished(step, answer, cached=True))
                    self._judge(step, answer)
        if self._outputs != self._growth.outputs:
            self._outputs = self._growth.outputs
            self._store.set_outputs(self._record.id, self._outputs)

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
                self._reap_payments()
            if not self._stop.is_set():
                await self._prober.finish(SETTLE_WAIT)
                await self._settle(stopped)
        finally:
            await self._prober.end()
            await _end([watcher, stopped, *self._calls, *self._payments])
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
                    self._calls[self._waking(self._call(assignment))] = assignment
            for step in passed_over:
                self._schedule.put_back(step.id)

    def _raise_if_hopeless(self, waiting: list[Step]) -> None:
        error = self._dispatcher.hopeless(waiting, asyncio.get_running_loop().time())
        if error is not None:
            raise error

    async def _call(self, first: Assignment) -> tuple[Won, Answer]:
        """One step from ask to checkpoint; cancelled anywhere, it leaves all of it or none."""
        self._asked_of(first)
        won = await race(first, self._dispatcher, self._ask)
        step, client, served = first.step, won.assignment.client, won.served
        answer = self._answer(step, client, served)
        pay = client.paying.acceptance(answer.cost, served.counted)
        if not self._store.complete(answer, pay):
            # Another process has completed the step; what it stored is what later steps read.
            answer = self._store.answers(self._record.id)[step.id]
        client.paying.refresh()
        self._setting.tell(_finished(step, answer, cached=False))
        return won, answer

    def _asked_of(self, assignment: Assignment) -> None:
        """Note where the step's answer is, or may be after a crash."""
        step, client = assignment.step, assignment.client
        advert, now = _encode(client.advert), self._setting.clock()
        self._store.asking(self._record.id, step.id, client.peer, advert, now)

    async def _ask(self, assignment: Assignment, leads: Callable[[], bool]) -> Served:
        """Make one call; `leads` hears of its first token, and tells whether it is the first."""
        step, client = assignment.step, assignment.client
        peer, tell = client.peer, self._setting.tell
        tell(StepStarted(step.id, step.name, step.role, step.model, peer, assignment.attempt))

        def begun(seconds: float) -> None:
            self._dispatcher.begun(assignment)
            if leads():
                if self._dispatcher.moved(assignment):
                    self._asked_of(assignment)
                tell(FirstToken(step.id, peer, seconds))

        return await client.ask(self._ask_of(assignment), assignment.earlier, begun)

    async def _check(self, assignment: Assignment) -> Served:
        """Make a call that is no step."""
        return await assignment.client.ask(self._ask_of(assignment), None, lambda _: None)

    def _check_paid(self, kind: str, assignment: Assignment, served: Served) -> None:
        """Keep what a check cost, as a row of its own, and pay for it."""
        client, cost = assignment.client, served.receipt.receipt.cost
        now = self._setting.clock()
        check = Check(
            id=hashlib.sha256(f"{kind} {assignment.request_id} {now}".encode()).hexdigest()[:32],
            kind=kind,
            run=self._record.id,
            model=assignment.step.model,
            peer=client.peer,
            operator=client.operator,
            period=self._period,
            max_tokens=assignment.step.max_tokens,
            cost=cost,
            receipt=_encode(served.receipt),
            advert=_encode(served.advert),
            completed_at=now,
        )
        self._store.check_paid(check, client.paying.acceptance(cost, served.counted))
        client.paying.refresh()

    def _ask_of(self, assignment: Assignment) -> Ask:
        step = assignment.step
        return Ask(
            request_id=assignment.request_id,
            period=self._period,
            model=step.model,
            turns=assignment.turns,
            max_tokens=step.max_tokens,
            deadline=DEADLINE,
            temperature=step.spec.temperature,
            top_p=step.spec.top_p,
            stop=step.spec.stop,
            seed=step.spec.seed,
            response_format=assignment.form,
            allow_logging=self._setting.allow_logging,
        )

    def _answer(self, step: Step, client: NodeClient, served: Served) -> Answer:
        receipt = served.receipt.receipt
        return Answer(
            step=step.id,
            run=self._record.id,
            text=served.text,
            finish=served.finish,
            peer=client.peer,
            operator=client.operator,
            period=self._period,
            tokens_in=receipt.tokens_in,
            tokens_out=receipt.tokens_out,
            exact=receipt.exact,
            cost=receipt.cost,
            first_token=served.first_token,
            seconds=served.seconds,
            receipt=_encode(served.receipt),
            advert=_encode(served.advert),
            completed_at=self._setting.clock(),
        )

    def _finish(self, task: asyncio.Task[tuple[Won, Answer]]) -> None:
        """Take up a call that has ended, well or not."""
        step = self._calls.pop(task).step
        try:
            won, answer = task.result()
        except Lost as lost:
            self._failed(lost.assignment, lost.error)
            return
        self._dispatcher.served(won.assignment, won.served, asyncio.get_running_loop().time())
        self._payments.add(asyncio.create_task(self._pay(won.assignment.client)))
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

    async def _pay(self, client: NodeClient) -> None:
        try:
            await client.settle()
        except (RemoteFault, ChainError) as error:
            self._setting.tell(PaymentDelayed(client.peer, printable(error.message)))

    async def _settle(self, stopped: asyncio.Task[bool]) -> None:
        """Wait, bounded, for payments, those that earlier runs could not deliver included."""
        owed = {
            account.node
            for account in self._store.accounts(self._period)
            if account.acknowledged < account.signed
        }
        for signed in self._offers.believed():
            if signed.advert.operator in owed:
                client = self._dispatcher.client(signed)
                self._payments.add(asyncio.create_task(self._pay(client)))
        loop = asyncio.get_running_loop()
        give_up = loop.time() + SETTLE_WAIT
        while self._payments and not stopped.done() and loop.time() < give_up:
            await asyncio.wait(
                {*self._payments, stopped},
                timeout=give_up - loop.time(),
                return_when=asyncio.FIRST_COMPLETED,
            )
            self._reap_payments()

    def _reap_payments(self) -> None:
        for task in [task for task in self._payments if task.done()]:
            self._payments.remove(task)
            task.result()


async def _end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel and await tasks; what they raise has been dealt with or no longer matters."""
    owned = list(tasks)
    for task in owned:
        task.cancel()
    await asyncio.gather(*owned, return_exceptions=True)


def _finished(step: Step, answer: Answer, cached: bool) -> StepFinished:
    return StepFinished(
        step=step.id,
        name=step.name,
        peer=answer.peer,
        tokens_in=answer.tokens_in,
        tokens_out=answer.tokens_out,
        cost=answer.cost,
        seconds=answer.seconds,
        cached=cached,
    )
