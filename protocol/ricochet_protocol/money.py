"""Integer money, and the two roundings it ever needs.

Amounts are in the token's smallest unit (USDC-like: six decimals, so a unit is a micro-dollar) and
prices in units per million tokens. Nothing here is a float: a share that does not divide goes to
the platform, a cost that does not divide is rounded up for the node, and both are stated below.
"""

from typing import NewType

Units = NewType("Units", int)
"""An amount in the token's smallest unit; never negative."""

PricePerMillion = NewType("PricePerMillion", int)
"""Units per million tokens."""

DECIMALS = 6
UNITS_PER_DOLLAR = 10**DECIMALS
TOKENS_PER_PRICE = 1_000_000
NODE_BPS = 7_000
"""Ricochet.sol's constant of the same name; a test holds the two together."""
BPS = 10_000
CLAIM_WINDOW = 7 * 24 * 3600
"""Seconds after a period's end in which vouchers are paid; the contract's too, like NODE_BPS."""
MAX_UNITS = 2**128 - 1
"""What a uint128 of the contract holds."""


def cost(
    tokens_in: int, tokens_out: int, price_in: PricePerMillion, price_out: PricePerMillion
) -> Units:
    """What a call costs, rounded up once, on the sum: the node never serves a token for nothing."""
    total = tokens_in * price_in + tokens_out * price_out
    return Units(-(-total // TOKENS_PER_PRICE))


def node_share(cumulative: Units, previous: Units = Units(0)) -> Units:
    """The operator's part of the claim that raises `previous` to `cumulative`.

    Floor of each end, as in the contract, so that splitting a claim changes nothing.
    """
    return Units(cumulative * NODE_BPS // BPS - previous * NODE_BPS // BPS)


def dollars(amount: Units) -> str:
    """`amount` for a person: `$0.004213`, with no more zeros than cents need."""
    whole, fraction = divmod(amount, UNITS_PER_DOLLAR)
    digits = f"{fraction:0{DECIMALS}d}".rstrip("0").ljust(2, "0")
    return f"${whole:,}.{digits}"


def parse_dollars(text: str) -> Units:
    """Units from `10`, `0.5` or `$7.25`; ValueError for anything finer than a unit or negative."""
    whole, _, fraction = text.strip().removeprefix("$").partition(".")
    if not (whole.isascii() and whole.isdigit()):
        raise ValueError(f"not an amount in dollars: {text!r}")
    if fraction and not (fraction.isascii() and fraction.isdigit()):
        raise ValueError(f"not an amount in dollars: {text!r}")
    if len(fraction) > DECIMALS:
        raise ValueError(f"finer than the token's {DECIMALS} decimals: {text!r}")
    return Units(int(whole) * UNITS_PER_DOLLAR + int(fraction.ljust(DECIMALS, "0") or "0"))
