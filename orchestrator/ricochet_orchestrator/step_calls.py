"""The calls of one run, each from its ask to the checkpoint.

A step's answer, what it cost and the voucher that pays for it are stored together, so that a call
which is cut off anywhere leaves all of it or none.
"""

import hashlib
from collections.abc import Callable
from typing import Final

import msgspec

from ricochet_orchestrator.checkpoint import Answer, Check
from ricochet_orchestrator.client import NodeClient, Served
from ricochet_orchestrator.dispatch import Assignment, Dispatcher
from ricochet_orchestrator.plan import Step
from ricochet_orchestrator.progress import FirstToken, StepFinished, StepStarted
from ricochet_orchestrator.race import Won, race
from ricochet_orchestrator.setting import Setting
from ricochet_protocol.ids import Period
from ricochet_protocol.messages import Ask

DEADLINE: Final = 300
"""Seconds a node may take for one call; part of the ask, so it never varies."""
_encode = msgspec.msgpack.Encoder().encode


class StepCalls:
    """Made with the dispatcher that hands the run's assignments out."""

    def __init__(self, setting: Setting, run: str, period: Period, dispatcher: Dispatcher) -> None:
        self._setting = setting
        self._store = setting.store
        self._run = run
        self._period = period
        self._dispatcher = dispatcher

    async def call(self, first: Assignment) -> tuple[Won, Answer]:
        """One step from ask to checkpoint; cancelled anywhere, it leaves all of it or none."""
        self._asked_of(first)
        won = await race(first, self._dispatcher, self._ask)
        step, client, served = first.step, won.assignment.client, won.served
        answer = self._answer(step, client, served)
        pay = client.paying.acceptance(answer.cost, served.counted)
        if not self._store.complete(answer, pay):
            # Another process has completed the step; what it stored is what later steps read.
            answer = self._store.answers(self._run)[step.id]
        client.paying.refresh()
        self._setting.tell(finished(step, answer, cached=False))
        return won, answer

    def _asked_of(self, assignment: Assignment) -> None:
        """Note where the step's answer is, or may be after a crash."""
        step, client = assignment.step, assignment.client
        advert, now = _encode(client.advert), self._setting.clock()
        self._store.asking(self._run, step.id, client.peer, advert, now)

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

    async def check(self, assignment: Assignment) -> Served:
        """Make a call that is no step."""
        return await assignment.client.ask(self._ask_of(assignment), None, lambda _: None)

    def check_paid(self, kind: str, assignment: Assignment, served: Served) -> None:
        """Keep what a check cost, as a row of its own, and pay for it."""
        client, cost = assignment.client, served.receipt.receipt.cost
        now = self._setting.clock()
        check = Check(
            id=hashlib.sha256(f"{kind} {assignment.request_id} {now}".encode()).hexdigest()[:32],
            kind=kind,
            run=self._run,
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
            run=self._run,
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


def finished(step: Step, answer: Answer, cached: bool) -> StepFinished:
    """The event that the step has an answer, `cached` when it was there already."""
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
