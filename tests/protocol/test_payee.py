"""The node's side of "who trusts first": each rule at its bound, and all in random order."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ricochet_protocol import payee
from ricochet_protocol.money import Units
from ricochet_protocol.payee import (
    CREDIT_CAP,
    MIN_RAISE,
    Committed,
    Dropped,
    Earned,
    Extended,
    Finished,
    Opened,
    Owed,
    Payee,
    RelayFailed,
    Short,
    Vouchered,
    after,
)

PAID = Payee(committed=Units(1_000), vouchered=Units(400))
AMOUNTS = st.integers(0, 2_000)


def test_a_stranger_is_served_only_what_he_reserved_and_paid() -> None:
    assert payee.admit(PAID, Units(1_000), Units(400)) is None
    assert payee.admit(PAID, Units(1_001), Units(400)) == Short(Units(1_001), Units(400))
    assert payee.admit(PAID, Units(1_000), Units(401)) == Short(Units(1_000), Units(401))
    assert payee.admit(Payee(), Units(1), Units(0)) == Short(Units(1), Units(0))
    assert payee.admit(Payee(), Units(1), Units(1)) == Short(Units(1), Units(1))


def test_open_calls_and_finished_answers_use_up_what_is_secured() -> None:
    state = after(PAID, Opened(worst=Units(600), opening=Units(300)))
    assert payee.admit(state, Units(400), Units(100)) is None
    assert payee.admit(state, Units(401), Units(100)) == Short(Units(1_001), Units(400))
    assert payee.extend(state, Units(100)) is None
    assert payee.extend(state, Units(101)) == Short(Units(401), Units(401))
    state = after(state, Extended(Units(100)))
    assert payee.finish(state, Units(400), Units(400)) is None
    assert payee.finish(state, Units(400), Units(401)) == Short(Units(401), Units(401))
    state = after(state, Finished(Units(600), Units(400), Units(350)))
    assert (state.due, state.in_flight, state.backed) == (350, 0, 0)
    assert payee.extend(state, Units(50)) is None


def test_a_voucher_beyond_the_commitment_is_no_payment() -> None:
    state = after(PAID, Vouchered(Units(9_000)))
    assert state.secured == 1_000
    assert payee.extend(state, Units(1_001)) == Short(Units(1_001), Units(1_001))


def test_a_lower_voucher_changes_nothing() -> None:
    assert after(PAID, Vouchered(Units(399))) == PAID


@pytest.mark.parametrize(
    ("earned", "owed", "cap", "credit"),
    [
        (0, 0, CREDIT_CAP, 0),
        (9, 0, CREDIT_CAP, 0),
        (10_009, 0, CREDIT_CAP, 1_000),
        (10 * CREDIT_CAP, 0, CREDIT_CAP, CREDIT_CAP),
        (11 * CREDIT_CAP, 0, CREDIT_CAP, CREDIT_CAP),
        (10_000, 0, 0, 0),
        (10_000, 400, CREDIT_CAP, 600),
        (10_000, 1_001, CREDIT_CAP, 0),
    ],
)
def test_credit_is_a_tenth_of_what_was_claimed_less_what_is_owed(
    earned: int, owed: int, cap: int, credit: int
) -> None:
    state = after(after(Payee(), Earned(Units(earned))), Owed(Units(owed)))
    assert state.credit(Units(cap)) == credit
    assert payee.extend(state, Units(credit), Units(cap)) is None
    assert payee.extend(state, Units(credit + 1), Units(cap)) == Short(Units(1), Units(1))


def test_credit_is_on_top_of_reservation_and_voucher() -> None:
    state = after(PAID, Earned(Units(500)))
    assert payee.admit(state, Units(1_050), Units(450)) is None
    assert payee.admit(state, Units(1_051), Units(450)) == Short(Units(1_001), Units(400))
    assert payee.admit(state, Units(1_050), Units(451)) == Short(Units(1_000), Units(401))


def test_a_reorganisation_takes_back_what_the_chain_had_said() -> None:
    state = after(after(PAID, Opened(Units(1_000), Units(400))), Committed(Units(100)))
    assert (state.secured, state.at_risk()) == (100, 300)
    assert payee.extend(state, Units(0)) == Short(Units(400), Units(400))
    state = after(after(state, Earned(Units(900))), Earned(Units(0)))
    assert state.credit() == 0


def test_a_client_that_leaves_owes_what_was_delivered_and_a_failed_node_nothing() -> None:
    opened = after(PAID, Opened(Units(600), Units(300)))
    left = after(opened, Dropped(Units(600), Units(300), Units(120)))
    assert (left.due, left.in_flight, left.backed) == (120, 0, 0)
    assert after(opened, Dropped(Units(600), Units(300), Units(0))) == PAID


def test_a_raise_that_is_not_worth_its_gas_is_not_relayed() -> None:
    free = Units(10 * MIN_RAISE)
    assert payee.relay(PAID, Units(1_000 + MIN_RAISE), free)
    assert not payee.relay(PAID, Units(1_000 + MIN_RAISE - 1), free)
    assert payee.relay(PAID, Units(1_001), Units(1)), "the rest of a budget may be less"
    assert not payee.relay(PAID, Units(1_001), Units(2))
    assert not payee.relay(PAID, Units(1_000), Units(0))
    assert not payee.relay(PAID, Units(999), free)
    assert not payee.relay(PAID, Units(1_001 + free), free)


def test_one_failed_relay_ends_relaying_for_the_period() -> None:
    failed = after(PAID, RelayFailed())
    assert not payee.relay(failed, Units(1_000 + MIN_RAISE), Units(10 * MIN_RAISE))


@pytest.mark.parametrize(
    ("event", "why"),
    [
        (Finished(Units(1), Units(0), Units(0)), "not open"),
        (Dropped(Units(0), Units(1), Units(0)), "not open"),
        (Finished(Units(0), Units(0), Units(1)), "above the worst"),
        (Dropped(Units(0), Units(0), Units(1)), "more than was secured"),
        (Opened(Units(1), Units(2)), "above the worst"),
        (Committed(Units(-1)), "negative"),
        (Extended(Units(-1)), "negative"),
        (Finished(Units(0), Units(0), Units(-1)), "negative"),
    ],
)
def test_events_that_cannot_follow_are_refused(event: payee.Event, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        after(PAID, event)


class AnyCustomer(RuleBasedStateMachine):
    """A node that obeys, and a customer, a network and a chain that do what they like.

    `served` is kept apart from the state, as text that has left the house. `floor` is the largest
    debt that a shrunk commitment has made.
    """

    def __init__(self) -> None:
        super().__init__()
        self.state = Payee()
        self.calls: list[tuple[int, int, int]] = []
        self.served = 0
        self.lost_to_chain = 0
        self.cap = Units(150)

    def take(self, event: payee.Event) -> None:
        self.state = after(self.state, event)

    @property
    def limit(self) -> int:
        return self.state.secured + self.state.credit(self.cap)

    @rule(total=AMOUNTS)
    def commitment_grows(self, total: int) -> None:
        self.take(Committed(Units(max(total, self.state.committed))))

    @rule(total=AMOUNTS)
    def chain_takes_back(self, total: int) -> None:
        self.take(Committed(Units(min(total, self.state.committed))))
        self.lost_to_chain = max(self.lost_to_chain, self.served - self.limit)

    @rule(total=AMOUNTS)
    def voucher(self, total: int) -> None:
        self.take(Vouchered(Units(total)))

    @rule(total=st.integers(0, 3_000))
    def claims_are_confirmed(self, total: int) -> None:
        self.take(Earned(Units(max(total, self.state.earned))))

    @rule(worst=AMOUNTS, opening=AMOUNTS)
    def ask(self, worst: int, opening: int) -> None:
        opening = min(worst, opening)
        if payee.admit(self.state, Units(worst), Units(opening), self.cap) is None:
            self.take(Opened(Units(worst), Units(opening)))
            self.calls.append((worst, opening, 0))
            assert self.state.due + self.state.in_flight <= (
                self.state.committed + self.state.credit(self.cap)
            )

    @precondition(lambda self: self.calls)
    @rule(step=st.integers(0, 300), data=st.data())
    def next_step(self, step: int, data: st.DataObject) -> None:
        worst, backed, delivered = self.calls.pop(0)
        step = min(step, worst - backed)
        if payee.extend(self.state, Units(step), self.cap) is None:
            self.take(Extended(Units(step)))
            more = data.draw(st.integers(0, backed + step - delivered))
            self.calls.append((worst, backed + step, delivered + more))
            self.served += more
            return
        self.calls.append((worst, backed, delivered))

    @precondition(lambda self: self.calls)
    @rule(part=st.integers(0, 100))
    def last_of_the_answer(self, part: int) -> None:
        worst, backed, delivered = self.calls[0]
        cost = max(delivered, worst * part // 100)
        if payee.finish(self.state, Units(backed), Units(cost), self.cap) is None:
            self.calls.pop(0)
            self.served += cost - delivered
            self.take(Finished(Units(worst), Units(backed), Units(cost)))

    @precondition(lambda self: self.calls)
    @rule()
    def customer_leaves(self) -> None:
        worst, backed, delivered = self.calls.pop(0)
        self.take(Dropped(Units(worst), Units(backed), Units(delivered)))

    @invariant()
    def nothing_leaves_unpaid_beyond_the_credit(self) -> None:
        assert self.served <= self.limit + max(0, self.lost_to_chain)
        assert self.state.due <= self.served <= self.state.due + self.state.backed

    @invariant()
    def what_is_at_risk_is_the_credit_or_what_the_chain_took_back(self) -> None:
        allowed = self.state.credit(self.cap)
        if self.lost_to_chain <= 0 and not self.calls:
            assert self.state.at_risk() <= allowed
        if not self.calls:
            assert self.state.in_flight == self.state.backed == 0


AnyCustomer.TestCase.settings = settings(max_examples=40, stateful_step_count=30)
TestAnyCustomer = AnyCustomer.TestCase
