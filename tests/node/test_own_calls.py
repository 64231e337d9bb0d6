"""The owner's own calls over a real pool and ledger: free, recorded, counted, and within limits."""

from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path

import pytest
from node_bench import MODEL, PROVIDER_KEY, Bench, config, eventually, offer
from node_bench import run as run_bench

from doubles.upstream import answer_to
from ricochet_node.ledger import Ledger
from ricochet_node.own_calls import DEFAULT_TOKENS, Ended
from ricochet_node.request_log import RequestRecord
from ricochet_protocol.chat_request import ChatRequest
from ricochet_protocol.conversation import Turn
from ricochet_protocol.errors import RemoteCode, RemoteFault
from ricochet_protocol.ids import ModelId, Period, RequestId
from ricochet_protocol.messages import Ask, Chunk
from ricochet_protocol.tokens import count_tokens

PROMPT = "tell me all of it"
WORDS = answer_to(PROMPT, 50)


def ask(prompt: str = PROMPT, most: int = 50) -> Ask:
    return Ask(RequestId("0" * 32), Period(0), MODEL, (Turn("user", prompt),), most, 60)


Scenario = Callable[[Bench, list[RequestRecord]], Awaitable[None]]


@pytest.fixture
def run(tmp_path: Path) -> Callable[[Scenario], None]:
    def one(scenario: Scenario) -> None:
        async def inner(bench: Bench) -> None:
            records: list[RequestRecord] = []
            bench.supply.records.listeners.append(records.append)
            await scenario(bench, records)

        run_bench(tmp_path, inner, config(offers=(offer(slots=1),)))

    return one


async def streamed(bench: Bench, asked: Ask) -> tuple[str, Ended]:
    async with aclosing(bench.supply.own.stream(asked)) as stream:
        *pieces, ended = [piece async for piece in stream]
    assert isinstance(ended, Ended)
    return "".join(piece.text for piece in pieces if isinstance(piece, Chunk)), ended


def test_both_ways_give_the_same_and_are_recorded(run: Callable[[Scenario], None]) -> None:
    async def scenario(bench: Bench, records: list[RequestRecord]) -> None:
        answer, ended = await bench.supply.own.whole(ask())
        assert (answer.text, ended) == (" ".join(WORDS), Ended("stop", 5, len(WORDS)))
        assert await streamed(bench, ask()) == (answer.text, ended)
        assert [request.get("stream") for request in bench.upstream.requests] == [False, True]
        for record in records:
            assert (record.door, record.subscriber, record.outcome) == ("local", "", "ok")
            assert (record.tokens_in, record.tokens_out, record.exact) == (5, len(WORDS), True)
            assert (record.key, record.income) == ("v1", 0)
        assert len(records) == 2

    run(scenario)


def test_nothing_is_owed_or_stored_and_the_sales_count(
    run: Callable[[Scenario], None], tmp_path: Path
) -> None:
    async def scenario(bench: Bench, _: list[RequestRecord]) -> None:
        for _again in range(2):
            await bench.supply.own.whole(ask())
        (shown,) = bench.node.status()["models"]
        assert (shown["calls"], shown["tokens_in"], shown["tokens_out"]) == (2, 10, 2 * len(WORDS))
        found = await bench.node.funds()
        assert found["accounted"] and found["served"] == 0 and not found["periods"]
        assert await bench.node.settle() == {"claimed": 0, "withdrawn": 0}
        await bench.supply.own.whole(ask())

    run(scenario)
    ledger = Ledger(tmp_path / "node.db")
    assert [sales.calls for sales in ledger.sales()] == [3], "the end writes what is left"
    ledger.close()


def test_what_the_provider_does_not_count_is_counted_here(
    run: Callable[[Scenario], None],
) -> None:
    async def scenario(bench: Bench, records: list[RequestRecord]) -> None:
        expected = Ended("stop", count_tokens(PROMPT), count_tokens(" ".join(WORDS)))
        bench.upstream.fault("no_usage")
        assert (await bench.supply.own.whole(ask()))[1] == expected
        bench.upstream.fault("no_usage")
        assert (await streamed(bench, ask()))[1] == expected
        assert [record.exact for record in records] == [False, False]

    run(scenario)


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("429", RemoteCode.BUSY),
        ("500", RemoteCode.UPSTREAM),
        ("reset", RemoteCode.UPSTREAM),
        ("401", RemoteCode.UPSTREAM_AUTH),
    ],
)
def test_a_fault_is_told_and_recorded(
    run: Callable[[Scenario], None], whole: bool, fault: str, code: str
) -> None:
    async def scenario(bench: Bench, records: list[RequestRecord]) -> None:
        bench.upstream.fault(fault)
        with pytest.raises(RemoteFault) as caught:
            await (bench.supply.own.whole(ask()) if whole else streamed(bench, ask()))
        assert caught.value.code == code
        assert [(record.outcome, record.key) for record in records] == [(code, "v1")]
        assert bench.node.book.open_calls == 0

    run(scenario)


def test_the_window_and_the_slots_hold(run: Callable[[Scenario], None]) -> None:
    async def scenario(bench: Bench, records: list[RequestRecord]) -> None:
        long = "word " * 990
        assert count_tokens(long) > 950
        for prompt, most in ((PROMPT, 1000), (long, 50)):
            with pytest.raises(RemoteFault) as caught:
                await bench.supply.own.whole(ask(prompt, most))
            assert caught.value.code == RemoteCode.TOO_LONG
        # As bytes it would not fit, as tokens it does.
        fitting = "word " * 900
        assert len(fitting) > 1000
        await bench.supply.own.whole(ask(fitting, 50))
        bench.upstream.fault("stall_after")
        async with aclosing(bench.supply.own.stream(ask())) as held:
            await anext(held)
            with pytest.raises(RemoteFault) as busy:
                await bench.supply.own.whole(ask())
            assert busy.value.code == RemoteCode.BUSY
        await eventually(lambda: bench.node.book.open_calls == 0)
        assert [record.outcome for record in records] == [
            RemoteCode.TOO_LONG,
            RemoteCode.TOO_LONG,
            "ok",
            RemoteCode.BUSY,
            "cancelled",
        ]
        assert bench.upstream.counts.keys[PROVIDER_KEY] == 2

    run(scenario)


def test_an_answer_without_a_limit_gets_what_the_window_leaves(
    run: Callable[[Scenario], None],
) -> None:
    async def scenario(bench: Bench, _: list[RequestRecord]) -> None:
        def wanted(prompt: str) -> ChatRequest:
            return ChatRequest(MODEL, (Turn("user", prompt),))

        own = bench.supply.own
        assert await own.room(wanted(PROMPT)) == 1000 - count_tokens(PROMPT)
        assert await own.room(wanted("word " * 2000)) == 1
        bench.node.change(config(offers=(offer(context=1_000_000),)))
        assert await own.room(wanted(PROMPT)) == DEFAULT_TOKENS
        stranger = ChatRequest(ModelId("other"), (Turn("user", "x"),))
        assert await own.room(stranger) == DEFAULT_TOKENS

    run(scenario)
