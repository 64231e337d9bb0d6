import pytest
from hypothesis import given
from hypothesis import strategies as st

from ricochet_orchestrator.plan import StepId
from ricochet_orchestrator.progress import (
    FirstToken,
    Paid,
    Progress,
    RunStarted,
    StepFailed,
    StepFinished,
    StepRetried,
    StepStarted,
    printable,
)
from ricochet_orchestrator.result import whole_sentences
from ricochet_protocol.ids import ModelId, PeerId
from ricochet_protocol.money import Units

A, B, C = StepId("a"), StepId("b"), StepId("c")
PEER = PeerId("p")


def finished(step: StepId, cached: bool = False) -> StepFinished:
    return StepFinished(step, "n", PEER, 100, 10, Units(7), 1.0, cached)


def test_progress_is_the_sum_of_what_happened() -> None:
    progress = Progress()
    for event in (
        RunStarted("r", "d", "c", 4, 4, 1, True),
        finished(C, cached=True),
        StepStarted(A, "n", "r", ModelId("m"), PEER, 1),
        StepStarted(B, "n", "r", ModelId("m"), PEER, 1),
        FirstToken(A, PEER, 0.5),
        finished(A),
        Paid(PEER, Units(7)),
        StepRetried(B, "n", PEER, "busy", "full"),
    ):
        progress = progress.after(event)
    assert progress == Progress(4, 2, 0, 1, 1, 100, 10, Units(7), frozenset())
    assert progress.after(StepFailed(B, "n", "busy", "full")).failed == 1


def test_the_time_left_follows_from_the_pace_of_real_calls() -> None:
    progress = Progress(total=10, done=6, calls=2)
    assert progress.seconds_left(10.0) == pytest.approx(20.0)
    assert Progress(total=10, done=4).seconds_left(10.0) is None


def test_calls_under_way_count_as_half_done_in_the_estimate() -> None:
    three_at_once = Progress(
        total=16, done=1, calls=1, running=frozenset({StepId("a"), StepId("b")})
    )
    assert three_at_once.seconds_left(30.0) == pytest.approx(30 / 2 * 14)
    nearly = Progress(total=2, done=1, calls=1, failed=1, running=frozenset({StepId("a")}))
    assert nearly.seconds_left(5.0) == 0.0


def test_control_characters_do_not_reach_a_terminal() -> None:
    assert printable("a\x1b[31mb\x07\x00c\x9b\u202ed\u2066e") == "a[31mbcde"
    assert printable("line\r\nnext\ttab\rend") == "line\nnext\ttabend"


@given(st.text())
def test_printable_text_stays_as_it_is_the_second_time(text: str) -> None:
    once = printable(text)
    assert printable(once) == once
    assert not any((ord(c) < 32 and c not in "\n\t") or 127 <= ord(c) < 160 for c in once)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("One. Two. Thr", "One. Two."),
        ('He said "stop!" and', 'He said "stop!"'),
        ("Version 3.11 is", "Version 3.11 is"),
        ("No end", "No end"),
        ("Done.", "Done."),
        ("文です。そして", "文です。"),
        ("", ""),
    ],
)
def test_an_answer_that_was_cut_off_ends_with_its_last_full_sentence(text: str, shown: str) -> None:
    assert whole_sentences(text) == shown
