"""What answers cost whom while they stream, end early, are replayed, or are lent."""

from pathlib import Path

import pytest
from node_bench import (
    DELEGATE_KEY,
    FEE,
    OPERATOR,
    PROMPT,
    PROVIDER_KEY,
    SUBSCRIBER,
    Bench,
    config,
    offer,
    run,
)

from doubles.upstream import answer_to
from ricochet_node import release
from ricochet_node.standings import Standings
from ricochet_protocol.errors import RemoteCode, RemoteFault
from ricochet_protocol.ids import Period
from ricochet_protocol.messages import Answered, Ask, Chunk, Due, PaymentRequired, Reply
from ricochet_protocol.money import Units
from ricochet_protocol.signing import account_address
from ricochet_protocol.steps import STEP_TOKENS
from ricochet_protocol.tokens import count_tokens
from ricochet_protocol.usage import worst_cost
from twins.settlement import PERIOD

COST = 5 + 2 * len(answer_to(PROMPT, 50))
OPENING = 5 + 2 * 50
"""Prompt and first step, which `max_tokens` cuts short."""
WORDY = " ".join(f"{number}-antidisestablishmentarianism" for number in range(20))
"""A prompt of many tokens, which the double quotes: the answer has more than a step."""


async def streamed(bench: Bench, ask: Ask, most: int) -> tuple[list[Reply], list[int]]:
    """All replies, each demand met up to `most`; and the demands."""
    demands: list[int] = []
    replies: list[Reply] = []
    async with bench.client.network.call(bench.client.node, ask) as stream:
        async for reply in stream:
            if isinstance(reply, Due):
                demands.append(reply.due)
                await bench.client.pay(min(reply.due, most))
            else:
                replies.append(reply)
    return replies, demands


def test_an_answer_is_paid_as_it_comes(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.client.hello()
        await bench.client.reserve(50_000)
        ask = bench.client.request(WORDY, max_tokens=300)
        opening = count_tokens(WORDY) + 2 * STEP_TOKENS
        await bench.client.pay(opening)
        replies, demands = await streamed(bench, ask, 50_000)
        answered = replies[-1]
        assert isinstance(answered, Answered)
        (demand,) = demands
        assert opening + STEP_TOKENS < demand <= opening + 2 * STEP_TOKENS, "a step"
        text = "".join(reply.text for reply in replies if isinstance(reply, Chunk))
        assert text == " ".join(answer_to(WORDY, 300))
        assert bench.ledger.account(SUBSCRIBER, ask.period).due == answered.receipt.receipt.due
        assert await bench.client.send(ask) and bench.upstream.counts.keys[PROVIDER_KEY] == 1

    run(tmp_path, scenario)


def test_who_stops_paying_is_charged_what_he_got_and_no_more_than_he_signed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(release, "PAY_SECONDS", 0.05)

    async def scenario(bench: Bench) -> None:
        await bench.client.hello()
        await bench.client.reserve(50_000)
        opening = count_tokens(WORDY) + 2 * STEP_TOKENS
        await bench.client.pay(opening)
        ask = bench.client.request(WORDY, max_tokens=300)
        with pytest.raises(RemoteFault) as caught:
            await streamed(bench, ask, opening)
        assert caught.value.code == RemoteCode.PAYMENT_REQUIRED
        await bench.upstream.until(lambda counts: counts.open == 0)
        account = bench.ledger.account(SUBSCRIBER, ask.period)
        # What comes at once goes out in parts of half a step.
        assert opening - STEP_TOKENS <= account.due <= opening
        (sales,) = bench.ledger.sales()
        assert sales.earned == account.due and (await bench.node.funds())["accounted"]
        assert bench.ledger.answer(SUBSCRIBER, ask.request_id) is None
        assert bench.events("left")[0]["units"] == account.due
        (demand,) = await bench.client.send(bench.client.request())
        assert isinstance(demand, PaymentRequired) and demand.pay == account.due + OPENING

    run(tmp_path, scenario)


def test_who_leaves_while_the_node_stops_is_charged_nothing(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.client.open_account()
        bench.upstream.fault("stall_after")
        async with bench.client.network.call(bench.client.node, bench.client.request()) as replies:
            await anext(replies)
            bench.node.book.close()
        await bench.node.book.idle()
        assert bench.ledger.account(SUBSCRIBER, bench.client.period).due == 0

    run(tmp_path, scenario)


def test_a_replay_waits_for_what_a_reorganisation_took_back(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.client.hello()
        before = bench.chain.save()
        await bench.client.open_account()
        ask = bench.client.request()
        first = await bench.client.ask(ask)
        bench.chain.restore(before)
        await bench.client.hello()
        async with bench.client.network.call(bench.client.node, ask) as replies:
            assert await anext(replies) == Due(due=Units(COST))
            await bench.client.reserve(50_000)
            *chunks, answered = [reply async for reply in replies]
        assert (
            "".join(chunk.text for chunk in chunks if isinstance(chunk, Chunk)),
            answered,
        ) == first

    run(tmp_path, scenario)


def test_custom_earns_credit_and_credit_serves_without_an_advance(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.client.open_account()
        await bench.node.claimer.settle()
        bench.chain.warp(PERIOD)
        bench.chain.subscribe(SUBSCRIBER, FEE, account_address(DELEGATE_KEY))
        bench.client.period = Period(2)
        state = await bench.client.hello()
        assert (state.credit, state.committed, state.voucher) == (180, 0, None)
        await bench.client.ask()
        (demand,) = await bench.client.send(bench.client.request())
        assert isinstance(demand, PaymentRequired), "what is lent is lent once"
        assert (demand.pay, demand.account.due) == (0, COST)
        assert demand.commit == COST + worst_cost(offer().shown, 5, 50) - 180

    run(tmp_path, scenario, config(credit_cap=Units(180)))


def test_what_a_node_knows_of_a_subscriber_survives_it(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.client.open_account()
        await bench.client.ask()
        known = bench.node.door._standings.of(SUBSCRIBER, bench.client.period).state
        anew = Standings(bench.ledger, bench.chain, OPERATOR)
        await anew.refresh(SUBSCRIBER, bench.client.period)
        assert anew.of(SUBSCRIBER, bench.client.period).state == known

    run(tmp_path, scenario)
