"""How `node.yaml` writes values: what is wrong with one, and amounts in dollars."""

from typing import Final

from ricochet_protocol.money import UNITS_PER_DOLLAR, Units, parse_dollars

MAX_PRICE: Final = 1_000_000 * UNITS_PER_DOLLAR
"""A million dollars per million tokens: a higher price is a slip of the unit."""
Dollars = str | int


class Wrong(Exception):
    """A value that cannot be used; the text names field and reason."""


def units(value: Dollars, place: str) -> Units:
    """An amount; Wrong names `place`."""
    try:
        amount = parse_dollars(str(value))
    except ValueError:
        raise Wrong(f'{place}: an amount in dollars, quoted, such as "0.25"') from None
    if amount > MAX_PRICE:
        raise Wrong(f"{place}: above a million dollars")
    return amount
