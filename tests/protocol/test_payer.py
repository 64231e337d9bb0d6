"""The subscriber's side of "who trusts first": each bound, and any nodes in any order."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ricochet_protocol.money import Units
from ricochet_protocol.payer import (
    FIRST_RESERVATION,
    PROVEN_ANSWERS,
    Payer,
    Purse,
    Refused,
    accept,
    believed_due,
    calls_at_once,
    purse,
    reserve,
    sign,
)

BUDGET = Units(10_000_000)
FULL = purse(BUDGET, Units(0), Units(0), [])
NODES = st.integers(0, 3)


def replaced(node: Payer, **amounts: int) -> Payer:
    return Payer(**{**{name: getattr(node, name) for name in node.__struct_fields__}, **amounts})


def test_a_whole_budget_leaves_its_parts() -> None:
    assert Purse(BUDGET, Units(2_000_000), Units(200_000), Units(1_000_000)) == FULL


def test_the_purse_counts_strangers_only_and_never_falls_below_nothing() -> None:
    proven = Payer(Units(4_000_000), Units(900_000), Units(0), PROVEN_ANSWERS)
    stranger = Payer(Units(50_000), Units(20_000), Units(20_000), PROVEN_ANSWERS - 1)
    left = purse(BUDGET, Units(4_050_000), Units(50_000), [proven, stranger])
    assert left == Purse(Units(5_900_000), Units(1_950_000), Units(180_000), Units(1_000_000))
    spent = purse(Units(100), Units(90), Units(20), [stranger])
    assert spent == Purse(Units(0), Units(0), Units(0), Units(10))


@pytest.mark.parametrize(("answers", "total"), [(0, 50_000), (1, 100_000), (4, 800_000)])
def test_a_strangers_reservation_doubles_with_each_answer(answers: int, total: int) -> None:
    node = Payer(answers=answers)
    assert reserve(node, Units(total), FULL) == total
    assert reserve(node, Units(total + 1), FULL) == Refused(Units(total), unproven=True)


def test_a_reservation_has_room_to_spare_and_covers_its_need() -> None:
    assert reserve(Payer(), Units(1), FULL) == FIRST_RESERVATION
    node = Payer(reserved=Units(60_000), answers=PROVEN_ANSWERS)
    assert reserve(node, Units(60_001), FULL) == 120_000
    assert reserve(node, Units(500_000), FULL) == 500_000
    assert reserve(node, Units(60_000), FULL) == 60_000, "signed before: the same once more"


def test_the_rest_of_a_budget_is_reserved_and_no_more() -> None:
    node = Payer(reserved=Units(60_000), answers=PROVEN_ANSWERS)
    left = Purse(Units(300), Units(0), Units(0), Units(1_000))
    assert reserve(node, Units(60_300), left) == 60_300
    assert reserve(node, Units(60_301), left) == Refused(Units(60_300), unproven=False)


def test_strangers_together_get_a_fifth_of_the_budget_reserved() -> None:
    left = Purse(BUDGET, Units(60_000), Units(200_000), Units(1_000_000))
    node = Payer(answers=2)
    assert reserve(node, Units(60_000), left) == 60_000
    assert reserve(node, Units(60_001), left) == Refused(Units(60_000), unproven=True)


def test_a_raise_that_no_node_would_relay_is_not_signed() -> None:
    left = Purse(BUDGET, Units(FIRST_RESERVATION - 1), Units(200_000), Units(1_000_000))
    assert reserve(Payer(), Units(10), left) == Refused(Units(FIRST_RESERVATION - 1), unproven=True)


def test_vouchers_never_fall_and_never_exceed_the_reservation() -> None:
    node = Payer(Units(50_000), Units(10_000), Units(10_000))
    assert sign(node, Units(9_000), FULL) == 10_000
    assert sign(node, Units(50_000), FULL) == 50_000
    assert sign(node, Units(50_001), FULL) == Refused(Units(50_000), unproven=False)


def test_strangers_together_are_signed_two_percent() -> None:
    left = Purse(BUDGET, Units(0), Units(500), Units(1_000_000))
    node = Payer(Units(50_000), Units(10_000), Units(10_000))
    assert sign(node, Units(10_500), left) == 10_500
    assert sign(node, Units(10_501), left) == Refused(Units(10_500), unproven=True)
    proven = replaced(node, answers=PROVEN_ANSWERS)
    assert sign(proven, Units(10_501), left) == 10_501


def test_a_proven_node_holds_at_most_a_tenth_of_the_budget_for_answers_to_come() -> None:
    node = Payer(Units(5_000_000), Units(700_000), Units(400_000), PROVEN_ANSWERS)
    assert sign(node, Units(1_400_000), FULL) == 1_400_000
    assert sign(node, Units(1_400_001), FULL) == Refused(Units(1_400_000), unproven=False)
    # A smaller budget after all was signed: nothing is taken back.
    small = purse(Units(1_000), Units(0), Units(0), [])
    assert sign(node, Units(700_001), small) == Refused(Units(700_000), unproven=False)


def test_a_nodes_word_is_believed_between_accepted_and_signed() -> None:
    node = Payer(Units(50_000), Units(10_000), Units(4_000))
    assert believed_due(node, Units(0)) == 4_000
    assert believed_due(node, Units(7_000)) == 7_000
    assert believed_due(node, Units(10_001)) == 10_000
    assert node.advanced == 6_000
    assert Payer(signed=Units(1), accepted=Units(2)).advanced == 0


def test_an_accepted_answer_counts_what_it_added_to_the_highest_due() -> None:
    node = Payer(Units(50_000), Units(10_000), Units(4_000), 1)
    assert accept(node, Units(1_000), Units(9_000)) == replaced(node, accepted=5_000, answers=2)
    assert accept(node, Units(9_000), Units(6_000)) == replaced(node, accepted=6_000, answers=2)
    replay = accept(node, Units(1_000), Units(3_000))
    assert replay == replaced(node, answers=2), "an answer paid for before adds nothing"


def test_a_stranger_has_one_call_at_a_time() -> None:
    assert calls_at_once(Payer(answers=PROVEN_ANSWERS - 1), 8) == 1
    assert calls_at_once(Payer(answers=PROVEN_ANSWERS), 8) == 8


class AnyNodes(RuleBasedStateMachine):
    """A subscriber who obeys, and four nodes that ask for anything and may never answer."""

    def __init__(self) -> None:
        super().__init__()
        self.nodes = [Payer() for _ in range(4)]

    @property
    def left(self) -> Purse:
        reserved = sum(node.reserved for node in self.nodes)
        return purse(BUDGET, Units(reserved), Units(0), self.nodes)

    @rule(which=NODES, needed=st.integers(0, 3_000_000))
    def node_wants_a_reservation(self, which: int, needed: int) -> None:
        node, left = self.nodes[which], self.left
        total = reserve(node, Units(needed), left)
        if isinstance(total, Refused):
            assert total.most < needed or node.reserved < needed
            return
        assert total >= max(needed, node.reserved)
        if total > node.reserved:
            assert total - node.reserved >= min(FIRST_RESERVATION, left.free)
        self.nodes[which] = replaced(node, reserved=total)

    @rule(which=NODES, due=st.integers(0, 3_000_000))
    def node_wants_to_be_paid(self, which: int, due: int) -> None:
        node = self.nodes[which]
        amount = sign(node, Units(due), self.left)
        if isinstance(amount, Refused):
            assert node.signed <= amount.most < due
            return
        assert amount == max(due, node.signed) <= max(node.reserved, node.signed)
        self.nodes[which] = replaced(node, signed=amount)

    @rule(which=NODES, cost=st.integers(0, 200_000), stated=st.integers(0, 3_000_000))
    def answer_passes(self, which: int, cost: int, stated: int) -> None:
        node = self.nodes[which]
        cost = min(cost, node.advanced)
        self.nodes[which] = accept(node, Units(cost), believed_due(node, Units(stated)))
        assert self.nodes[which].accepted - node.accepted <= cost

    @precondition(lambda self: any(node.proven for node in self.nodes))
    @rule()
    def a_new_identity_joins(self) -> None:
        self.nodes.append(Payer())
        self.nodes[0], self.nodes[-1] = self.nodes[-1], self.nodes[0]

    @invariant()
    def strangers_together_get_little(self) -> None:
        strangers = [node for node in self.nodes if not node.proven]
        assert sum(node.signed for node in strangers) <= BUDGET * 2 // 100
        assert sum(node.reserved for node in strangers) <= BUDGET * 20 // 100
        assert all(calls_at_once(node, 9) == 1 for node in strangers)

    @invariant()
    def nobody_gets_more_than_there_is_or_was_agreed(self) -> None:
        assert sum(node.reserved for node in self.nodes) <= BUDGET
        for node in self.nodes:
            assert node.accepted <= node.signed <= node.reserved
            assert node.advanced <= BUDGET * 10 // 100


AnyNodes.TestCase.settings = settings(max_examples=40, stateful_step_count=30)
TestAnyNodes = AnyNodes.TestCase
