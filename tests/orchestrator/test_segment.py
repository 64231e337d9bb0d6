import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ricochet_orchestrator.document import default_document
from ricochet_orchestrator.segment import MIN_BUDGET, pieces, segment
from ricochet_protocol.errors import UsageError
from ricochet_protocol.tokens import count_tokens

prose = st.text(st.sampled_from("ab cdé.\n\r\t🧑‍🔬漢字"), max_size=600)
anything = st.text(max_size=300)


@settings(max_examples=200)
@given(prose | anything, st.integers(MIN_BUDGET, 80))
def test_segments_are_lossless_and_within_budget(text: str, budget: int) -> None:
    segments = segment(text, budget, count_tokens)
    assert "".join(part.text for part in segments) == text
    assert all(part.text and count_tokens(part.text) <= budget for part in segments)
    assert [part.index for part in segments] == list(range(len(segments)))
    for part in segments:
        assert text[part.start : part.end] == part.text
        assert part.sha256 == hashlib.sha256(part.text.encode()).hexdigest()


def test_a_text_within_budget_is_one_segment() -> None:
    text = "One paragraph.\n\nAnother.\n"
    assert [part.text for part in segment(text, 100, count_tokens)] == [text]


def test_an_endless_line_is_cut() -> None:
    text = "x" * 20_000
    assert "".join(pieces(text, 50, count_tokens)) == text


def test_cuts_fall_between_paragraphs_before_sentences_before_words() -> None:
    paragraph = "The first sentence is here. The second one follows it. "
    by_paragraph = pieces(f"{paragraph}\n\n{paragraph}\n\n{paragraph}", 20, count_tokens)
    assert [part.strip() for part in by_paragraph] == [paragraph.strip()] * 3
    by_sentence = pieces(paragraph * 3, 16, count_tokens)
    assert all(part.strip().endswith(".") for part in by_sentence)
    by_word = pieces("word " * 100, 20, count_tokens)
    assert {word for part in by_word for word in part.split()} == {"word"}


def test_the_default_document_makes_eleven_segments_of_the_local_model() -> None:
    text = default_document().text
    assert len(segment(text, 1_320, count_tokens)) == 11


def test_a_budget_too_small_for_a_character_is_refused() -> None:
    with pytest.raises(UsageError) as caught:
        pieces("text", MIN_BUDGET - 1, count_tokens)
    assert caught.value.code == "window_too_small"
    assert caught.value.hint
