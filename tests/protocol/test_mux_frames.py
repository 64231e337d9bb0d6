"""Mux frames: round trips, bounds, and nothing but RemoteFault for a peer's bytes."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ricochet_protocol.errors import RemoteFault
from ricochet_protocol.framing import MAX_FRAME
from ricochet_protocol.mux import (
    FRAGMENT,
    MAX_ID,
    MAX_WAIT,
    WINDOW,
    AnyFrame,
    Cancel,
    Credit,
    Data,
    End,
    Fail,
    Ping,
    Pong,
    decode_untrusted,
    encode,
)

ids = st.integers(0, MAX_ID)
frames: st.SearchStrategy[AnyFrame] = st.one_of(
    st.builds(Data, ids, st.binary(max_size=300), st.booleans()),
    st.builds(End, ids),
    st.builds(
        Fail,
        ids,
        st.text(max_size=30),
        st.text(max_size=100),
        st.text(max_size=100),
        st.integers(0, MAX_WAIT),
    ),
    st.builds(Cancel, ids),
    st.builds(Credit, ids, st.integers(1, WINDOW)),
    st.builds(Ping, ids),
    st.builds(Pong, ids),
)
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(frames)
def test_a_frame_comes_back_as_it_was(frame: AnyFrame) -> None:
    assert decode_untrusted(encode(frame)) == frame


@given(st.binary(max_size=300))
def test_arbitrary_bytes_give_a_frame_or_a_remote_fault(payload: bytes) -> None:
    try:
        decode_untrusted(payload)
    except RemoteFault as fault:
        assert fault.code == "garbage"


@given(st.dictionaries(st.sampled_from(["t", "id", "n", "body", "more", "bytes", "code"]), plain))
def test_well_formed_msgpack_of_the_wrong_shape_is_a_remote_fault(
    fields: dict[str, object],
) -> None:
    payload = msgspec.msgpack.encode(fields)
    try:
        frame = decode_untrusted(payload)
    except RemoteFault:
        return
    assert decode_untrusted(encode(frame)) == frame


@given(frames, st.data())
def test_a_cut_frame_is_a_remote_fault(frame: AnyFrame, data: st.DataObject) -> None:
    payload = encode(frame)
    with pytest.raises(RemoteFault):
        decode_untrusted(payload[: data.draw(st.integers(0, len(payload) - 1))])


OUT_OF_RANGE = {
    "negative id": Data(-1, b"x"),
    "id above the limit": End(MAX_ID + 1),
    "negative ping": Ping(-1),
    "fragment too long": Data(1, bytes(FRAGMENT + 1)),
    "credit of nothing": Credit(1, 0),
    "credit above the window": Credit(1, WINDOW + 1),
    "negative wait": Fail(1, "busy", "", wait=-1),
    "wait above the limit": Fail(1, "busy", "", wait=MAX_WAIT + 1),
}


@pytest.mark.parametrize("frame", OUT_OF_RANGE.values(), ids=OUT_OF_RANGE.keys())
def test_numbers_out_of_range_are_refused(frame: AnyFrame) -> None:
    with pytest.raises(RemoteFault):
        decode_untrusted(encode(frame))


def test_the_largest_fragment_fits_a_frame_and_an_overlong_frame_is_refused() -> None:
    assert len(encode(Data(MAX_ID, bytes(FRAGMENT), more=True))) <= MAX_FRAME
    with pytest.raises(ValueError):
        encode(Fail(1, "internal", "x" * MAX_FRAME))
