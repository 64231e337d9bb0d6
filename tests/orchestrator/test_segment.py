import ast
import hashlib
import time
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ricochet_orchestrator.boundaries import Boundaries
from ricochet_orchestrator.context import Context
from ricochet_orchestrator.document import (
    Document,
    Mark,
    default_document,
    document_from,
    document_of,
    part_of,
)
from ricochet_orchestrator.media import Form
from ricochet_orchestrator.segment import HEADING_TOKENS, MIN_BUDGET, Segment, pieces, segment
from ricochet_protocol.errors import UsageError
from ricochet_protocol.tokens import count_tokens

ROOT = Path(__file__).resolve().parents[2]
PROSE = "ab cdé.\n\r\t🧑‍🔬漢字#-=`~:{}()。"
lines = st.lists(
    st.sampled_from(
        ["# One", "## Two", "Title", "=====", "-----", "```", "~~~~", "- item", "", "", "    deep"]
    )
    | st.text(st.sampled_from(PROSE), max_size=60),
    max_size=40,
).map("\n".join)
texts = st.text(st.sampled_from(PROSE), max_size=600) | st.text(max_size=300) | lines
contexts = st.builds(Context, st.sampled_from([0, 0, 7, 20]), st.booleans())


@st.composite
def documents(draw: st.DrawFn) -> Document:
    parts = draw(st.lists(st.tuples(texts, st.sampled_from(Form)), min_size=1, max_size=3))
    named = (part_of(f"part {n}", text, form=form) for n, (text, form) in enumerate(parts))
    return document_of("drawn", tuple(named))


def check(document: Document, segments: tuple[Segment, ...], budget: int) -> None:
    text = document.text
    assert "".join(one.text for one in segments) == text
    assert [one.index for one in segments] == list(range(len(segments)))
    for before, after in pairwise(segments):
        assert before.end == after.start and before.part <= after.part
    for one in segments:
        assert one.text and text[one.start : one.end] == one.text
        assert count_tokens(one.shown) <= budget
        assert one.sha256 == hashlib.sha256(one.text.encode()).hexdigest()
        (span,) = document.trace(one.start, one.end)
        assert span.part == one.part
        assert document.parts[span.part].text[span.start : span.end] == one.text


@settings(max_examples=60)
@given(documents(), st.integers(MIN_BUDGET, 80), contexts)
def test_segments_are_lossless_and_within_budget(
    document: Document, budget: int, context: Context
) -> None:
    reserve = 2 * context.overlap + 40 + (HEADING_TOKENS + 20) * context.headings
    budget += reserve if context != Context() else 0
    check(document, segment(document, budget, count_tokens, context), budget)


@pytest.mark.deep
@pytest.mark.timeout(900)
@settings(max_examples=3_000, deadline=None)
@given(documents(), st.integers(MIN_BUDGET, 400), contexts)
def test_segments_of_many_more_documents(document: Document, budget: int, context: Context) -> None:
    budget += 200 if context != Context() else 0
    check(document, segment(document, budget, count_tokens, context), budget)


def cut(text: str, form: Form, budget: int, context: Context | None = None) -> list[Segment]:
    return list(segment(document_from("a", text, form), budget, count_tokens, context))


def test_a_text_within_budget_is_one_segment() -> None:
    text = "One paragraph.\n\nAnother.\n"
    assert [one.text for one in cut(text, Form.TEXT, 100)] == [text]


def test_an_endless_line_is_cut_in_bounded_time() -> None:
    random = Random(1)
    text = "".join(chr(random.randrange(97, 123)) for _ in range(250_000))
    begin = time.process_time()
    parts = pieces(text, 1_000, count_tokens)
    assert "".join(parts) == text
    assert max(map(count_tokens, parts)) <= 1_000
    # Half a second; a count of what is left of the line with each segment takes a minute.
    assert time.process_time() - begin < 10


def test_no_count_is_of_much_more_than_a_segment() -> None:
    longest = 0

    def count(text: str) -> int:
        nonlocal longest
        longest = max(longest, len(text))
        return count_tokens(text)

    parts = pieces("word " * 50_000, 100, count)
    assert longest < 3 * max(map(len, parts))


def test_cuts_fall_between_paragraphs_before_sentences_before_words() -> None:
    paragraph = "The first sentence is here. The second one follows it. "
    by_paragraph = pieces(f"{paragraph}\n\n{paragraph}\n\n{paragraph}", 20, count_tokens)
    assert [part.strip() for part in by_paragraph] == [paragraph.strip()] * 3
    by_sentence = pieces(paragraph * 3, 16, count_tokens)
    assert all(part.strip().endswith(".") for part in by_sentence)
    by_word = pieces("word " * 100, 20, count_tokens)
    assert {word for part in by_word for word in part.split()} == {"word"}


def test_no_character_is_parted_from_the_marks_on_it() -> None:
    for part in pieces("e\u0301" * 200, 20, count_tokens):
        assert not part.startswith("\u0301")


def test_segments_are_filled() -> None:
    text = default_document().text
    parts = segment(default_document(), 1_320, count_tokens)
    assert len(parts) == 11
    assert all(count_tokens(part.text) > 1_320 // 2 for part in parts[:-1])
    assert "".join(part.text for part in parts) == text


def test_markdown_is_cut_at_headings_but_not_at_those_in_code() -> None:
    section = "\n".join(f"Sentence {n} of it." for n in range(12))
    code = "```sh\n# no heading\n" + "echo\n" * 30 + "```\n"
    text = f"# A\n\n{section}\n\n## B\n\n{section}\n\n{code}\nC\n=\n\n{section}\n"
    starts = {one.text.split("\n")[0] for one in cut(text, Form.MARKDOWN, 100)}
    assert {"# A", "## B", "C"} <= starts
    assert "# no heading" not in starts


def test_code_is_cut_where_definitions_begin() -> None:
    for path in (
        "orchestrator/ricochet_orchestrator/run.py",
        "protocol/ricochet_protocol/eip712.py",
    ):
        text = (ROOT / path).read_text("utf-8")
        rows = {
            min([node.lineno, *(one.lineno for one in node.decorator_list)])
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        }
        begun = [text.count("\n", 0, one.start) + 1 for one in cut(text, Form.CODE, 1_000)]
        assert len(begun) > 2
        assert set(begun[1:]) <= rows


def test_the_path_of_headings_is_context_and_not_content() -> None:
    text = (
        "# Book\n\n## First\n\nSome words.\n\n"
        + "More words here. " * 40
        + "\n\n## Next\n\n"
        + "The end of it. " * 60
    )
    plain = cut(text, Form.MARKDOWN, 150)
    shown = cut(text, Form.MARKDOWN, 150, Context(headings=True))
    assert all(one.shown == one.text and one.identity == one.sha256 for one in plain)
    assert "".join(one.text for one in shown) == text
    assert shown[0].lead == ""
    assert "Book > First\n" in shown[1].lead
    (last,) = [one for one in shown if one.text.startswith("## Next")]
    assert last.lead == "Headings above this text: Book\n\n"
    assert last.shown.startswith(last.lead) and last.identity != last.sha256


def test_the_path_in_code_is_what_the_text_stands_in() -> None:
    body = "".join(f"        value_{n} = {n}\n" for n in range(60))
    text = f"class Thing:\n    def method(\n        self,\n    ) -> None:\n{body}\nother = 1\n"
    leads = [one.lead for one in cut(text, Form.CODE, 250, Context(headings=True))]
    assert "class Thing: > def method(\n" in leads[1]


def test_overlap_is_the_end_of_the_text_before_and_changes_the_identity() -> None:
    sentences = [f"This is the sentence number {n}. " for n in range(60)]
    shown = cut("".join(sentences), Form.TEXT, 120, Context(overlap=30))
    for before, after in pairwise(shown):
        overlap = after.lead.split("only:\n")[1].split("\n\nThe text:")[0]
        assert before.text.rstrip().endswith(overlap)
        assert overlap.startswith("This is") and 10 <= count_tokens(overlap) <= 30
    assert shown[0].lead == ""
    changed = cut(
        "".join(sentences).replace("number 5.", "number five."), Form.TEXT, 120, Context(30)
    )
    same = [one.identity == two.identity for one, two in zip(shown, changed, strict=True)]
    assert not same[0] and same[2:] == [True] * len(same[2:])


def test_segments_do_not_cross_parts_and_lead_back_to_pages() -> None:
    pages = part_of("a.pdf", "one two\nthree\n", marks=(Mark(0, "page 1"), Mark(8, "page 2")))
    document = document_of("both", (pages, part_of("b.txt", "four\n")))
    first, second = segment(document, 100, count_tokens)
    (span,) = document.trace(first.start, first.end)
    assert (span.name, span.places) == ("a.pdf", ("page 1", "page 2"))
    assert document.trace(8, 16)[0].places == ("page 2",)
    assert [one.name for one in document.trace(8, 16)] == ["a.pdf", "b.txt"]
    assert (second.part, second.text) == (1, "four\n")


def test_the_name_of_the_part_heads_the_path_of_several() -> None:
    document = document_of("both", (part_of("a.txt", "one"), part_of("b.txt", "two")))
    leads = [one.lead for one in segment(document, 200, count_tokens, Context(headings=True))]
    assert ["a.txt" in leads[0], "b.txt" in leads[1]] == [True, True]


def test_the_form_and_the_names_of_its_parts_are_part_of_what_a_document_is() -> None:
    one, two = document_from("a", "# x", Form.TEXT), document_from("a", "# x", Form.MARKDOWN)
    assert one.sha256 != two.sha256
    assert one.sha256 != document_from("b", "# x", Form.TEXT).sha256
    assert one.sha256 == document_of("another", one.parts).sha256


@given(lines, st.sampled_from(Form))
def test_paths_are_given_for_any_offsets(text: str, form: Form) -> None:
    paths = list(Boundaries(text, form).paths(range(len(text))))
    assert len(paths) == len(text)
    assert all(title for path in paths for title in path)


def test_a_budget_too_small_for_a_character_is_refused() -> None:
    for attempt in (
        lambda: pieces("text", MIN_BUDGET - 1, count_tokens),
        lambda: cut("text", Form.TEXT, 60, Context(overlap=50)),
    ):
        with pytest.raises(UsageError) as caught:
            attempt()
        assert caught.value.code == "window_too_small"
        assert caught.value.hint
