"""Paying as an answer comes: ahead by a step, what was delivered and no more, and never twice."""

import asyncio
import itertools
from pathlib import Path

import msgspec
import pytest
from orchestrator_stage import ADVANCE, MAPPED, SESSION_KEY, SUBSCRIBER, Stage, numbered, on, play

from ricochet_orchestrator.chains import Chain
from ricochet_orchestrator.checkpoint import RunStatus
from ricochet_orchestrator.progress import StepRetried
from ricochet_orchestrator.store import Store
from ricochet_protocol.errors import BudgetError
from ricochet_protocol.ids import Period
from ricochet_protocol.messages import Ask
from ricochet_protocol.money import PricePerMillion
from ricochet_protocol.payer import UNPROVEN_PAID_PERCENT
from ricochet_protocol.signing import account_address
from ricochet_protocol.steps import STEP_TOKENS, Metered
from twins.scripted_node import OFFER, Fault

ONE = Chain("mapped", (MAPPED,))
LONG = Chain("long", (msgspec.structs.replace(MAPPED, max_tokens=900),))
SMALL = numbered(1, words=300)
STEP = STEP_TOKENS * OFFER.price_out // 10**6 + 1


def wordy(_: Ask) -> str:
    return "word " * 700


def test_vouchers_follow_the_text_by_steps(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    node = stage.node(0, answer=wordy, pieces=50)
    result = play(stage, SMALL, LONG)
    assert result.status is RunStatus.COMPLETED
    amounts = [signed.voucher.cumulative for signed in node.paid]
    assert amounts == sorted(set(amounts)) and len(amounts) >= 700 // STEP_TOKENS
    (call,) = node.calls
    opening = Metered(OFFER, result.tokens_in, call.max_tokens).opening
    assert amounts[0] == opening
    assert all(later - sooner <= STEP for sooner, later in itertools.pairwise(amounts))
    assert node.demands == [], "an answer seldom waits"
    assert node.due <= amounts[-1] <= node.due + STEP


def test_a_node_is_paid_what_it_asks_for_as_far_as_that_can_be(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    node = stage.node(0, wordier=150)
    result = play(stage, numbered(6), ONE)
    assert result.status is RunStatus.COMPLETED
    assert len(node.demands) == 1, "what it bills is known after the first answer"
    store = Store(stage.home / "runs.db")
    account = store.account(node.operator, Period(1))
    assert account.surplus.factor == pytest.approx(1.5, abs=0.02)
    assert node.due <= stage.owed(node) <= node.due * 5 // 4
    store.close()


def test_an_advance_for_an_answer_that_never_came_pays_the_next(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    node = stage.node(0)
    node.faults.extend([Fault.BUSY] * 5)
    assert play(stage, numbered(1), ONE).status is RunStatus.COMPLETED
    assert len(stage.heard(StepRetried)) == 5
    (voucher,) = node.paid
    assert node.due <= voucher.voucher.cumulative <= ADVANCE


def test_strangers_who_take_advances_get_two_percent_of_the_budget_together(
    tmp_path: Path,
) -> None:
    dear = msgspec.structs.replace(OFFER, price_in=PricePerMillion(20_000_000))
    stage = Stage(tmp_path)
    budget = 1_000_000
    stage.settlement.min_fee = 0
    stage.settlement._subscribers.clear()
    stage.settlement.subscribe(SUBSCRIBER, budget, account_address(SESSION_KEY))
    for number in range(4):
        stage.node(number, offers=(dear,)).always = Fault.TAKES_THE_ADVANCE
    with pytest.raises(BudgetError) as caught:
        play(stage, numbered(3, words=300), ONE)
    assert caught.value.code == "node_unproven" and "paid" in caught.value.message
    lost = sum(stage.owed(node) for node in stage.nodes)
    assert 0 < lost <= budget * UNPROVEN_PAID_PERCENT // 100


def test_a_node_that_gives_credit_is_not_paid_ahead(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    node = stage.node(0)
    node.credit = 10**6
    result = play(stage, numbered(3))
    assert result.status is RunStatus.COMPLETED
    assert stage.owed(node) == node.due == result.cost


def test_a_replayed_answer_is_not_paid_again(tmp_path: Path) -> None:
    """The client is stopped when all but the receipt has come, and asks again."""
    stage = Stage(tmp_path)
    node = stage.node(0, answer=wordy, pieces=50)
    node.faults.append(Fault.GOES_SILENT_AT_THE_END)

    async def stopped() -> RunStatus:
        stop = asyncio.Event()
        run = asyncio.create_task(stage.play(SMALL, LONG, stop=stop))
        await asyncio.sleep(30)
        stop.set()
        return (await run).status

    assert on(stage, stopped) is RunStatus.PAUSED
    paid = stage.owed(node)
    result = play(stage, SMALL, LONG)
    assert (result.status, len(node.calls)) == (RunStatus.COMPLETED, 1)
    assert node.due == result.cost <= stage.owed(node) == paid <= result.cost + STEP
