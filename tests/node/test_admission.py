"""Admission as arithmetic: nothing is served that the chain has not committed to pay for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from node_bench import SUBSCRIBER, offer

from ricochet_node.admission import Admitted, Demand, OpenSession, Standing, admit, check_ask
from ricochet_protocol.errors import RemoteCode, RemoteFault
from ricochet_protocol.ids import ModelId, Period, RequestId
from ricochet_protocol.messages import Ask, Turn
from ricochet_protocol.money import Units
from ricochet_protocol.usage import worst_cost

amounts = st.integers(0, 5_000).map(Units)


def ask(max_tokens: int = 50, deadline: int = 60, period: int = 1) -> Ask:
    return Ask(
        request_id=RequestId("0" * 32),
        period=Period(period),
        model=ModelId("m"),
        turns=(Turn("user", "x"),),
        max_tokens=max_tokens,
        deadline=deadline,
    )


@given(
    committed=amounts,
    due=amounts,
    unpaid=amounts,
    in_flight=amounts,
    limit=amounts,
    counted_in=st.integers(0, 900),
    max_tokens=st.integers(1, 100),
)
def test_admitted_means_covered_and_demands_can_be_met(
    committed: Units,
    due: Units,
    unpaid: Units,
    in_flight: Units,
    limit: Units,
    counted_in: int,
    max_tokens: int,
) -> None:
    shown = offer().shown
    standing = Standing(committed=committed, due=due, unpaid=unpaid, in_flight=in_flight)
    verdict = admit(ask(max_tokens), shown, counted_in, standing, limit)
    worst = worst_cost(shown, counted_in, max_tokens)
    if isinstance(verdict, Admitted):
        assert verdict.worst == worst
        assert due + in_flight + worst <= committed
        assert unpaid <= limit
    else:
        met = Standing(verdict.needed, due, Units(0), in_flight)
        assert admit(ask(max_tokens), shown, counted_in, met, limit) == Admitted(worst)


def test_the_window_bounds_prompt_and_answer() -> None:
    shown, rich = offer().shown, Standing(Units(10**9), Units(0), Units(0), Units(0))
    assert isinstance(admit(ask(), shown, 950, rich, Units(0)), Admitted)
    with pytest.raises(RemoteFault) as caught:
        admit(ask(), shown, 951, rich, Units(0))
    assert caught.value.code == RemoteCode.TOO_LONG


def test_what_is_owed_beyond_the_limit_is_demanded_first() -> None:
    shown = offer().shown
    owing = Standing(Units(10**9), Units(100), Units(11), Units(0))
    assert isinstance(admit(ask(), shown, 1, owing, Units(10)), Demand)
    assert isinstance(admit(ask(), shown, 1, owing, Units(11)), Admitted)


@pytest.mark.parametrize(
    ("value", "now", "code"),
    [
        (ask(), 1_000.0, RemoteCode.NO_SESSION),
        (ask(period=2), 0.0, RemoteCode.NO_SESSION),
        (ask(deadline=600), 900.0, RemoteCode.REFUSED),
        (ask(deadline=100), 900.0, RemoteCode.REFUSED),
    ],
)
def test_asks_outside_session_or_period(value: Ask, now: float, code: str) -> None:
    session = OpenSession(SUBSCRIBER, SUBSCRIBER, 1_000, Period(1), 1_000)
    with pytest.raises(RemoteFault) as caught:
        check_ask(value, session, now)
    assert caught.value.code == code
    check_ask(ask(deadline=99), session, 900.0)
