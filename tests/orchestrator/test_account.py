"""The account with one node: what is signed, what is refused in words, what a node may say."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from orchestrator_stage import PAYER

from ricochet_orchestrator.account import (
    Account,
    Payer,
    accept,
    calls_at_once,
    check_payable,
    purse,
    reservation,
    resume,
    with_reservation,
    with_voucher,
)
from ricochet_protocol.eip712 import Voucher, sign_voucher
from ricochet_protocol.errors import BudgetError, RemoteFault
from ricochet_protocol.ids import Address, Period
from ricochet_protocol.messages import AccountState
from ricochet_protocol.money import Units
from ricochet_protocol.payer import FIRST_RESERVATION, PROVEN_ANSWERS, Purse
from ricochet_protocol.ports import Subscription
from ricochet_protocol.signing import account_address
from ricochet_protocol.steps import Surplus
from twins.settlement import DOMAIN

NODE = Address("0x" + "aa" * 20)
OTHER = Address("0x" + "bb" * 20)
PERIOD = Period(3)
RICH = Purse(Units(10_000_000), Units(2_000_000), Units(200_000), Units(1_000_000))


def account(**fields: int) -> Account:
    return Account(NODE, PERIOD, **fields)  # type: ignore[arg-type]  # amounts as plain integers


def subscription(budget: int, committed: int = 0) -> Subscription:
    delegate = account_address(PAYER.key)
    return Subscription(
        PAYER.subscriber, delegate, PERIOD, Units(budget), Units(committed), Units(0), 0, 1
    )


def state(
    voucher_amount: int | None, key: bytes = PAYER.key, due: int = 700, **changes: object
) -> AccountState:
    voucher = None
    if voucher_amount is not None:
        fields = {"subscriber": PAYER.subscriber, "node": NODE, "period": PERIOD} | changes
        value = Voucher(**fields, cumulative=Units(voucher_amount))  # type: ignore[arg-type]  # changed fields
        voucher = sign_voucher(key, DOMAIN, value)
    return AccountState(
        period=PERIOD, committed=Units(40_000), due=Units(due), credit=Units(0), voucher=voucher
    )


def accepted(before: Account, cost: int, due: int, left: Purse = RICH) -> Account:
    return accept(PAYER, before, Units(cost), Units(due), Units(cost), left)


def test_a_stranger_is_opened_with_five_cents() -> None:
    assert with_reservation(account(), Units(10), RICH).reserved == FIRST_RESERVATION


def test_a_call_dearer_than_the_first_reservation_goes_elsewhere() -> None:
    with pytest.raises(BudgetError) as caught:
        with_reservation(account(), Units(50_001), RICH)
    assert caught.value.code == "node_unproven"
    assert "$0.050001 reserved" in caught.value.message and "$0.05 so far" in caught.value.message


def test_an_empty_budget_says_how_to_fill_it() -> None:
    proven = account(answers=PROVEN_ANSWERS, reserved=400_000)
    left = Purse(Units(9), Units(0), Units(0), Units(0))
    with pytest.raises(BudgetError) as caught:
        with_reservation(proven, Units(400_010), left)
    assert caught.value.code == "budget_exhausted"
    assert "ricochet subscribe" in caught.value.hint


def test_reservations_that_have_not_landed_are_not_free() -> None:
    waiting = account(reserved=350_000, committed=300_000)
    assert purse(subscription(1_000_000, 300_000), [waiting]).free == 650_000
    of_another_period = Account(NODE, Period(2), reserved=Units(900_000))
    assert purse(subscription(1_000_000), [of_another_period]).free == 1_000_000


def test_an_unproven_node_serves_one_call_at_a_time() -> None:
    assert calls_at_once(account(answers=PROVEN_ANSWERS - 1), 8) == 1
    assert calls_at_once(account(answers=PROVEN_ANSWERS), 8) == 8


def test_a_voucher_ahead_of_the_answers_is_an_advance() -> None:
    paid = with_voucher(PAYER, account(reserved=50_000), Units(120), RICH)
    assert (paid.signed, paid.accepted, paid.state.advanced) == (120, 0, 120)
    assert paid.voucher is not None and paid.voucher.signer(DOMAIN) == account_address(PAYER.key)
    assert paid.voucher.voucher.node == NODE
    assert with_voucher(PAYER, paid, Units(90), RICH) == paid, "amounts only grow"
    served = accepted(paid, 100, due=100)
    assert (served.signed, served.state.advanced) == (120, 20)
    served = accepted(served, 100, due=200)
    assert (served.signed, served.accepted, served.answers) == (200, 200, 2)


def test_strangers_together_are_paid_two_percent() -> None:
    others = [Account(OTHER, PERIOD, voucher=state(199_000, node=OTHER).voucher)]
    left = purse(subscription(10_000_000), others)
    check_payable(account(reserved=50_000), Units(1_000), left)
    for refused in (check_payable, lambda *args: with_voucher(PAYER, *args)):
        with pytest.raises(BudgetError) as caught:
            refused(account(reserved=50_000), Units(1_001), left)
        assert caught.value.code == "node_unproven" and "paid" in caught.value.message


def test_an_answer_dearer_than_strangers_may_be_paid_is_paid_as_far_as_that() -> None:
    left = Purse(Units(0), Units(0), Units(60), Units(1_000))
    served = accepted(account(reserved=50_000), 100, due=100, left=left)
    assert (served.accepted, served.signed) == (100, 60)


@given(st.lists(st.integers(0, 10**9), min_size=1))
def test_a_voucher_is_the_sum_of_what_was_accepted(costs: list[int]) -> None:
    current = account(reserved=10**12, answers=PROVEN_ANSWERS)
    left = Purse(Units(0), Units(0), Units(0), Units(10**12))
    for index, cost in enumerate(costs, start=1):
        current = accepted(current, cost, due=sum(costs), left=left)
        assert current.signed == current.accepted == sum(costs[:index])
        assert current.answers == PROVEN_ANSWERS + index


def test_a_replayed_answer_that_was_paid_before_adds_nothing() -> None:
    resumed = resume(PAYER, account(reserved=50_000), state(700))
    assert accepted(resumed, 300, due=700).accepted == 700
    assert accepted(resumed, 300, due=800).accepted == 800
    assert accepted(resumed, 300, due=5).accepted == 700


def test_what_a_node_bills_beyond_the_own_count_is_remembered() -> None:
    served = accept(PAYER, account(reserved=50_000), Units(150), Units(150), Units(100), RICH)
    assert served.surplus == Surplus(billed=150, counted=100)
    assert served.surplus.factor == 1.5


def test_a_reservation_is_signed_by_the_session_key() -> None:
    signed = reservation(PAYER, account(reserved=5))
    assert signed.signer(DOMAIN) == account_address(PAYER.key)
    assert (signed.reservation.node, signed.reservation.total) == (NODE, 5)


def test_lost_state_is_resumed_from_our_own_signature() -> None:
    resumed = resume(PAYER, account(accepted=100, reserved=60_000), state(900))
    assert (resumed.signed, resumed.acknowledged, resumed.committed) == (900, 900, 40_000)
    assert resumed.accepted == 700, "what the node served for it is no advance"
    assert resume(PAYER, account(accepted=100), state(900, due=2_000)).accepted == 900


def test_a_replaced_key_stands_for_what_was_signed_and_no_more() -> None:
    new = bytes([8]) * 32
    payer = Payer(PAYER.subscriber, DOMAIN, new, frozenset({account_address(PAYER.key)}))
    signed = with_voucher(PAYER, account(reserved=60_000), Units(700), RICH)
    held = resume(payer, signed, state(700))
    assert (held.signed, held.acknowledged) == (700, 700)
    with pytest.raises(RemoteFault):
        resume(payer, signed, state(701))


def test_an_older_voucher_at_the_node_never_lowers_what_was_signed() -> None:
    paid = with_voucher(PAYER, account(accepted=900, reserved=50_000), Units(950), RICH)
    resumed = resume(PAYER, paid, state(700))
    assert (resumed.accepted, resumed.signed, resumed.acknowledged) == (900, 950, 700)


def test_a_node_without_a_voucher_has_acknowledged_nothing() -> None:
    assert resume(PAYER, account(accepted=9, acknowledged=9), state(None)).acknowledged == 0


@pytest.mark.parametrize(
    "shown",
    [
        state(700, key=bytes([8]) * 32),
        state(700, node=OTHER),
        state(700, period=Period(2)),
        state(700, subscriber=OTHER),
        AccountState(Period(2), Units(0), Units(0), Units(0), None),
    ],
)
def test_what_was_never_signed_here_is_refused(shown: AccountState) -> None:
    with pytest.raises(RemoteFault):
        resume(PAYER, account(), shown)


def test_the_node_is_not_believed_beyond_what_was_signed() -> None:
    assert resume(PAYER, account(reserved=30_000), state(None)).committed == 30_000


def test_the_key_is_not_shown() -> None:
    assert PAYER.key.hex() not in repr(PAYER) and repr(PAYER.key) not in repr(PAYER)
