"""Serving: from ask to receipt, what is owed when, and what every fault costs (nothing)."""

import asyncio
from contextlib import aclosing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from node_bench import (
    FEE,
    MODEL,
    OPERATOR,
    PROMPT,
    PROVIDER_KEY,
    SUBSCRIBER,
    Bench,
    config,
    eventually,
    offer,
    run,
)

from doubles.upstream import answer_to
from ricochet_node import door
from ricochet_node.admission import meter_ask
from ricochet_node.chat_body import chat_body
from ricochet_node.offer import Source
from ricochet_node.prices import Price
from ricochet_node.request_log import RequestRecord
from ricochet_node.serve import meter
from ricochet_node.upstream import Usage
from ricochet_node.vault_request import most_prompt_tokens
from ricochet_protocol.advert import Advert
from ricochet_protocol.conversation import Tool, ToolCall
from ricochet_protocol.errors import RemoteCode, RemoteFault
from ricochet_protocol.ids import Hash32, NetworkId, Period, RequestId
from ricochet_protocol.messages import Answered, Ask, CallPiece, Chunk, PaymentRequired, Turn
from ricochet_protocol.money import PricePerMillion, Units
from ricochet_protocol.receipt import Receipt, answer_digest, check_receipt_untrusted
from ricochet_protocol.tokens import count_texts, count_tokens
from ricochet_protocol.usage import check_usage, worst_cost

WORDS = answer_to(PROMPT, 50)
COST = 5 + 2 * len(WORDS)
OPENING = 5 + 2 * 50
"""Prompt and first step, which `max_tokens` cuts short."""


RECEIPT = Receipt(
    network=NetworkId("n"),
    subscriber=SUBSCRIBER,
    operator=OPERATOR,
    period=Period(1),
    request_id=RequestId("0" * 32),
    ask=Hash32(bytes(32)),
    advert=Hash32(bytes(32)),
    answer=Hash32(bytes(32)),
    tokens_in=0,
    tokens_out=0,
    exact=True,
    cost=Units(0),
    due=Units(0),
)


async def fault_of(bench: Bench, ask: Any = None) -> RemoteFault:
    with pytest.raises(RemoteFault) as caught:
        await bench.client.ask(ask)
    return caught.value


def test_an_ask_streams_and_ends_with_a_receipt(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.client.open_account()
        ask = bench.client.request()
        *chunks, answered = await bench.client.send(ask)
        texts = [chunk.text for chunk in chunks if isinstance(chunk, Chunk)]
        assert len(texts) > 1 and "".join(texts) == " ".join(WORDS)
        assert texts[-1] == f" {WORDS[-1]}", "the end is let out by itself"
        assert isinstance(answered, Answered) and answered.finish == "stop"
        (advert,) = bench.client.network.directory()
        expected = Receipt(
            network=bench.chain.domain.network,
            subscriber=SUBSCRIBER,
            operator=OPERATOR,
            period=ask.period,
            request_id=ask.request_id,
            ask=ask.digest(),
            advert=advert.advert.digest(),
            answer=answer_digest(" ".join(WORDS)),
            tokens_in=0,
            tokens_out=0,
            exact=True,
            cost=Units(0),
            due=Units(0),
        )
        receipt = check_receipt_untrusted(answered.receipt, bench.client.node, expected)
        assert (receipt.tokens_in, receipt.tokens_out, receipt.exact) == (5, len(WORDS), True)
        assert (receipt.cost, receipt.due) == (COST, COST)
        _, second = await bench.client.ask()
        assert second.receipt.receipt.due == 2 * COST

    run(tmp_path, scenario)


def test_a_repeated_request_is_replayed_without_a_call(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.client.open_account()
        ask = bench.client.request()
        first = await bench.client.ask(ask)
        bench.upstream.fault("500")
        assert await bench.client.ask(ask) == first
        assert bench.upstream.counts.keys[PROVIDER_KEY] == 1
        assert bench.ledger.account(SUBSCRIBER, ask.period).due == COST

    run(tmp_path, scenario)


TOOLS = (Tool("look", "", "{}"), Tool("hear", "", "{}"))


def test_calls_of_functions_are_receipted_and_replayed(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.client.open_account()
        ask = bench.client.request(tools=TOOLS)
        *pieces, answered = await bench.client.send(ask)
        assert isinstance(answered, Answered) and answered.finish == "tool_calls"
        calls = (ToolCall("c0", "look", '{"n":0}'), ToolCall("c1", "hear", '{"n":1}'))
        assert answered.receipt.receipt.answer == answer_digest("", calls)
        assert [piece.id for piece in pieces if isinstance(piece, CallPiece) and piece.id] == [
            "c0",
            "c1",
        ]
        *again, replayed = await bench.client.send(ask)
        assert replayed == answered
        assert again == [
            CallPiece(index, call.id, call.name, call.arguments) for index, call in enumerate(calls)
        ]
        assert bench.upstream.counts.keys[PROVIDER_KEY] == 1

    run(tmp_path, scenario, config(offers=(offer(features=("tools",)),)))


def test_what_the_offer_does_not_support_is_refused_unbilled(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.client.hello()
        fault = await fault_of(bench, bench.client.request(tools=TOOLS, seed=1))
        assert fault.code == RemoteCode.REFUSED
        assert "seed, tools" in fault.message
        assert bench.upstream.counts.keys.total() == 0

    run(tmp_path, scenario)


def test_a_request_id_with_other_content_is_a_conflict(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.client.open_account()
        ask = bench.client.request()
        await bench.client.ask(ask)
        other = msgspec.structs.replace(ask, turns=(Turn("user", "something else"),))
        assert (await fault_of(bench, other)).code == RemoteCode.CONFLICT
        assert bench.upstream.counts.keys[PROVIDER_KEY] == 1

    run(tmp_path, scenario)


def test_the_same_request_twice_at_once_is_one_call(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.client.open_account()
        bench.upstream.delay = 0.05
        ask = bench.client.request()
        answers = await asyncio.gather(*(bench.client.ask(ask) for _ in range(4)))
        assert all(answer == answers[0] for answer in answers)
        assert bench.upstream.counts.keys[PROVIDER_KEY] == 1

    run(tmp_path, scenario)


def test_a_repetition_takes_over_from_a_call_that_failed(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.client.open_account()
        bench.upstream.delay = 0.05
        bench.upstream.fault("500", times=1)
        ask = bench.client.request()
        first, second = await asyncio.gather(
            bench.client.ask(ask), bench.client.ask(ask), return_exceptions=True
        )
        assert isinstance(first, RemoteFault)
        assert not isinstance(second, BaseException)

    run(tmp_path, scenario)


def test_a_client_that_vanishes_ends_the_upstream_call(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.client.open_account()
        bench.upstream.fault("stall_after")
        async with bench.client.network.call(bench.client.node, bench.client.request()) as replies:
            assert isinstance(await anext(replies), Chunk)
            assert bench.node.book.open_calls == 1
        await bench.upstream.until(lambda counts: counts.abandoned == 1)
        await bench.node.book.idle()
        # The prompt and the words that got out; the one after them was held and never came.
        delivered = count_tokens(" ".join(WORDS[:2]))
        assert bench.ledger.account(SUBSCRIBER, bench.client.period).due == 5 + 2 * delivered

    run(tmp_path, scenario)


def test_a_client_whose_process_dies_ends_the_upstream_call(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.client.open_account()
        bench.upstream.fault("stall")
        call = asyncio.create_task(bench.client.ask())
        await bench.upstream.until(lambda counts: counts.open == 1)
        bench.wires.kill(bench.client.network.peer)
        await bench.upstream.until(lambda counts: counts.abandoned == 1)
        await bench.node.book.idle()
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)

    run(tmp_path, scenario)


def test_a_client_who_takes_nothing_more_holds_no_slot_beyond_his_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "LAST_SECONDS", 0.1)

    async def scenario(bench: Bench) -> None:
        await bench.client.open_account(FEE // 2)
        bench.upstream.fault("endless")
        ask = bench.client.request(max_tokens=90_000, deadline=1)
        async with bench.client.network.call(bench.client.node, ask) as replies:
            assert isinstance(await anext(replies), Chunk)
            await bench.node.book.idle()
            await bench.upstream.until(lambda counts: counts.abandoned == 1)
            assert bench.ledger.account(SUBSCRIBER, bench.client.period).due > 0
            text = [reply async for reply in replies]
            assert text and not any(isinstance(reply, Answered) for reply in text)
        await bench.client.pay(FEE // 2 + 1)  # the connection is as it was

    run(tmp_path, scenario, config(offers=(offer(context=100_000),)))


def test_without_enough_commitment_it_demands_the_worst_case(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.client.hello()
        ask = bench.client.request()
        needed = worst_cost(offer().shown, 5, 50)
        (demand,) = await bench.client.send(ask)
        assert isinstance(demand, PaymentRequired)
        assert (demand.commit, demand.pay) == (needed, OPENING)
        assert (demand.account.committed, demand.account.due) == (0, 0)
        await bench.client.commit(needed - 1)
        assert isinstance((await bench.client.send(ask))[0], PaymentRequired)
        await bench.client.commit(needed)
        (demand,) = await bench.client.send(ask)
        assert isinstance(demand, PaymentRequired)
        assert (demand.commit, demand.pay) == (needed, OPENING)
        await bench.client.pay(OPENING - 1)
        assert isinstance((await bench.client.send(ask))[0], PaymentRequired)
        await bench.client.pay(OPENING)
        await bench.client.ask(ask)
        assert bench.upstream.counts.keys[PROVIDER_KEY] == 1

    run(tmp_path, scenario)


def test_calls_in_flight_count_with_their_worst_case(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        worst = worst_cost(offer().shown, 5, 50)
        await bench.client.commit(2 * worst - 1)
        await bench.client.pay(2 * worst - 1)
        bench.upstream.fault("stall", times=1)
        call = asyncio.create_task(bench.client.ask())
        await bench.upstream.until(lambda counts: counts.open == 1)
        (demand,) = await bench.client.send(bench.client.request())
        assert isinstance(demand, PaymentRequired) and demand.commit == 2 * worst
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        await bench.node.book.idle()
        await bench.client.ask()

    run(tmp_path, scenario)


def test_what_was_served_is_paid_before_the_next_call(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.client.hello()
        await bench.client.reserve(50_000)
        await bench.client.pay(OPENING)
        await bench.client.ask()
        (demand,) = await bench.client.send(bench.client.request())
        assert isinstance(demand, PaymentRequired)
        assert (demand.account.due, demand.pay) == (COST, COST + OPENING)
        await bench.client.pay(COST + OPENING)
        await bench.client.ask()

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("500", RemoteCode.UPSTREAM),
        ("429", RemoteCode.BUSY),
        ("huge", RemoteCode.UPSTREAM),
        ("too_long", RemoteCode.TOO_LONG),
        ("garbage", RemoteCode.UPSTREAM),
        ("cut", RemoteCode.UPSTREAM),
    ],
)
def test_a_fault_of_the_provider_costs_nothing(tmp_path: Path, kind: str, code: str) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.client.open_account()
        bench.upstream.fault(kind, times=1)
        ask = bench.client.request()
        assert (await fault_of(bench, ask)).code == code
        assert bench.ledger.account(SUBSCRIBER, ask.period).due == 0
        assert bench.node.book.open_calls == 0
        bench.chain.now += 7  # what Retry-After says
        _, answered = await bench.client.ask(ask)
        assert answered.receipt.receipt.due == COST

    run(tmp_path, scenario)


def test_a_refused_key_withdraws_its_offers(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.client.open_account()
        bench.upstream.fault("401")
        fault = await fault_of(bench)
        assert fault.code == RemoteCode.UPSTREAM_AUTH
        (event,) = bench.events("offer_withdrawn")
        assert event["model"] == MODEL and event["key"] == "v1"
        assert "ricochet keys rotate v1" in event["hint"]
        assert (await fault_of(bench)).code == RemoteCode.NO_MODEL
        await eventually(lambda: not bench.client.network.directory()[0].advert.models)
        assert bench.node.status()["models"][0]["offered"] is False

    run(tmp_path, scenario)


@pytest.mark.parametrize("kind", ["stall", "trickle"])
def test_an_answer_that_is_late_is_a_timeout(tmp_path: Path, kind: str) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.client.open_account()
        bench.upstream.fault(kind)
        fault = await fault_of(bench, bench.client.request(deadline=1))
        assert fault.code == RemoteCode.TIMEOUT
        await bench.upstream.until(lambda counts: counts.abandoned == 1)

    run(tmp_path, scenario)


def test_usage_is_bounded_by_what_a_client_believes(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.client.open_account()
        bench.upstream.fault("greedy")
        _, answered = await bench.client.ask()
        receipt = answered.receipt.receipt
        check_usage(receipt, offer().shown, 5, len(WORDS), 50)
        assert receipt.exact is False

    run(tmp_path, scenario)


def test_without_usage_it_counts_itself(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.client.open_account()
        bench.upstream.fault("no_usage")
        text, answered = await bench.client.ask()
        receipt = answered.receipt.receipt
        assert receipt.exact is False
        assert receipt.tokens_in == 5
        assert len(WORDS) <= receipt.tokens_out <= len(text)

    run(tmp_path, scenario)


def test_slots_are_the_limit(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.client.open_account()
        bench.upstream.fault("stall", times=2)
        calls = [asyncio.create_task(bench.client.ask()) for _ in range(2)]
        await bench.upstream.until(lambda counts: counts.open == 2)
        assert (await fault_of(bench)).code == RemoteCode.BUSY
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        await bench.node.book.idle()
        await bench.client.ask()

    run(tmp_path, scenario)


def test_draining_lets_open_calls_end_and_admits_no_more(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.client.open_account()
        bench.upstream.delay = 0.2
        call = asyncio.create_task(bench.client.ask())
        await bench.upstream.until(lambda counts: counts.open == 1)
        draining = asyncio.create_task(bench.node.end_calls(10))
        await asyncio.sleep(0)
        assert (await fault_of(bench)).code == RemoteCode.BUSY
        await call
        assert await draining

    run(tmp_path, scenario)


def test_draining_gives_up_on_a_call_that_does_not_end(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.client.open_account()
        bench.upstream.fault("stall")
        call = asyncio.create_task(bench.client.ask())
        await bench.upstream.until(lambda counts: counts.open == 1)
        assert not await bench.node.end_calls(0.05)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"model": "other"}, RemoteCode.NO_MODEL),
        ({"period": 2}, RemoteCode.NO_SESSION),
        ({"max_tokens": 996}, RemoteCode.TOO_LONG),
    ],
)
def test_asks_outside_the_offer_are_refused(
    tmp_path: Path, changes: dict[str, Any], code: str
) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.client.open_account()
        assert (await fault_of(bench, bench.client.request(**changes))).code == code
        assert bench.upstream.counts.keys.total() == 0

    run(tmp_path, scenario)


def test_nothing_of_the_conversation_is_logged(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.client.open_account()
        await bench.client.ask(bench.client.request("a secret prompt"))
        for kind in ("500", "garbage", "401"):
            bench.upstream.fault(kind)
            await fault_of(bench, bench.client.request("a secret prompt"))
        logged = bench.log_text.getvalue()
        assert bench.events("served") and bench.events("refused")
        for secret in ("secret prompt", "Answer", PROVIDER_KEY):
            assert secret not in logged

    run(tmp_path, scenario)


def test_a_server_iterator_can_be_closed_at_any_chunk(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.client.open_account()
        async with aclosing(
            bench.node.door(bench.client.network.peer, bench.client.request())
        ) as replies:
            await anext(replies)
        assert bench.node.book.open_calls == 0

    run(tmp_path, scenario)


def test_the_meter_prefers_the_providers_count() -> None:
    class Case(msgspec.Struct):
        tokens: tuple[int, int] | None
        billed: tuple[int, int, bool]

    ask = Ask(RequestId("0" * 32), Period(1), MODEL, (Turn("user", "x"),), 100, 60)
    for case in (
        Case((12, 30), (12, 30, True)),
        Case(None, (10, 20, False)),
        Case((10_000, 30), (84, 30, False)),
        Case((12, 10_000), (12, 100, False)),
    ):
        bill = meter(offer(), ask, 10, 20, Usage("stop", case.tokens))
        assert (bill.tokens_in, bill.tokens_out, bill.exact) == case.billed
        assert bill.cost == bill.tokens_in + 2 * bill.tokens_out


def test_each_request_is_recorded_once_however_it_ends(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        records: list[RequestRecord] = []
        bench.supply.records.listeners.append(records.append)
        await bench.client.hello()
        ask = bench.client.request()
        await bench.client.send(ask)
        await bench.client.reserve(50_000)
        await bench.client.pay(10_000)
        await bench.client.ask(ask)
        await bench.client.ask(ask)
        await fault_of(bench, bench.client.request(model="a stranger's text"))
        bench.upstream.fault("500")
        await fault_of(bench)
        demand, answer, replay, unknown, failed = records
        assert [one.outcome for one in records] == [
            *("payment_required", "ok", "ok"),
            *(RemoteCode.NO_MODEL, RemoteCode.UPSTREAM),
        ]
        assert (demand.key, demand.income, demand.first_token_ms) == ("", 0, None)
        assert (answer.model, answer.key, answer.subscriber) == (MODEL, "v1", SUBSCRIBER)
        assert (answer.income, answer.tokens_in, answer.tokens_out) == (COST, 5, len(WORDS))
        assert answer.first_token_ms is not None and answer.exact
        assert replay.replayed and replay.request_id == answer.request_id
        assert unknown.model == "(unknown)"
        assert (failed.model, failed.key, failed.income) == (MODEL, "v1", 0)

    run(tmp_path, scenario)


def test_a_call_whose_client_leaves_is_recorded(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        records: list[RequestRecord] = []
        bench.supply.records.listeners.append(records.append)
        await bench.client.open_account()
        bench.upstream.fault("stall")
        async with bench.client.network.call(bench.client.node, bench.client.request()):
            await eventually(lambda: bench.upstream.counts.keys[PROVIDER_KEY] == 1)
        await eventually(lambda: len(records) == 1)
        # The provider was asked, so the prompt is charged.
        assert (records[0].outcome, records[0].income) == ("cancelled", 5)

    run(tmp_path, scenario)


PRICE = Price(tokens_in=PricePerMillion(3_000_000), tokens_out=PricePerMillion(1_000_000))
REPORTED = 3 * 5 + len(WORDS)
"""What the double reports at that price."""
PRICED = msgspec.structs.replace(offer(), sources=(Source("v1", "real", price=PRICE),))


@pytest.mark.parametrize(
    ("fault", "charged"),
    [
        ("", REPORTED),
        ("no_usage", 3 * 5 + count_tokens(" ".join(WORDS))),
        # Nothing came of these, yet the provider says what it generated.
        ("filtered", REPORTED),
        ("cut_late", REPORTED),
        ("blank", REPORTED),
        # Declined before anything was generated.
        *((kind, 0) for kind in ("401", "403", "404", "429", "quota", "too_long", "redirect")),
        # Nobody knows what was generated.
        *((kind, None) for kind in ("cut", "500", "503", "reset", "garbage", "error_after")),
    ],
)
def test_what_the_provider_charges_is_recorded(
    tmp_path: Path, fault: str, charged: int | None
) -> None:
    async def scenario(bench: Bench) -> None:
        records: list[RequestRecord] = []
        bench.supply.records.listeners.append(records.append)
        await bench.client.open_account()
        if fault:
            bench.upstream.fault(fault)
        await asyncio.gather(bench.client.ask(), return_exceptions=True)
        await eventually(lambda: bool(records))
        (record,) = records
        assert (record.outcome == "ok") is (fault in ("", "no_usage"))
        assert record.upstream_cost == (charged or 0)
        if charged is None:
            assert REPORTED < record.upstream_risk < 3_000
        else:
            assert record.upstream_risk == 0

    run(tmp_path, scenario, config(offers=(PRICED,)))


def test_what_a_client_who_leaves_may_have_cost_is_recorded(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        records: list[RequestRecord] = []
        bench.supply.records.listeners.append(records.append)
        await bench.client.open_account()
        bench.upstream.fault("stall_after")
        ask = bench.client.request()
        async with bench.client.network.call(bench.client.node, ask) as replies:
            await anext(replies)
        await eventually(lambda: bool(records))
        body = len(chat_body("m", ask))
        assert (records[0].upstream_cost, records[0].outcome) == (0, "cancelled")
        assert records[0].upstream_risk == 3 * most_prompt_tokens(body, tools=False) + 50

    run(tmp_path, scenario, config(offers=(PRICED,)))


def test_a_request_that_reached_no_provider_cost_nothing(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        records: list[RequestRecord] = []
        bench.supply.records.listeners.append(records.append)
        await bench.client.hello()
        await bench.client.send(bench.client.request())
        await fault_of(bench, bench.client.request(model="other"))
        assert [(one.upstream_cost, one.upstream_risk) for one in records] == [(0, 0), (0, 0)]

    run(tmp_path, scenario)


def test_what_a_provider_adds_for_tools_is_reserved_and_billed(tmp_path: Path) -> None:
    shown = offer(features=("tools",)).shown

    async def scenario(bench: Bench) -> None:
        await bench.client.hello()
        bench.upstream.fault("tool_prompt")
        ask = bench.client.request(tools=TOOLS)
        counted = count_texts(ask.texts())
        (demand,) = await bench.client.send(ask)
        assert isinstance(demand, PaymentRequired)
        assert demand.commit == worst_cost(shown, counted, 50, tools=True)
        await bench.client.open_account()
        *_, answered = await bench.client.send(ask)
        assert isinstance(answered, Answered)
        receipt = answered.receipt.receipt
        assert (receipt.tokens_in, receipt.exact) == (len(PROMPT.split()) + 530, True)
        check_usage(receipt, shown, counted, receipt.tokens_out, 50, tools=True)

    run(tmp_path, scenario, config(offers=(offer(features=("tools",)),)))


@given(
    counted=st.tuples(st.integers(0, 5_000), st.integers(0, 5_000)),
    reported=st.none() | st.tuples(st.integers(1, 2**40), st.integers(1, 2**40)),
    tools=st.booleans(),
)
def test_no_bill_is_above_what_was_reserved_or_what_a_client_believes(
    counted: tuple[int, int], reported: tuple[int, int] | None, tools: bool
) -> None:
    functions = TOOLS if tools else ()
    turns = (Turn("user", "x"),)
    ask = Ask(RequestId("0" * 32), Period(1), MODEL, turns, 5_000, 60, tools=functions)
    shown = offer(context=20_000).shown
    metered = meter_ask(ask, shown, counted[0])
    bill = meter(offer(context=20_000), ask, *counted, Usage("stop", reported))
    assert bill.cost <= metered.worst
    receipt = msgspec.structs.replace(
        RECEIPT,
        tokens_in=bill.tokens_in,
        tokens_out=bill.tokens_out,
        cost=bill.cost,
        due=bill.cost,
    )
    check_usage(receipt, shown, *counted, ask.max_tokens, tools=tools)


def advert_of(bench: Bench) -> Advert:
    return bench.client.network.directory()[0].advert


def dearer(bench: Bench) -> None:
    prices = {"price_in": PricePerMillion(9_000_000), "price_out": PricePerMillion(9_000_000)}
    bench.node.change(config(offers=(offer(**prices),)))


async def heard(bench: Bench, seen: Advert) -> Advert:
    await eventually(lambda: advert_of(bench) != seen)
    return advert_of(bench)


def test_nobody_is_billed_a_price_that_he_has_not_seen(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.client.open_account()
        await eventually(lambda: bool(bench.client.network.directory()))
        seen = advert_of(bench)
        dearer(bench)
        new = await heard(bench, seen)
        _, old = await bench.client.ask(bench.client.request(terms=seen.digest()))
        assert old.receipt.receipt.advert == seen.digest()
        assert old.receipt.receipt.cost == COST
        _, now = await bench.client.ask(bench.client.request(terms=new.digest()))
        assert now.receipt.receipt.advert == new.digest()
        assert now.receipt.receipt.cost == 9 * (5 + len(WORDS))

    run(tmp_path, scenario)


def test_a_price_holds_for_an_ask_that_was_admitted_under_it(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.client.open_account()
        await eventually(lambda: bool(bench.client.network.directory()))
        seen = advert_of(bench)
        bench.upstream.delay = 0.1
        call = asyncio.create_task(bench.client.ask(bench.client.request(terms=seen.digest())))
        await bench.upstream.until(lambda counts: counts.open == 1)
        dearer(bench)
        await heard(bench, seen)
        _, answered = await call
        assert answered.receipt.receipt.cost == COST

    run(tmp_path, scenario)


def test_terms_that_hold_no_more_bill_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ricochet_node.advertise.HONOURED", 0.0)

    async def scenario(bench: Bench) -> None:
        await bench.client.open_account()
        await eventually(lambda: bool(bench.client.network.directory()))
        seen = advert_of(bench)
        dearer(bench)
        await heard(bench, seen)
        for terms in (seen.digest(), bytes(32)):
            fault = await fault_of(bench, bench.client.request(terms=terms))
            assert (fault.code, fault.wait) == (RemoteCode.BUSY, 1)
        assert bench.upstream.counts.keys.total() == 0
        assert bench.ledger.account(SUBSCRIBER, bench.client.period).due == 0

    run(tmp_path, scenario)


def test_a_repetition_on_newer_terms_is_the_same_ask(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.client.open_account()
        await eventually(lambda: bool(bench.client.network.directory()))
        seen = advert_of(bench)
        ask = bench.client.request(terms=seen.digest())
        first = await bench.client.ask(ask)
        dearer(bench)
        new = await heard(bench, seen)
        again = msgspec.structs.replace(ask, terms=new.digest())
        assert again.digest() == ask.digest()
        assert await bench.client.ask(again) == first
        assert bench.upstream.counts.keys[PROVIDER_KEY] == 1

    run(tmp_path, scenario)
