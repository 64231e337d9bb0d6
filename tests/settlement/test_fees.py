"""Prices and gas limits: bounded whatever a chain says, and raised as chains demand."""

from hypothesis import given
from hypothesis import strategies as st

from ricochet_settlement.fees import (
    FEE_CAP,
    MAX_GAS,
    Market,
    Price,
    first_price,
    gas_limit,
    replacement,
)

wei = st.integers(0, 2**80)
markets = st.builds(Market, head=st.just(1), base=wei, tip=wei)


@given(markets)
def test_no_price_exceeds_the_cap(market: Market) -> None:
    price = first_price(market)
    assert 0 <= price.tip <= price.fee <= FEE_CAP


@given(markets, markets)
def test_a_replacement_is_a_tenth_higher_and_within_the_cap(before: Market, now: Market) -> None:
    old = first_price(before)
    new = replacement(old, now)
    if new is None:
        assert old.fee * 110 > FEE_CAP * 100 or old.tip * 110 > FEE_CAP * 100
    else:
        assert new.fee * 100 >= old.fee * 110 and new.tip * 100 >= old.tip * 110
        assert new.fee > old.fee and new.tip <= new.fee <= FEE_CAP


def test_a_free_chain_is_outbid_too() -> None:
    assert replacement(Price(0, 0), Market(head=1, base=0, tip=0)) == Price(1, 1)


@given(st.integers(0, MAX_GAS))
def test_gas_has_a_margin_and_an_end(estimate: int) -> None:
    limit = gas_limit(estimate)
    assert limit is not None and estimate <= limit <= MAX_GAS


def test_more_gas_than_a_transaction_has_is_refused() -> None:
    assert gas_limit(MAX_GAS) == MAX_GAS
    assert gas_limit(MAX_GAS + 1) is None
