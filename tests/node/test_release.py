"""An answer gets out as far as it is secured: no further, no later, and its end last."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ricochet_network.virtual_time import run_virtual
from ricochet_node.release import PAY_SECONDS, Release, Unpaid
from ricochet_node.standings import Standing, Tab
from ricochet_protocol import payee
from ricochet_protocol.advert import ModelOffer
from ricochet_protocol.answer import said
from ricochet_protocol.errors import RemoteCode
from ricochet_protocol.ids import ModelId
from ricochet_protocol.messages import CallPiece, Chunk, Due
from ricochet_protocol.money import PricePerMillion, Units
from ricochet_protocol.payee import Payee
from ricochet_protocol.steps import STEP_TOKENS, Metered, Surplus
from ricochet_protocol.tokens import count_tokens

OFFER = ModelOffer(ModelId("m"), 100_000, PricePerMillion(1_000_000), PricePerMillion(1_000_000), 1)
METERED = Metered(OFFER, counted_in=10, max_tokens=1_000)
"""A unit a token, in and out: the opening is 10 and a step."""
OPENING = 10 + STEP_TOKENS
T = TypeVar("T")


def virtual(scene: Callable[[], Awaitable[T]]) -> T:
    async def all_of_it() -> T:
        return await scene()

    return run_virtual(all_of_it())


def opened(
    vouchered: int = OPENING, earned: int = 0, surplus: Surplus | None = None, deadline: int = 600
) -> tuple[Standing, Tab, Release]:
    """An open call of a subscriber whose commitment covers its worst case."""
    state = Payee(committed=Units(10_000), vouchered=Units(vouchered), earned=Units(earned))
    standing = Standing(state, payee.CREDIT_CAP)
    tab = Tab(standing, METERED.worst, METERED.opening)
    end = asyncio.get_running_loop().time() + deadline
    return standing, tab, Release(tab, METERED, surplus or Surplus(), end)


async def drained(release: Release) -> tuple[int, Due | None]:
    """Tokens that got out, and the demand that stands before the rest."""
    tokens = 0
    while (reply := await release.next()) is not None:
        if isinstance(reply, Due):
            return tokens, reply
        tokens += count_tokens(said(reply))
    return tokens, None


def test_what_is_not_paid_waits_for_its_voucher() -> None:
    async def scene() -> None:
        standing, _, release = opened()
        for _ in range(300):
            release.take(Chunk(text=" word"))
        tokens, due = await drained(release)
        assert tokens == STEP_TOKENS
        assert due == Due(due=Units(OPENING + STEP_TOKENS)), "a whole step is asked for"
        waiting = asyncio.create_task(drained(release))
        await asyncio.sleep(1)
        assert not waiting.done()
        standing.take(payee.Vouchered(due.due))
        tokens, due = await waiting
        assert tokens == STEP_TOKENS
        assert due == Due(due=Units(OPENING + 2 * STEP_TOKENS))

    virtual(scene)


def test_of_text_that_came_together_only_the_last_word_is_held() -> None:
    async def scene() -> None:
        release = opened()[2]
        release.take(Chunk(text="all of it"))
        assert await release.next() == Chunk(text="all of")
        assert await release.next() is None
        release.take(Chunk(text=" and"))
        assert await release.next() == Chunk(text=" it")
        assert release.end() == (Chunk(text=" and"),)

    virtual(scene)


def test_without_a_voucher_the_call_ends_in_a_bounded_time() -> None:
    async def scene(deadline: int, expected: float) -> None:
        loop = asyncio.get_running_loop()
        _, tab, release = opened(deadline=deadline)
        for _ in range(200):
            release.take(Chunk(text=" word"))
        await drained(release)
        begin = loop.time()
        with pytest.raises(Unpaid) as caught:
            await release.next()
        assert caught.value.code == RemoteCode.PAYMENT_REQUIRED
        assert loop.time() - begin == pytest.approx(expected)
        assert release.delivered == (10, STEP_TOKENS)
        assert release.worth == OPENING == tab.backed

    virtual(lambda: scene(600, PAY_SECONDS))
    virtual(lambda: scene(5, 5))


def test_a_voucher_that_is_too_low_leaves_the_call_waiting() -> None:
    async def scene() -> None:
        standing, _, release = opened()
        for _ in range(200):
            release.take(Chunk(text=" word"))
        await drained(release)
        waiting = asyncio.create_task(drained(release))
        await asyncio.sleep(1)
        standing.take(payee.Vouchered(Units(OPENING)))
        await asyncio.sleep(1)
        assert not waiting.done()
        standing.take(payee.Vouchered(Units(OPENING + 5)))
        assert (await waiting)[0] == 5, "what is paid goes on"

    virtual(scene)


def test_credit_that_was_earned_lets_an_answer_go_on() -> None:
    async def scene() -> None:
        _, _, release = opened(vouchered=0, earned=5_000)
        for _ in range(300):
            release.take(Chunk(text=" word"))
        assert await drained(release) == (299, None)
        assert await release.before_end(Units(310)) is None

    virtual(scene)


def test_the_end_is_held_until_the_bill_is_paid() -> None:
    async def scene() -> None:
        standing, tab, release = opened()
        for word in ("The", " end"):
            release.take(Chunk(text=word))
        assert (await drained(release))[0] == 1
        assert await release.before_end(Units(150)) == Due(due=Units(150))
        waiting = asyncio.create_task(release.before_end(Units(150)))
        await asyncio.sleep(1)
        assert not waiting.done()
        standing.take(payee.Vouchered(Units(150)))
        assert await waiting is None
        assert release.end() == (Chunk(text=" end"),)
        tab.bill(Units(150))
        assert (standing.state.due, standing.state.backed, standing.state.in_flight) == (150, 0, 0)

    virtual(scene)


def test_a_wordier_tokenizer_is_secured_as_its_bills_were() -> None:
    async def scene() -> None:
        _, _, release = opened(vouchered=1_000, surplus=Surplus(billed=150, counted=100))
        assert release.foresee() is None
        for _ in range(60):
            release.take(Chunk(text=" word"))
        await drained(release)
        _, tab, release = opened(surplus=Surplus(billed=150, counted=100))
        assert release.foresee() == Due(due=Units(OPENING * 3 // 2))
        for _ in range(200):
            release.take(Chunk(text=" word"))
        tokens, due = await drained(release)
        assert tokens == OPENING * 2 // 3 - 10 and tab.backed <= OPENING
        assert due is not None

    virtual(scene)


@pytest.mark.parametrize(
    "piece",
    [Chunk(text="some words " * 700), CallPiece(0, "c1", "look", '{"a": "' + "b c " * 900 + '"}')],
)
def test_a_long_piece_gets_out_in_parts_within_a_step(piece: Chunk | CallPiece) -> None:
    async def scene() -> None:
        _, _, release = opened(vouchered=10_000)
        release.take(piece)
        parts = []
        while (reply := await release.next()) is not None:
            parts.append(reply)
        parts.extend(release.end())
        assert all(count_tokens(said(part)) <= STEP_TOKENS // 2 for part in parts)  # type: ignore[arg-type]  # no Due when all is paid
        assert "".join(said(part) for part in parts) == said(piece)  # type: ignore[arg-type]  # as above
        if isinstance(piece, CallPiece):
            assert [(part.id, part.name) for part in parts[1:]] == [("", "")] * (len(parts) - 1)  # type: ignore[union-attr]  # as above

    virtual(scene)


@given(
    pieces=st.lists(st.integers(1, 200), max_size=12),
    vouchers=st.lists(st.integers(0, 1_500), max_size=12),
    earned=st.integers(0, 3_000),
)
def test_nothing_gets_out_beyond_vouchers_and_credit(
    pieces: list[int], vouchers: list[int], earned: int
) -> None:
    async def scene() -> None:
        standing, tab, release = opened(earned=earned)
        credit = standing.state.credit()
        for words in pieces:
            release.take(Chunk(text=" word" * words))
        for voucher in vouchers:
            tokens, _ = await asyncio.wait_for(_until_stuck(release), 1)
            limit = standing.state.secured + credit
            assert METERED.counted(release.delivered[1]) <= tab.backed <= limit
            standing.take(payee.Vouchered(Units(voucher)))
            assert tokens >= 0

    virtual(scene)


async def _until_stuck(release: Release) -> tuple[int, Due | None]:
    """Let out what can go; a demand that was told before makes `next` wait, so stop there."""
    try:
        async with asyncio.timeout(0.1):
            return await drained(release)
    except TimeoutError:
        return 0, None
