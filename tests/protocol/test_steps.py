"""Steps: what both sides work out alike, and never more than a bill may say."""

from hypothesis import given
from hypothesis import strategies as st

from ricochet_protocol.advert import ModelOffer
from ricochet_protocol.ids import ModelId
from ricochet_protocol.money import PricePerMillion, Units
from ricochet_protocol.steps import STEP_TOKENS, Metered, Surplus
from ricochet_protocol.tokens import RunningCount, count_tokens

prices = st.integers(0, 10**8).map(PricePerMillion)
metereds = st.builds(
    lambda price_in, price_out, counted_in, max_tokens, tools: Metered(
        ModelOffer(ModelId("m"), 10**6, price_in, price_out, 1), counted_in, max_tokens, tools
    ),
    prices,
    prices,
    st.integers(0, 10**5),
    st.integers(1, 10**5),
    st.booleans(),
)
surpluses = st.builds(Surplus, st.integers(0, 10**9), st.integers(0, 10**9))


@given(metereds, surpluses, st.integers(0, 10**5), st.integers(0, 10**5))
def test_values_are_ordered_and_grow_with_the_text(
    metered: Metered, surplus: Surplus, tokens: int, more: int
) -> None:
    now, later = metered.likely(tokens, surplus), metered.likely(tokens + more, surplus)
    assert metered.counted(tokens) <= now <= metered.most(tokens) <= metered.worst
    assert now <= later
    assert metered.opening == metered.counted(STEP_TOKENS) <= metered.worst


def test_a_surplus_is_what_bills_add_and_fades() -> None:
    fair = Surplus().after(Units(100), Units(100))
    assert (fair.on(Units(50)), fair.factor) == (50, 1.0)
    wordy = Surplus().after(Units(150), Units(100))
    assert (wordy.on(Units(50)), wordy.on(Units(1)), wordy.factor) == (75, 2, 1.5)
    assert Surplus().after(Units(50), Units(100)).on(Units(50)) == 50, "less is never expected"
    for _ in range(60):
        wordy = wordy.after(Units(1_000), Units(1_000))
    assert wordy.factor < 1.001


@given(st.lists(st.text(alphabet="ab 1.,\n'é字", max_size=40), max_size=12))
def test_a_running_count_is_the_count_of_the_whole(pieces: list[str]) -> None:
    running = RunningCount()
    for number, piece in enumerate(pieces, start=1):
        assert running.add(piece) == count_tokens("".join(pieces[:number]))


def test_text_without_spaces_is_counted_nearly_right_and_in_bounded_pieces() -> None:
    seen: list[int] = []

    def count(text: str) -> int:
        seen.append(len(text))
        return count_tokens(text)

    running, total = RunningCount(count), 0
    for _ in range(1_500):
        total = running.add("字语")
    assert max(seen) <= 512
    assert 0 <= total - count_tokens("字语" * 1_500) <= 6
