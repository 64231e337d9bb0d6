"""Frames survive any cut of the stream, and no bytes from a peer do more than raise RemoteFault."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ricochet_protocol.errors import RemoteFault
from ricochet_protocol.framing import MAX_FRAME, PREFIX, FrameDecoder, encode_frame

payloads = st.lists(st.binary(min_size=1, max_size=300), max_size=20)


def cut(data: bytes, at: list[int]) -> list[bytes]:
    """`data` in pieces, cut at those places that lie inside it."""
    edges = sorted({0, len(data), *(place for place in at if place < len(data))})
    return [data[a:b] for a, b in itertools.pairwise(edges)]


@given(payloads, st.lists(st.integers(0, 7000)))
def test_frames_come_out_as_they_went_in_however_the_stream_is_cut(
    frames: list[bytes], at: list[int]
) -> None:
    decoder = FrameDecoder()
    stream = b"".join(map(encode_frame, frames))
    got = [frame for piece in cut(stream, at) for frame in decoder.feed_untrusted(piece)]
    assert got == frames
    assert decoder.pending == 0


@given(payloads.filter(bool), st.data())
def test_an_unfinished_frame_is_kept_back(frames: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(map(encode_frame, frames))
    missing = data.draw(st.integers(1, len(frames[-1]) + PREFIX - 1))
    decoder = FrameDecoder()
    assert decoder.feed_untrusted(stream[:-missing]) == frames[:-1]
    assert decoder.pending == len(frames[-1]) + PREFIX - missing
    assert decoder.feed_untrusted(stream[-missing:]) == frames[-1:]


@given(st.lists(st.binary(max_size=200), max_size=10))
def test_arbitrary_bytes_give_frames_or_a_remote_fault(pieces: list[bytes]) -> None:
    decoder = FrameDecoder()
    try:
        for piece in pieces:
            for frame in decoder.feed_untrusted(piece):
                assert 0 < len(frame) <= MAX_FRAME
    except RemoteFault as fault:
        assert fault.code == "garbage"
    assert decoder.pending <= MAX_FRAME + PREFIX + 2000


@pytest.mark.parametrize("length", [0, MAX_FRAME + 1, 2**32 - 1])
def test_an_impossible_length_is_refused_before_its_bytes_arrive(length: int) -> None:
    with pytest.raises(RemoteFault):
        FrameDecoder().feed_untrusted(length.to_bytes(PREFIX, "big"))


def test_the_largest_frame_passes_and_one_byte_more_does_not() -> None:
    largest = bytes(MAX_FRAME)
    assert FrameDecoder().feed_untrusted(encode_frame(largest)) == [largest]
    for payload in (b"", bytes(MAX_FRAME + 1)):
        with pytest.raises(ValueError):
            encode_frame(payload)
