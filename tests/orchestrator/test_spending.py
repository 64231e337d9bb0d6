"""What was spent, by node, model and day, and how it is held against the chain."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from orchestrator_stage import SUBSCRIBER, Stage, numbered, play

from ricochet_orchestrator.spending import GROUPINGS, Answered, Held, Signed, add_up
from ricochet_orchestrator.store import Store
from ricochet_protocol.ids import Address, ModelId, Period
from ricochet_protocol.money import Units
from twins.scripted_node import MODEL

ONE, TWO = Address("0x" + "11" * 20), Address("0x" + "22" * 20)
DAY = 24 * 3600


def answered(node: Address, cost: int, **changes: object) -> Answered:
    made = Answered(Period(1), node, ModelId("m"), 0.0, Units(cost))
    return made._replace(**changes)  # type: ignore[arg-type]  # fields by name


ANSWERS = (
    answered(ONE, 10),
    answered(ONE, 20, model=ModelId("big"), completed_at=DAY + 1.0),
    answered(TWO, 5),
    answered(TWO, 5, completed_at=DAY - 1.0),  # paid before: it added nothing
)
SIGNED = {
    (Period(1), ONE): Signed(Units(30), Units(30)),
    (Period(1), TWO): Signed(Units(5), Units(7)),
}
CHAIN = {(Period(1), ONE): Held(Units(50), Units(10))}


def test_each_grouping_adds_up_to_the_same() -> None:
    groups = {
        by: {one.name: (one.calls, one.paid) for one in add_up(ANSWERS, SIGNED, CHAIN, by).groups}
        for by in GROUPINGS
    }
    assert groups["node"] == {ONE: (2, 30), TWO: (2, 5)}
    assert groups["model"] == {"big": (1, 20), "m": (3, 15)}
    assert groups["day"] == {"1970-01-01": (3, 15), "1970-01-02": (1, 20)}
    assert list(groups["model"]) == ["big", "m"]


def test_home_and_chain_tell_one_story() -> None:
    found = add_up(ANSWERS, SIGNED, CHAIN, "node")
    assert found.accounted and found.paid == 35
    one, two = found.accounts
    assert (one.vouchered, one.claimed, one.unclaimed, one.committed) == (30, 10, 20, 50)
    assert (two.vouchered, two.claimed, two.unclaimed, two.ahead) == (7, 0, 7, 2)


def test_what_does_not_add_up_is_named() -> None:
    claimed = add_up(ANSWERS, SIGNED, {(Period(1), ONE): Held(Units(50), Units(37))}, "node")
    (beyond,) = claimed.differences
    assert ONE in beyond and "$0.000007 more than was signed" in beyond
    elsewhere = add_up((), {}, CHAIN, "node")
    assert not elsewhere.accounted and elsewhere.groups == ()
    lost = add_up(ANSWERS[1:], SIGNED, CHAIN, "day")
    (missing,) = lost.differences
    assert "$0.00001 signed for answers not on record" in missing
    assert (lost.accounts[0].paid, lost.accounts[0].unrecorded) == (20, 10)


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 50), st.integers(0, 50)), max_size=12),
    st.sampled_from(GROUPINGS),
)
def test_payments_and_what_is_unrecorded_are_the_voucher(
    steps: list[tuple[int, int, int]], by: str
) -> None:
    """Whatever answers cost and however vouchers jump, no unit is counted twice or lost."""
    sums: dict[tuple[Period, Address], Signed] = {}
    answers = []
    for who, cost, raised in steps:
        key = Period(1 + who // 2), (ONE, TWO)[who % 2]
        accepted, vouchered = sums.get(key, (0, 0))
        sums[key] = Signed(Units(accepted + min(cost, raised)), Units(vouchered + raised))
        answers.append(answered(key[1], cost, period=key[0]))
    found = add_up(answers, sums, {}, by)  # type: ignore[arg-type]  # one of the groupings
    for one in found.accounts:
        assert one.paid + one.unrecorded + one.ahead == one.vouchered == one.claimed + one.unclaimed
        assert one.paid >= 0 and one.unrecorded >= 0 <= one.ahead
    assert found.paid == sum(one.paid for one in found.accounts)
    assert sum(group.calls for group in found.groups) == len(steps)


def test_a_real_run_adds_up(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    node = stage.node(1)
    play(stage, numbered(2))
    play(stage, numbered(3))
    store = Store(tmp_path / "runs.db")
    try:
        answers, accounts = store.payments(), store.accounts()
    finally:
        store.close()
    signed = {(one.period, one.node): Signed(one.accepted, one.signed) for one in accounts}
    found = add_up(answers, signed, {}, "model")
    ahead = sum(one.ahead for one in found.accounts)
    assert found.accounted and found.paid == node.due > 0
    assert found.paid + ahead == stage.owed(node)
    assert [group.name for group in found.groups] == [MODEL]
    assert SUBSCRIBER not in str(found)
