"""What a transaction offers for its place in a block, and how much it offers next.

Pure arithmetic in wei. Every figure that a chain's RPC names is bounded here: one that asks for
absurd gas or fees is refused or capped, not paid.
"""

from typing import Final

import msgspec

_BASE_FEE_FACTOR: Final = 2
"""The base fee grows at most 12.5 % a block: this outlasts five full blocks."""
_RAISE_PERCENT: Final = 125
_LEAST_RAISE_PERCENT: Final = 110
"""geth takes a replacement only when both fees grow by a tenth (`PriceBump`)."""
_GAS_MARGIN_PERCENT: Final = 125
"""State may change between estimate and mining, and a first write to a slot costs more."""
MAX_GAS: Final = 2**24
"""What one transaction may use at most since Ethereum's Osaka (EIP-7825)."""
FEE_CAP: Final = 500 * 10**9
"""Wei per gas: some ten times what Ethereum asks in busy hours; rollups ask far less."""


class Market(msgspec.Struct, frozen=True):
    """At block `head`: the `base` fee of the next block, and the `tip` that is usual."""

    head: int
    base: int
    tip: int


class Price(msgspec.Struct, frozen=True):
    """`fee` is the most that is paid per gas, `tip` the part of it offered to the block's maker."""

    fee: int
    tip: int


def gas_limit(estimate: int) -> int | None:
    """The limit for a transaction estimated to need so much; None when no block would take it."""
    if estimate > MAX_GAS:
        return None
    return min(estimate * _GAS_MARGIN_PERCENT // 100, MAX_GAS)


def first_price(market: Market, cap: int = FEE_CAP) -> Price:
    """A price at which it is mined soon, unless the cap forbids."""
    fee = min(market.base * _BASE_FEE_FACTOR + market.tip, cap)
    return Price(fee=fee, tip=min(market.tip, fee))


def replacement(old: Price, market: Market, cap: int = FEE_CAP) -> Price | None:
    """A higher price that the chain takes instead of `old`; None when the cap leaves no room."""
    now = first_price(market, cap)
    fee = min(max(now.fee, old.fee * _RAISE_PERCENT // 100 + 1), cap)
    tip = min(max(now.tip, old.tip * _RAISE_PERCENT // 100 + 1), fee)
    if fee * 100 < old.fee * _LEAST_RAISE_PERCENT or tip * 100 < old.tip * _LEAST_RAISE_PERCENT:
        return None
    return Price(fee=fee, tip=tip)
