"""What an ask has to fit, and what it is worth."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from node_bench import SUBSCRIBER, offer

from ricochet_node.admission import OpenSession, check_ask, meter_ask
from ricochet_protocol.errors import RemoteCode, RemoteFault
from ricochet_protocol.ids import ModelId, Period, RequestId
from ricochet_protocol.messages import Ask, Turn
from ricochet_protocol.usage import worst_cost


def ask(max_tokens: int = 50, deadline: int = 60, period: int = 1) -> Ask:
    return Ask(
        request_id=RequestId("0" * 32),
        period=Period(period),
        model=ModelId("m"),
        turns=(Turn("user", "x"),),
        max_tokens=max_tokens,
        deadline=deadline,
    )


@given(counted_in=st.integers(0, 900), max_tokens=st.integers(1, 100))
def test_what_an_ask_is_worth(counted_in: int, max_tokens: int) -> None:
    shown = offer().shown
    metered = meter_ask(ask(max_tokens), shown, counted_in)
    assert metered.worst == worst_cost(shown, counted_in, max_tokens)
    assert metered.opening == counted_in + 2 * max_tokens <= metered.worst


def test_the_window_bounds_prompt_and_answer() -> None:
    shown = offer().shown
    meter_ask(ask(), shown, 950)
    with pytest.raises(RemoteFault) as caught:
        meter_ask(ask(), shown, 951)
    assert caught.value.code == RemoteCode.TOO_LONG


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
