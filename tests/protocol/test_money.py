"""Integer money: roundings go where the module says, and nothing is lost."""

import re
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ricochet_protocol.money import (
    CLAIM_WINDOW,
    MAX_UNITS,
    NODE_BPS,
    PricePerMillion,
    Units,
    cost,
    dollars,
    node_share,
    parse_dollars,
)

amounts = st.integers(min_value=0, max_value=MAX_UNITS)
prices = st.integers(min_value=0, max_value=10**12)
tokens = st.integers(min_value=0, max_value=10**9)


@given(tokens, tokens, prices, prices)
def test_cost_is_rounded_up_by_less_than_a_unit(
    tokens_in: int, tokens_out: int, price_in: int, price_out: int
) -> None:
    exact = tokens_in * price_in + tokens_out * price_out
    paid = cost(tokens_in, tokens_out, PricePerMillion(price_in), PricePerMillion(price_out))
    assert 0 <= paid * 1_000_000 - exact < 1_000_000


@given(amounts, st.lists(amounts, max_size=8))
def test_splitting_a_claim_changes_nothing(total: int, cuts: list[int]) -> None:
    ends = sorted({cut % (total + 1) for cut in cuts} | {0, total})
    parts = sum(node_share(Units(end), Units(start)) for start, end in pairwise(ends))
    assert parts == node_share(Units(total)) == total * 7 // 10


@given(amounts)
def test_dollars_read_back(amount: int) -> None:
    assert parse_dollars(dollars(Units(amount)).replace(",", "")) == amount


@pytest.mark.parametrize(
    ("text", "units"),
    [("10", 10_000_000), ("$7.25", 7_250_000), ("0.000001", 1), (" 5. ", 5_000_000)],
)
def test_parse_dollars(text: str, units: int) -> None:
    assert parse_dollars(text) == units


@pytest.mark.parametrize("text", ["", "-1", "1e3", "0.0000001", "1,000", "ten", "1.-2", "٣", "$"])
def test_parse_dollars_refuses(text: str) -> None:
    with pytest.raises(ValueError):
        parse_dollars(text)


def test_dollars_for_people() -> None:
    assert [dollars(Units(n)) for n in (0, 1, 4_213, 10_000_000, 1_234_500_000)] == [
        "$0.00",
        "$0.000001",
        "$0.004213",
        "$10.00",
        "$1,234.50",
    ]


def test_the_share_is_the_contracts_constant() -> None:
    source = (Path(__file__).parents[2] / "contracts" / "Ricochet.sol").read_text("utf-8")
    found = re.search(r"uint256 public constant NODE_BPS = ([0-9_]+);", source)
    assert found and int(found[1]) == NODE_BPS
    assert f"CLAIM_WINDOW = {CLAIM_WINDOW // 86400} days;" in source
