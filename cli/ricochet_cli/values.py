"""Values that people type or read in commands: accounts and amounts in, moments out."""

from datetime import UTC, datetime

from ricochet_protocol.errors import UsageError
from ricochet_protocol.ids import Address, address
from ricochet_protocol.money import Units, parse_dollars


def account(text: str, option: str) -> Address:
    """An account's address; UsageError `bad_address`, which names the option."""
    try:
        return address(text)
    except ValueError as error:
        raise UsageError("bad_address", f"{option}: {error}", "Give 0x and 40 digits.") from None


def amount(text: str, option: str) -> Units:
    """Dollars as units; UsageError `bad_amount`, which names the option."""
    try:
        return parse_dollars(text)
    except ValueError as error:
        raise UsageError("bad_amount", f"{option}: {error}", "For example 2.50.") from None


def moment(seconds: int) -> str:
    """Unix seconds as people write a time."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
