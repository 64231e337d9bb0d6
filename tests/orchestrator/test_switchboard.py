"""Single conversations over a network in memory: routed, streamed, paid, kept, and failed over."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from orchestrator_stage import Stage, T, on

from ricochet_orchestrator.call_record import Allowance, Call, CallAnswer, CallId
from ricochet_orchestrator.calls import Calls
from ricochet_orchestrator.store import Store
from ricochet_orchestrator.switchboard import Switchboard
from ricochet_protocol.chat_request import ChatRequest
from ricochet_protocol.conversation import Turn
from ricochet_protocol.errors import BudgetError, LocalFault, RemoteCode, RemoteFault, UsageError
from ricochet_protocol.ids import ModelId, Period
from ricochet_protocol.messages import Chunk
from ricochet_protocol.money import PricePerMillion, Units
from twins.scripted_node import MODEL, OFFER, Fault

FREE = Allowance("k")
HI = ChatRequest(MODEL, (Turn("user", "Say something about " + "many words " * 20),), 60)


def call(name: int = 1, allowance: Allowance = FREE, request: str = "r") -> Call:
    return Call(CallId(f"{name:032x}"), allowance, MODEL, request, Period(0), 1000.0)


@asynccontextmanager
async def open_board(stage: Stage) -> AsyncIterator[Switchboard]:
    async with stage.setting() as setting:
        board = Switchboard(setting)
        async with board.open():
            yield board


async def asked(
    board: Switchboard, request: ChatRequest = HI, of: Call | None = None, whole: bool = False
) -> tuple[str, CallAnswer]:
    """The text as it was streamed, and the answer."""
    text = ""
    async with aclosing(board.converse(request, of or call(), whole)) as parts:
        async for part in parts:
            if isinstance(part, CallAnswer):
                return text, part
            assert isinstance(part, Chunk)
            text += part.text
    raise AssertionError("no answer")


def scene(stage: Stage, act: Callable[[Switchboard], Awaitable[T]]) -> T:
    async def play() -> T:
        async with open_board(stage) as board:
            return await act(board)

    return on(stage, play)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def charged(stage: Stage, allowance: Allowance = FREE) -> int:
    store = Store(stage.home / "runs.db")
    try:
        return Calls(store).spent(allowance, Period(1), 1000.0)
    finally:
        store.close()


def test_a_conversation_is_streamed_paid_and_kept(stage: Stage) -> None:
    node = stage.node(1, pieces=6)
    text, answer = scene(stage, asked)
    assert text == answer.text and text.startswith("The text has the number")
    assert answer.cost == node.due == charged(stage)
    # The end of the program has handed over what was owed.
    assert node.due <= node.vouchered
    store = Store(stage.home / "runs.db")
    (payment,) = store.payments()
    store.close()
    assert (payment.node, payment.model, payment.cost) == (node.operator, MODEL, answer.cost)


def test_many_conversations_at_once_use_all_nodes_and_are_paid_once(stage: Stage) -> None:
    nodes = [stage.node(number, think=1.0) for number in range(3)]

    async def act(board: Switchboard) -> list[tuple[str, CallAnswer]]:
        return await asyncio.gather(*(asked(board, of=call(n)) for n in range(12)))

    answers = scene(stage, act)
    assert sum(answer.cost for _, answer in answers) == sum(node.due for node in nodes)
    assert all(node.calls and node.due <= node.vouchered for node in nodes)
    assert charged(stage) == sum(node.due for node in nodes)
    assert max(node.most_open for node in nodes) <= OFFER.slots


@pytest.mark.parametrize(
    ("fault", "whole"),
    [
        (Fault.DIES_BEFORE_FIRST_TOKEN, False),
        (Fault.KEY_REFUSED, True),
        (Fault.BUSY, False),
        (Fault.PROVIDER_FAILS, False),
    ],
)
def test_a_failure_before_the_first_token_goes_elsewhere(
    stage: Stage, fault: Fault, whole: bool
) -> None:
    once = deque([fault])  # whoever is asked first fails
    for number in range(2):
        stage.node(number).faults = once
    _, answer = scene(stage, lambda board: asked(board, whole=whole))
    assert answer.text
    assert sum(len(node.calls) for node in stage.nodes) == 1
    assert charged(stage) == answer.cost


def test_a_failure_after_the_first_piece_ends_a_stream_and_not_a_whole_answer(
    stage: Stage,
) -> None:
    for number in range(2):
        stage.node(number, pieces=4)

    async def act(board: Switchboard) -> None:
        stage.nodes[0].always = stage.nodes[1].always = Fault.RECEIPT_OF_ANOTHER_CALL
        with pytest.raises(RemoteFault):
            await asked(board, whole=False)
        assert stage.calls == 1
        before = charged(stage)
        assert before > 0
        stage.nodes[0].always = None
        _, answer = await asked(board, of=call(2), whole=True)
        assert answer.text

    scene(stage, act)


def test_who_leaves_ends_the_call_and_is_charged_what_came(stage: Stage) -> None:
    node = stage.node(1, pieces=40, answer=lambda _: "word " * 400)
    request = msgspec.structs.replace(HI, max_tokens=500)

    async def act(board: Switchboard) -> None:
        async with aclosing(board.converse(request, call(), whole=False)) as parts:
            async for _ in parts:
                break
        await asyncio.sleep(1)
        assert not node.open
        spent = charged(stage)
        assert 0 < spent < 60
        _, answer = await asked(board, request, call(2))
        assert answer.cost > 2 * spent

    scene(stage, act)


def test_a_named_call_is_answered_once(stage: Stage) -> None:
    node = stage.node(1)

    async def act(board: Switchboard) -> None:
        first = await asked(board)
        assert await asked(board) == first
        assert (await asked(board, whole=True))[1] == first[1]
        with pytest.raises(UsageError) as other:
            await asked(board, of=call(request="another"))
        assert other.value.code == "idempotency_key_reused"
        assert len(node.calls) == 1

    scene(stage, act)


def test_a_named_call_that_was_cut_off_finds_the_answer_where_it_is(stage: Stage) -> None:
    """A process dies when the node has answered and nothing is stored; the next one pays once."""
    stage.node(1)
    stage.node(2)

    class Died(BaseException):
        pass

    async def act(board: Switchboard) -> None:
        def die(*_: object) -> None:
            raise Died

        board.calls.complete = die  # type: ignore[method-assign]
        board.calls.end = lambda *_: None  # type: ignore[method-assign]
        with pytest.raises(Died):
            await asked(board)

    scene(stage, act)
    assert stage.calls == 1
    held = charged(stage)
    text, answer = scene(stage, asked)
    assert stage.calls == 1
    assert text == answer.text
    assert sum(node.due for node in stage.nodes) == answer.cost == charged(stage) < held
    assert all(node.due <= node.vouchered for node in stage.nodes)


def test_the_keys_budget_is_held_before_anything_is_sent(stage: Stage) -> None:
    node = stage.node(1)
    poor = Allowance("poor", Units(10))

    async def act(board: Switchboard) -> None:
        with pytest.raises(BudgetError) as refused:
            await asked(board, of=call(allowance=poor))
        assert refused.value.code == "key_budget"
        assert node.asks == 0 and node.paid == []

    scene(stage, act)
    assert charged(stage, poor) == 0


def test_a_node_too_dear_for_the_budget_is_passed_over(stage: Stage) -> None:
    dear = msgspec.structs.replace(OFFER, price_out=PricePerMillion(9_000_000))
    cheap = stage.node(1)
    costly = stage.node(2, offers=(dear,))
    allowance = Allowance("k", Units(300))

    async def act(board: Switchboard) -> None:
        for number in range(4):
            await asked(board, of=call(number, allowance))

    scene(stage, act)
    assert len(cheap.calls) == 4 and costly.asks == 0


def test_what_cannot_be_served_is_said_at_once(stage: Stage) -> None:
    stage.node(1)

    async def act(board: Switchboard) -> list[str]:
        await asked(board)
        codes = []
        for change in (
            {"model": ModelId("large")},
            {"seed": 5},
            {"turns": (Turn("user", "word " * 3000),)},
            {"max_tokens": 5000},
            {"turns": (Turn("user", "hi"),), "seed": 2**70},
        ):
            start = asyncio.get_running_loop().time()
            with pytest.raises((RemoteFault, UsageError)) as refused:
                await asked(board, msgspec.structs.replace(HI, **change), call(9))
            assert asyncio.get_running_loop().time() < start + 4
            codes.append(refused.value.code)
        return codes

    too_long = RemoteCode.TOO_LONG
    expected = [RemoteCode.NO_MODEL, "unsupported", too_long, too_long, "invalid_request"]
    assert scene(stage, act) == expected


def test_nobody_to_ask_is_said_after_a_wait(stage: Stage) -> None:
    with pytest.raises(LocalFault) as refused:
        scene(stage, asked)
    assert refused.value.code == "no_peer"


def test_no_subscription(tmp_path: Path) -> None:
    stage = Stage(tmp_path, subscribed=False)
    stage.node(1)
    with pytest.raises(BudgetError) as refused:
        scene(stage, asked)
    assert refused.value.code == "no_subscription"


def test_a_period_that_begins_while_it_runs_is_taken_up(stage: Stage) -> None:
    node = stage.node(1)

    async def act(board: Switchboard) -> None:
        await asked(board)
        stage.settlement.now = (await board.dealing()).subscription.end + 1
        stage.subscribe()
        node.voucher, node.due = None, 0  # the twin keeps the books of one period
        await asyncio.sleep(11)
        await asked(board, of=call(2))
        assert node.calls[-1].period == node.calls[0].period + 1

    scene(stage, act)
