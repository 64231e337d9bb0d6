"""Event streams of providers: every cut reads alike, and garbage is a fault, never a crash."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ricochet_node.call_order import CallDelta
from ricochet_node.sse import MAX_LINE, EventDecoder, Piece
from ricochet_protocol.errors import RemoteCode, RemoteFault

STREAM = (
    b": a comment\r\n\r\n"
    b'data: {"choices":[{"delta":{"role":"assistant","content":null}}]}\r\n\r\n'
    b'data:{"choices":[{"delta":{"content":"h\xc3\xa9 "}}],"x":{"unknown":1}}\n\n'
    b'event: message\ndata: {"choices":[{"delta":{"content":"you"},"finish_reason":null}]}\n\n'
    b'data: {"choices":[{"delta":{"tool_calls":[{"index":1,"id":"a","function":{"name":"f"}},'
    b'{"function":{"arguments":"{}"}}]}}]}\n\n'
    b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n'
    b'data: {"choices":[],"error":null,'
    b'"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}\n\n'
    b"data: [DONE]\n\n"
)
MEANING = [
    Piece(),
    Piece(text="hé "),
    Piece(text="you"),
    Piece(calls=(CallDelta(1, "a", "f"), CallDelta(arguments="{}"))),
    Piece(finish="stop"),
    Piece(tokens=(3, 2)),
    Piece(done=True),
]


@given(cuts=st.lists(st.integers(1, len(STREAM) - 1), max_size=12))
def test_every_cut_means_the_same(cuts: list[int]) -> None:
    decoder, pieces = EventDecoder(), []
    bounds = [0, *sorted(cuts), len(STREAM)]
    for start, end in pairwise(bounds):
        pieces += decoder.feed_untrusted(STREAM[start:end])
    assert pieces == MEANING


@given(data=st.binary(max_size=300) | st.binary(max_size=200).map(lambda b: b"data: " + b + b"\n"))
def test_any_bytes_are_pieces_or_a_fault(data: bytes) -> None:
    try:
        for piece in EventDecoder().feed_untrusted(data):
            piece.text.encode()
    except RemoteFault as fault:
        assert fault.code == RemoteCode.UPSTREAM


@pytest.mark.parametrize(
    "event",
    [
        {"error": {"message": "secret words"}},
        {"choices": [{"delta": {"content": 7}}]},
        {"choices": {}},
        {"choices": [{"delta": {"tool_calls": [{"function": {"name": 7}}]}}]},
        {"usage": {"prompt_tokens": -1, "completion_tokens": 0}},
        {"usage": {"prompt_tokens": 2**40, "completion_tokens": 0}},
        {"choices": [{"delta": {"content": "\ud800"}}]},
        [],
    ],
)
def test_wrong_events_are_faults_without_their_content(event: object) -> None:
    with pytest.raises(RemoteFault) as caught:
        EventDecoder().feed_untrusted(b"data: " + json.dumps(event).encode() + b"\n\n")
    assert caught.value.code == RemoteCode.UPSTREAM
    assert "secret" not in caught.value.message


def test_a_line_without_end_is_refused() -> None:
    decoder = EventDecoder()
    decoder.feed_untrusted(b"data: " + b"x" * (MAX_LINE - 10))
    with pytest.raises(RemoteFault):
        decoder.feed_untrusted(b"x" * 20)
