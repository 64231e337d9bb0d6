import pytest
from hypothesis import given
from hypothesis import strategies as st
from orchestrator_stage import PAYER

from ricochet_orchestrator.account import (
    FIRST_RESERVATION,
    PROVEN_ANSWERS,
    Account,
    Funds,
    Payer,
    accept,
    calls_at_once,
    covered,
    funds,
    reservation,
    reservation_total,
    resume,
)
from ricochet_protocol.eip712 import Voucher, sign_voucher
from ricochet_protocol.errors import BudgetError, RemoteFault
from ricochet_protocol.ids import Address, Period
from ricochet_protocol.messages import AccountState
from ricochet_protocol.money import Units
from ricochet_protocol.ports import Subscription
from ricochet_protocol.signing import account_address
from twins.settlement import DOMAIN

NODE = Address("0x" + "aa" * 20)
OTHER = Address("0x" + "bb" * 20)
PERIOD = Period(3)
RICH = Funds(free=Units(10_000_000), unproven=Units(2_000_000))


def account(**fields: int) -> Account:
    return Account(NODE, PERIOD, **fields)  # type: ignore[arg-type]  # amounts as plain integers


def subscription(budget: int, committed: int = 0) -> Subscription:
    delegate = account_address(PAYER.key)
    return Subscription(
        PAYER.subscriber, delegate, PERIOD, Units(budget), Units(committed), Units(0), 0, 1
    )


def state(voucher_amount: int | None, key: bytes = PAYER.key, **changes: object) -> AccountState:
    voucher = None
    if voucher_amount is not None:
        fields = {"subscriber": PAYER.subscriber, "node": NODE, "period": PERIOD} | changes
        value = Voucher(**fields, cumulative=Units(voucher_amount))  # type: ignore[arg-type]  # changed fields
        voucher = sign_voucher(key, DOMAIN, value)
    return AccountState(period=PERIOD, committed=Units(40_000), due=Units(0), voucher=voucher)


def test_a_stranger_is_opened_with_five_cents() -> None:
    assert reservation_total(account(), Units(10), RICH) == FIRST_RESERVATION == 50_000


def test_a_call_dearer_than_the_first_reservation_goes_elsewhere() -> None:
    with pytest.raises(BudgetError):
        reservation_total(account(), Units(50_001), RICH)


@pytest.mark.parametrize(("answers", "earned"), [(0, 50_000), (1, 100_000), (3, 400_000)])
def test_trust_doubles_with_each_accepted_answer(answers: int, earned: int) -> None:
    before = account(answers=answers, reserved=40_000)
    assert reservation_total(before, Units(earned), RICH) == earned
    with pytest.raises(BudgetError):
        reservation_total(before, Units(earned + 1), RICH)


def test_unproven_nodes_together_hold_a_fifth_of_the_budget() -> None:
    others = [account(reserved=1_980_000, committed=1_980_000)]
    left = funds(subscription(10_000_000, committed=1_980_000), others)
    assert left.unproven == 20_000
    newcomer = Account(OTHER, PERIOD)
    assert reservation_total(newcomer, Units(20_000), left) == 20_000
    with pytest.raises(BudgetError):
        reservation_total(newcomer, Units(20_001), left)


def test_a_proven_node_doubles_its_reservation_up_to_the_free_budget() -> None:
    proven = account(answers=PROVEN_ANSWERS, reserved=400_000, committed=400_000)
    assert reservation_total(proven, Units(400_001), RICH) == 800_000
    assert reservation_total(proven, Units(5_000_000), RICH) == 5_000_000
    assert reservation_total(proven, Units(400_001), Funds(Units(9), Units(0))) == 400_009
    with pytest.raises(BudgetError) as caught:
        reservation_total(proven, Units(400_010), Funds(Units(9), Units(0)))
    assert "ricochet subscribe" in caught.value.hint


def test_what_was_signed_already_is_sent_again() -> None:
    assert (
        reservation_total(account(reserved=70_000), Units(60_000), Funds(Units(0), Units(0)))
        == 70_000
    )


def test_reservations_that_have_not_landed_are_not_free() -> None:
    left = funds(subscription(1_000_000, 300_000), [account(reserved=350_000, committed=300_000)])
    assert left.free == 650_000
    of_another_period = Account(NODE, Period(2), reserved=Units(900_000))
    assert funds(subscription(1_000_000), [of_another_period]).free == 1_000_000


@given(
    st.integers(0, 10),
    st.integers(0, 3_000_000),
    st.integers(0, 3_000_000),
    st.integers(0, 3_000_000),
    st.integers(0, 3_000_000),
)
def test_nothing_is_reserved_beyond_the_rules(
    answers: int, reserved: int, needed: int, free: int, unproven: int
) -> None:
    before = account(answers=answers, reserved=reserved)
    left = Funds(Units(free), Units(unproven))
    try:
        total = reservation_total(before, Units(needed), left)
    except BudgetError:
        return
    assert total >= needed and total >= reserved
    assert total - reserved <= free
    if not before.proven and total > reserved:
        assert total - reserved <= unproven
        assert total <= FIRST_RESERVATION << answers


def test_an_unproven_node_serves_one_call_at_a_time() -> None:
    assert calls_at_once(account(answers=PROVEN_ANSWERS - 1), 8) == 1
    assert calls_at_once(account(answers=PROVEN_ANSWERS), 8) == 8


@given(st.lists(st.integers(0, 10**9), min_size=1))
def test_a_voucher_is_the_sum_of_what_was_accepted(costs: list[int]) -> None:
    current = account()
    for index, cost in enumerate(costs, start=1):
        current = accept(PAYER, current, Units(cost), due=Units(sum(costs)))
        assert current.voucher is not None
        assert current.voucher.voucher.cumulative == current.accepted == sum(costs[:index])
        assert current.voucher.voucher.node == NODE
        assert current.answers == index
    assert current.voucher is not None
    assert current.voucher.signer(DOMAIN) == account_address(PAYER.key)


def test_a_replayed_answer_that_was_paid_before_adds_nothing() -> None:
    resumed = resume(PAYER, account(), state(700))
    assert accept(PAYER, resumed, Units(300), due=Units(700)).accepted == 700
    assert accept(PAYER, resumed, Units(300), due=Units(800)).accepted == 800
    assert accept(PAYER, resumed, Units(300), due=Units(5)).accepted == 700


def test_a_reservation_is_signed_by_the_session_key() -> None:
    signed = reservation(PAYER, account(), Units(5))
    assert signed.signer(DOMAIN) == account_address(PAYER.key)
    assert (signed.reservation.node, signed.reservation.total) == (NODE, 5)


def test_lost_state_is_resumed_from_our_own_signature() -> None:
    resumed = resume(PAYER, account(accepted=100, reserved=60_000), state(700))
    assert (resumed.accepted, resumed.acknowledged, resumed.committed) == (700, 700, 40_000)
    assert resumed.voucher is not None and resumed.voucher.voucher.cumulative == 700


def test_a_replaced_key_stands_for_what_was_accepted_and_no_more() -> None:
    new = bytes([8]) * 32
    payer = Payer(PAYER.subscriber, DOMAIN, new, frozenset({account_address(PAYER.key)}))
    held = resume(payer, account(accepted=700, reserved=60_000), state(700))
    assert (held.accepted, held.acknowledged) == (700, 700)
    with pytest.raises(RemoteFault):
        resume(payer, account(accepted=699, reserved=60_000), state(700))


def test_an_older_voucher_at_the_node_never_lowers_what_was_accepted() -> None:
    resumed = resume(PAYER, account(accepted=900), state(700))
    assert (resumed.accepted, resumed.acknowledged) == (900, 700)


def test_a_node_without_a_voucher_has_acknowledged_nothing() -> None:
    assert resume(PAYER, account(accepted=9, acknowledged=9), state(None)).acknowledged == 0


@pytest.mark.parametrize(
    "shown",
    [
        state(700, key=bytes([8]) * 32),
        state(700, node=OTHER),
        state(700, period=Period(2)),
        state(700, subscriber=OTHER),
        AccountState(Period(2), Units(0), Units(0), None),
    ],
)
def test_what_was_never_signed_here_is_refused(shown: AccountState) -> None:
    with pytest.raises(RemoteFault):
        resume(PAYER, account(), shown)


def test_the_node_is_not_believed_beyond_what_was_signed() -> None:
    assert resume(PAYER, account(reserved=30_000), state(None)).committed == 30_000


def test_the_nodes_own_sum_is_believed_up_to_a_first_reservation() -> None:
    assert covered(account(accepted=100), Units(150), Units(7)) == 157
    assert covered(account(accepted=100), Units(10**9), Units(7)) == 50_107
    assert covered(account(accepted=100), Units(0), Units(7)) == 107


def test_the_key_is_not_shown() -> None:
    assert PAYER.key.hex() not in repr(PAYER) and repr(PAYER.key) not in repr(PAYER)
