"""Answers put together from pieces: a peer's stream is an answer or a fault."""

import hashlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from wire_samples import ASK, ASK_WITH_ALL

from ricochet_protocol.answer import Answer, AnswerParts
from ricochet_protocol.conversation import MAX_ARGUMENTS, ToolCall
from ricochet_protocol.errors import RemoteFault
from ricochet_protocol.messages import CallPiece, Chunk
from ricochet_protocol.receipt import answer_digest

FIRST = CallPiece(0, "call_1", "weather", '{"town"')
REST = CallPiece(0, "", "", ':"Nancy"}')
CALL = ToolCall("call_1", "weather", '{"town":"Nancy"}')


def answer_of(*pieces: Chunk | CallPiece) -> Answer:
    parts = AnswerParts(ASK_WITH_ALL)
    for piece in pieces:
        parts.add_untrusted(piece)
    return parts.whole_untrusted()


def test_text_and_calls_come_together() -> None:
    second = CallPiece(1, "call_2", "weather", "{}")
    answer = answer_of(Chunk("Let me "), FIRST, Chunk("see."), REST, second)
    assert answer == Answer("Let me see.", (CALL, ToolCall("call_2", "weather", "{}")))
    assert list(answer.texts()) == ["Let me see.", "weather", CALL.arguments, "weather", "{}"]


@pytest.mark.parametrize(
    "pieces",
    [
        (REST,),
        (CallPiece(1, "call_1", "weather", ""),),
        (FIRST, CallPiece(0, "call_1", "weather", "")),
        (FIRST, CallPiece(1, "call_2", "", "")),
        (FIRST, CallPiece(1, "call_2", "weather", ""), REST),
        (CallPiece(0, "call_1", "a name", ""),),
        (CallPiece(0, "\n", "weather", ""),),
        (FIRST, CallPiece(0, "", "", "x" * MAX_ARGUMENTS)),
    ],
)
def test_pieces_out_of_order_or_bounds_are_faults(pieces: tuple[CallPiece, ...]) -> None:
    with pytest.raises(RemoteFault) as caught:
        answer_of(*pieces)
    assert caught.value.code == "garbage"


def test_nothing_is_called_where_nothing_was_offered() -> None:
    with pytest.raises(RemoteFault):
        AnswerParts(ASK).add_untrusted(FIRST)


pieces = st.builds(Chunk, st.text(max_size=5)) | st.builds(
    CallPiece,
    st.integers(0, 3),
    st.sampled_from(["", "a", "b"]),
    st.sampled_from(["", "f", "no name"]),
    st.text(max_size=5),
)


@given(st.lists(pieces, max_size=8))
def test_any_pieces_are_an_answer_or_a_fault(stream: list[Chunk | CallPiece]) -> None:
    try:
        answer = answer_of(*stream)
    except RemoteFault:
        return
    assert answer.text == "".join(p.text for p in stream if isinstance(p, Chunk))
    said = "".join(p.arguments for p in stream if isinstance(p, CallPiece))
    assert "".join(call.arguments for call in answer.calls) == said


def test_a_digest_is_of_everything_that_was_said() -> None:
    answers = [
        Answer("x"),
        Answer("x", (CALL,)),
        Answer("x", (CALL, CALL)),
        Answer("x", (msgspec.structs.replace(CALL, arguments="{}"),)),
        Answer("", (CALL,)),
    ]
    assert len({answer.digest() for answer in answers}) == len(answers)
    packed = msgspec.msgpack.encode(["x", [{"id": "1", "name": "f", "arguments": "{}"}]])
    assert answer_digest("x", (ToolCall("1", "f", "{}"),)) == hashlib.sha256(packed).digest()


def test_only_text_or_a_call_is_worth_paying() -> None:
    assert Answer(" \n").blank
    assert not Answer("x").blank
    assert not Answer("", (CALL,)).blank
