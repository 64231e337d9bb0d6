import random
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ricochet_orchestrator.canary import UNLIKE, Canary, hide, likeness

TEXT = "The river rose. It fell again. Nobody could say why! " * 40


def test_a_canary_looks_like_the_step_it_is_hidden_in() -> None:
    canary = hide(TEXT + "Explain the text above.", random.Random(1))
    assert canary is not None
    assert str(canary.number) in canary.prompt
    assert canary.prompt.endswith("with the number alone.")
    assert abs(len(canary.prompt) - len(TEXT)) < 400
    assert hide(TEXT, random.Random(1)) == hide(TEXT, random.Random(1))
    assert hide(TEXT, random.Random(1)) != hide(TEXT, random.Random(2))


def test_there_is_none_where_nothing_can_be_hidden() -> None:
    assert hide("Too short. Really.", random.Random(1)) is None
    assert hide("word " * 500, random.Random(1)) is None


@pytest.mark.parametrize(
    ("answer", "passes"),
    [
        ("7431", True),
        ("It listed 7,431 entries.", True),
        ("7 431", True),
        ("**7431**", True),
        ("74310", False),
        ("17431", False),
        ("seven thousand", False),
        ("", False),
        ("The text is about rivers.", False),
    ],
)
def test_an_answer_passes_when_it_has_the_number(answer: str, passes: bool) -> None:
    assert Canary("", 7431).passes(answer) is passes


words = st.text(string.ascii_letters + " .", max_size=200)


@given(words, words)
def test_likeness_is_a_share_and_has_no_sides(one: str, other: str) -> None:
    assert 0.0 <= likeness(one, other) == likeness(other, one) <= 1.0
    assert likeness(one, one) == 1.0


def test_likeness_tells_the_same_from_another_answer() -> None:
    one = "The chapter explains how compound statements group other statements in Python."
    near = "This chapter explains how compound statements in Python group other statements."
    far = "Bake the bread for forty minutes, then let it cool on a wooden board."
    assert likeness(one, near) > 0.8
    assert likeness(one, far) < UNLIKE
