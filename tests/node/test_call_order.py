"""Calls of functions as providers really stream them, in the order of the protocol."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ricochet_node.call_order import CallDelta, CallOrder, TooManyCalls
from ricochet_protocol.messages import CallPiece

STREAMS = {
    "OpenAI": (
        CallDelta(0, "a", "f", ""),
        CallDelta(0, "", "", "{"),
        CallDelta(0, "", "", "}"),
        CallDelta(1, "b", "g", "[]"),
    ),
    "all of it again in each piece": (
        CallDelta(0, "a", "f", "{"),
        CallDelta(0, "a", "f", "}"),
        CallDelta(1, "b", "g", "[]"),
    ),
    "every call numbered 0": (CallDelta(0, "a", "f", "{}"), CallDelta(0, "b", "g", "[]")),
}


@pytest.mark.parametrize("stream", STREAMS.values(), ids=STREAMS.keys())
def test_two_calls(stream: tuple[CallDelta, ...]) -> None:
    order = CallOrder()
    pieces = [order.piece(delta) for delta in stream]
    named = [(piece.index, piece.id, piece.name) for piece in pieces if piece.name]
    assert named == [(0, "a", "f"), (1, "b", "g")]
    assert "".join(piece.arguments for piece in pieces) == "{}[]"


def test_a_call_without_an_id_gets_one() -> None:
    order = CallOrder()
    assert order.piece(CallDelta(0, "", "f", "{}")) == CallPiece(0, "call_1", "f", "{}")
    assert order.piece(CallDelta(1, "", "g", "")) == CallPiece(1, "call_2", "g", "")


@pytest.mark.parametrize(
    "stream",
    [
        (CallDelta(0, "", "", "{}"),),
        (CallDelta(0, "a", "f"), CallDelta(1, "", "", "{}")),
        tuple(CallDelta(n, f"c{n}", "f") for n in range(65)),
    ],
    ids=["no name", "a number without a name", "too many"],
)
def test_what_cannot_be_told_apart(stream: tuple[CallDelta, ...]) -> None:
    order = CallOrder()
    with pytest.raises(TooManyCalls):
        for delta in stream:
            order.piece(delta)


deltas = st.builds(
    CallDelta,
    st.integers(-2, 3),
    st.sampled_from(["", "a", "b"]),
    st.sampled_from(["", "f"]),
    st.text(max_size=3),
)


@given(st.lists(deltas, max_size=10))
def test_any_stream_is_in_order_or_refused(stream: list[CallDelta]) -> None:
    order, last = CallOrder(), -1
    for delta in stream:
        try:
            piece = order.piece(delta)
        except TooManyCalls:
            return
        assert piece.index == last + bool(piece.name)
        assert bool(piece.id) == bool(piece.name)
        last = piece.index
