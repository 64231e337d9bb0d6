"""Runs a chain over a document; the only place that knows the order of things.

segment → plan → checkpoint → (route → ask → checkpoint → pay) for each step. What is stored is
never asked again: a run of the same document, chain and models goes on where the last one stopped,
and a step that was being asked goes to the same node under the same request id, which replays the
answer it has. A step that fails is routed around a bounded number of times; then it is given up,
and the run ends `partial` once nothing else can be done.

`run_document` owns every task it starts: however it ends, calls are cancelled and awaited, and the
store says where the run stands.
"""

import asyncio
import hashlib
import secrets
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from ricochet_orchestrator.chains import Chain
from ricochet_orchestrator.checkpoint import Answer, RunRecord, RunStatus, Status
from ricochet_orchestrator.client import NodeClient, Served
from ricochet_orchestrator.context import Context
from ricochet_orchestrator.dispatch import Assignment, Dispatcher
from ricochet_orchestrator.document import Document
from ricochet_orchestrator.offers import Offers
from ricochet_orchestrator.plan import Plan, Step, make_plan, segment_budget
from ricochet_orchestrator.progress import (
    FirstToken,
    PaymentDelayed,
    RunFinished,
    RunStarted,
    StepFailed,
    StepFinished,
    StepRetried,
    StepStarted,
    printable,
)
from ricochet_orchestrator.result import RunResult, summarize
from ricochet_orchestrator.schedule import Schedule
from ricochet_orchestrator.segment import segment
from ricochet_orchestrator.setting import Setting
from ricochet_orchestrator.terms import models_on_offer, paid_period
from ricochet_protocol.conversation import Turn
from ricochet_protocol.errors import (
    BudgetError,
    ChainError,
    RemoteFault,
    RicochetError,
)
from ricochet_protocol.ids import ModelId
from ricochet_protocol.messages import Ask
from ricochet_protocol.ports import Subscription

TICK: Final = 0.1
"""Seconds between looks at the directory, and at who has cooled down."""
DEADLINE: Final = 300
"""Seconds a node may take for one call; part of the ask, so it never varies."""
SETTLE_WAIT: Final = 15.0
"""Seconds that the end of a run waits for vouchers to be acknowledged; unsent ones are kept."""
_encode = msgspec.msgpack.Encoder().encode


async def run_document(
    setting: Setting,
    document: Document,
    chain: Chain,
    model: ModelId | None,
    stop: asyncio.Event,
    resume_hint: str,
) -> RunResult:
    """Run, or go on with, the chain over the document; `model` is for steps that name none.

    Setting `stop` pauses: no further call is started, calls that are out are cut off, and the same
    run goes on later. Errors that end a run early (budget, no peer, chain) leave it paused too.
    """
    subscription = await paid_period(setting)
    own = {setting.payer.subscriber, *setting.private_nodes}
    offers = Offers(setting.peers, setting.settlement, setting.clock, own, setting.routing)
    record, plan, resumed = await _prepare(setting, offers, document, chain, model, stop)
    setting.store.mark_cached(record.id, setting.clock())
    run = _Run(setting, subscription, offers, record, plan, stop)
    run.announce(resumed)
    loop = asyncio.get_running_loop()
    begin = loop.time()
    status = RunStatus.PAUSED
    try:
        status = await run.execute()
    finally:
        seconds = record.seconds + loop.time() - begin
        setting.store.mark_run(record.id, status, seconds)
        setting.store.pause(record.id)
    setting.tell(RunFinished(run=record.id, status=status, seconds=seconds))
    ended = msgspec.structs.replace(record, status=status, seconds=seconds)
    return summarize(
        ended,
        setting.store.steps(record.id),
        setting.store.answers(record.id),
        resume_hint,
    )


async def _prepare(
    setting: Setting,
    offers: Offers,
    document: Document,
    chain: Chain,
    model: ModelId | None,
    stop: asyncio.Event,
) -> tuple[RunRecord, Plan, bool]:
    """The run to work on with its plan, and whether it was begun before."""
    key = _run_key(document, chain, model, setting.context)
    earlier = setting.store.unfinished(key)
    if earlier is not None:
        plan = _plan(setting, document, chain, earlier.model, earlier.windows)
        if set(plan.steps) == {step.id for step in setting.store.steps(earlier.id)}:
            return earlier, plan, True
    default, windows = await models_on_offer(offers, chain, model, stop)
    plan = _plan(setting, document, chain, default, windows)
    now = setting.clock()
    record = RunRecord(
        id=secrets.token_hex(4),
        key=key,
        document=document.name,
        chain=chain.name,
        model=default,
        windows=windows,
        status=RunStatus.RUNNING,
        created_at=now,
        outputs=plan.outputs,
    )
    setting.store.create_run(record, tuple(plan.steps.values()))
    return record, plan, False


def _plan(
    setting: Setting,
    document: Document,
    chain: Chain,
    default: ModelId,
    windows: dict[ModelId, int],
) -> Plan:
    budget = segment_budget(chain, default, windows, setting.count)
    segments = segment(document, budget, setting.count, setting.context)
    return make_plan(chain, segments, default, windows, setting.count)


def _run_key(document: Document, chain: Chain, model: ModelId | None, context: Context) -> str:
    content = (document.sha256, chain, model, context)
    return hashlib.sha256(msgspec.json.encode(content)).hexdigest()


class _Run:
    """One run in this process: its schedule, and the calls and payments that are out."""

    def __init__(
        self,
        setting: Setting,
        subscription: Subscription,
        offers: Offers,
        record: RunRecord,
        plan: Plan,
        stop: asyncio.Event,
    ) -> None:
        self._setting = setting
        self._store = setting.store
        self._offers = offers
        self._record = record
        self._plan = plan
        self._stop = stop
        self._period = subscription.period
        known = self._store.answers(record.id)
        self._cached = known
        self._answers = {step: answer.text for step, answer in known.items()}
        self._schedule = Schedule(plan.steps, self._answers)
        self._dispatcher = Dispatcher(
            setting,
            offers,
            subscription,
            plan,
            record.windows,
            self._store.steps(record.id),
        )
        self._calls: dict[asyncio.Task[Served], Assignment] = {}
        self._payments: set[asyncio.Task[None]] = set()

    def announce(self, resumed: bool) -> None:
        """Tell of the plan and of the answers that are there already."""
        record, plan = self._record, self._plan
        self._setting.tell(
            RunStarted(
                run=record.id,
                document=record.document,
                chain=record.chain,
                segments=len(plan.segments),
                steps=len(plan.steps),
                done=len(self._cached),
                resumed=resumed,
            )
        )
        for step_id, answer in self._cached.items():
            self._setting.tell(_finished(plan.steps[step_id], answer, cached=True))

    async def execute(self) -> RunStatus:
        """Work until all steps are done or none can be; where the run stands then."""
        await self._offers.refresh()
        watcher = asyncio.create_task(self._watch())
        stopped = asyncio.create_task(self._stop.wait())
        try:
            while not (self._stop.is_set() or self._schedule.complete):
                self._start_calls()
                waiting = self._schedule.ready()
                if not self._calls:
                    if not waiting:
                        break
                    self._raise_if_hopeless(waiting)
                await asyncio.wait(
                    {*self._calls, watcher, stopped},
                    timeout=TICK,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if watcher.done():
                    watcher.result()
                for task in [task for task in self._calls if task.done()]:
                    self._finish(task)
                self._reap_payments()
            if not self._stop.is_set():
                await self._settle(stopped)
        finally:
            await _end([watcher, stopped, *self._calls, *self._payments])
            self._dispatcher.close(asyncio.get_running_loop().time())
        if self._schedule.complete:
            return RunStatus.COMPLETED
        return RunStatus.PAUSED if self._stop.is_set() else RunStatus.PARTIAL

    async def _watch(self) -> None:
        while True:
            await self._offers.refresh()
            await asyncio.sleep(TICK)

    def _start_calls(self) -> None:
        now = asyncio.get_running_loop().time()
        for step in self._schedule.ready():
            assignment = self._dispatcher.assign(step, self._answers, now)
            if assignment is not None:
                self._schedule.started(step.id)
                self._calls[asyncio.create_task(self._call(assignment))] = assignment

    def _raise_if_hopeless(self, waiting: list[Step]) -> None:
        error = self._dispatcher.hopeless(waiting, asyncio.get_running_loop().time())
        if error is not None:
            raise error

    async def _call(self, assignment: Assignment) -> Served:
        """One step from ask to checkpoint; cancelled anywhere, it leaves all of it or none."""
        step, client = assignment.step, assignment.client
        peer, tell = client.peer, self._setting.tell
        advert = _encode(client.advert)
        self._store.asking(self._record.id, step.id, peer, advert, self._setting.clock())
        tell(StepStarted(step.id, step.name, step.role, step.model, peer, assignment.attempt))
        ask = Ask(
            request_id=assignment.request_id,
            period=self._period,
            model=step.model,
            turns=(Turn(role="user", content=assignment.prompt),),
            max_tokens=step.max_tokens,
            deadline=DEADLINE,
            temperature=step.temperature,
            allow_logging=self._setting.allow_logging,
        )

        def begun(seconds: float) -> None:
            self._dispatcher.begun(assignment)
            tell(FirstToken(step.id, peer, seconds))

        served = await client.ask(ask, assignment.earlier, begun)
        answer = self._answer(step, client, served)
        pay = client.paying.acceptance(answer.cost, served.counted)
        if not self._store.complete(answer, pay):
            # Another process has completed the step; what it stored is what later steps read.
            answer = self._store.answers(self._record.id)[step.id]
        client.paying.refresh()
        self._answers[step.id] = answer.text
        tell(_finished(step, answer, cached=False))
        return served

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

    def _finish(self, task: asyncio.Task[Served]) -> None:
        """Take up a call that has ended, well or not."""
        assignment = self._calls.pop(task)
        step = assignment.step
        try:
            served = task.result()
        except (RemoteFault, ChainError, BudgetError) as error:
            self._failed(assignment, error)
            return
        self._dispatcher.served(assignment, served, asyncio.get_running_loop().time())
        self._schedule.completed(step.id)
        self._payments.add(asyncio.create_task(self._pay(assignment.client)))

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
