"""Usage as providers of three dialects report it, in whole answers and in streams cut anywhere."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ricochet_node.providers import Dialect
from ricochet_node.usage_reader import MAX_KEPT, UsageReader


def sse(*events: Any) -> bytes:
    return b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)


TOTALS = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
OPENAI = (
    sse({"choices": [{"delta": {"content": "a"}}]}, {"choices": [], "usage": TOTALS})
    + b"data: [DONE]\n\n"
)
ANTHROPIC = sse(
    {
        "type": "message_start",
        "message": {"usage": {"input_tokens": 3, "cache_read_input_tokens": 2, "output_tokens": 1}},
    },
    {"type": "content_block_delta", "delta": {"text": "a"}},
    {"type": "message_delta", "usage": {"output_tokens": 7}},
    {"type": "message_stop"},
).replace(b"\n\n", b"\r\n\r\n")
GOOGLE = sse(
    {"usageMetadata": {"promptTokenCount": 5}},
    {
        "usageMetadata": {
            "promptTokenCount": 5,
            "candidatesTokenCount": 4,
            "thoughtsTokenCount": 3,
        }
    },
)
STREAMS = [(Dialect.OPENAI, OPENAI), (Dialect.ANTHROPIC, ANTHROPIC), (Dialect.GOOGLE, GOOGLE)]
WHOLE = [
    (Dialect.OPENAI, {"usage": {"prompt_tokens": 5, "completion_tokens": 7}}),
    (Dialect.ANTHROPIC, {"usage": {"input_tokens": 5, "output_tokens": 7}}),
    (Dialect.GOOGLE, {"usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 7}}),
]


def read(dialect: Dialect, data: bytes, *, streamed: bool = True) -> tuple[int, int] | None:
    reader = UsageReader(dialect, streamed=streamed)
    reader.feed_untrusted(data)
    return reader.tokens()


@pytest.mark.parametrize(("dialect", "stream"), STREAMS)
@given(cuts=st.lists(st.integers(1, 40), max_size=12))
def test_streams_are_read_however_they_are_cut(
    dialect: Dialect, stream: bytes, cuts: list[int]
) -> None:
    reader = UsageReader(dialect, streamed=True)
    for cut in cuts:
        reader.feed_untrusted(stream[:cut])
        stream = stream[cut:]
    reader.feed_untrusted(stream)
    assert reader.tokens() == (5, 7)


@pytest.mark.parametrize(("dialect", "answer"), WHOLE)
def test_whole_answers_are_read(dialect: Dialect, answer: dict[str, Any]) -> None:
    assert read(dialect, json.dumps(answer, indent=1).encode(), streamed=False) == (5, 7)


@pytest.mark.parametrize(
    ("dialect", "stream"),
    [
        (Dialect.OPENAI, sse({"choices": []})),
        (Dialect.OPENAI, sse({"usage": {"prompt_tokens": -5, "completion_tokens": 0}})),
        (Dialect.OPENAI, sse({"usage": {"prompt_tokens": 5, "completion_tokens": 1.5}})),
        (Dialect.OPENAI, sse({"usage": {"prompt_tokens": 2**40, "completion_tokens": 1}})),
        (Dialect.OPENAI, sse({"usage": {"prompt_tokens": 5}})),
        (Dialect.ANTHROPIC, ANTHROPIC[: ANTHROPIC.index(b"message_delta")]),
        (Dialect.ANTHROPIC, OPENAI),
        (Dialect.GOOGLE, sse({"usageMetadata": {"candidatesTokenCount": 7}})),
    ],
)
def test_half_a_report_is_none(dialect: Dialect, stream: bytes) -> None:
    assert read(dialect, stream) is None


def test_what_does_not_fit_is_no_report() -> None:
    assert read(Dialect.OPENAI, b"x" * (MAX_KEPT + 1) + b"\n" + OPENAI) == (5, 7)
    assert read(Dialect.OPENAI, b" " * MAX_KEPT + b'{"usage":1}', streamed=False) is None
    reader = UsageReader(Dialect.OPENAI, streamed=True)
    for _ in range(5):
        reader.feed_untrusted(b"x" * (MAX_KEPT // 4))
    reader.feed_untrusted(b"\n" + OPENAI)
    assert reader.tokens() is None


@given(dialect=st.sampled_from(Dialect), data=st.binary(max_size=120), streamed=st.booleans())
def test_any_bytes_are_harmless(dialect: Dialect, data: bytes, streamed: bool) -> None:
    assert read(dialect, b'data: {"usage' + data, streamed=streamed) is None
