"""Each text is counted once, within bounds that no text can pass."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from ricochet_orchestrator import remembered_count
from ricochet_orchestrator.remembered_count import MOST_CHARACTERS, MOST_TEXTS, RememberedCount


class Counting:
    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()

    def __call__(self, text: str) -> int:
        self.asked[text] += 1
        return len(text.split())


def test_a_text_is_counted_once() -> None:
    inner = Counting()
    count = RememberedCount(inner)
    assert [count("one two"), count("one " + "two"), count("")] == [2, 2, 0]
    assert count("") == 0
    assert inner.asked == {"one two": 1, "": 1}


@given(st.lists(st.text(max_size=30)))
def test_it_says_what_the_counter_says(texts: list[str]) -> None:
    count = RememberedCount(Counting())
    assert [count(text) for text in texts] == [len(text.split()) for text in texts]


def test_what_is_remembered_is_bounded() -> None:
    inner = Counting()
    count = RememberedCount(inner)
    for number in range(MOST_TEXTS + 1):
        count(f"{number}")
    count("0")
    count(f"{MOST_TEXTS}")
    assert (inner.asked["0"], inner.asked[f"{MOST_TEXTS}"]) == (2, 1)
    large = [f"{number} " * (MOST_CHARACTERS // 40) for number in range(10, 60)]
    for text in large:
        count(text)
    count(large[-1])
    count(large[0])
    assert (inner.asked[large[-1]], inner.asked[large[0]]) == (1, 2)


def test_a_text_that_fills_the_memory_alone_is_not_kept() -> None:
    inner = Counting()
    count = RememberedCount(inner)
    count("small")
    count("x" * (remembered_count.MOST_CHARACTERS + 1))
    count("small")
    assert inner.asked["small"] == 1
