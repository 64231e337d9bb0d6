"""JSON-RPC parameters to values: hex quantities, data, accounts, block tags.

Everything here raises BadParams with a text that names what was wrong; nothing else may go wrong.
"""

import re
from typing import Any, Final

_QUANTITY: Final = re.compile(r"0x[0-9a-fA-F]{1,64}")
_DATA: Final = re.compile(r"0x([0-9a-fA-F]{2})*")
_TAGS: Final = ("latest", "pending", "safe", "finalized", "earliest")
_CALL_FIELDS: Final = {
    *("from", "to", "gas", "value", "data", "input", "nonce", "chainId", "type", "accessList"),
    *("gasPrice", "maxFeePerGas", "maxPriorityFeePerGas"),
}


class BadParams(Exception):
    """The request's parameters are not what the method takes."""


def quantity(value: object) -> int:
    """A number from `0x…` hex."""
    if not isinstance(value, str) or not _QUANTITY.fullmatch(value):
        raise BadParams(f"not a hex quantity: {_shown(value)}")
    return int(value, 16)


def data(value: object, size: int | None = None) -> bytes:
    """Bytes from `0x…` hex, of exactly `size` if given."""
    if not isinstance(value, str) or not _DATA.fullmatch(value):
        raise BadParams(f"not hex data: {_shown(value)}")
    raw = bytes.fromhex(value[2:])
    if size is not None and len(raw) != size:
        raise BadParams(f"expected {size} bytes, got {len(raw)}")
    return raw


def block_tag(value: object) -> int | str:
    """A block number, or one of the names for one; none means the latest."""
    if value is None:
        return "latest"
    if isinstance(value, str) and value in _TAGS:
        return value
    return quantity(value)


def call_fields(value: object, gas_limit: int) -> dict[str, Any]:
    """A call's sender, target, gas, value and data, with their defaults."""
    if not isinstance(value, dict):
        raise BadParams(f"not a call object: {_shown(value)}")
    unknown = value.keys() - _CALL_FIELDS
    if unknown:
        raise BadParams(f"unknown call fields: {', '.join(sorted(map(str, unknown)))}")
    code = value.get("data", value.get("input"))
    to = value.get("to")
    return {
        "from": data(value.get("from", "0x" + "00" * 20), 20),
        "to": b"" if to in (None, "", "0x") else data(to, 20),
        "gas": quantity(value["gas"]) if value.get("gas") is not None else gas_limit,
        "value": quantity(value.get("value", "0x0")),
        "data": b"" if code is None else data(code),
    }


def boolean(value: object) -> bool:
    """true or false."""
    if not isinstance(value, bool):
        raise BadParams(f"not a boolean: {_shown(value)}")
    return value


def seconds(value: object) -> int:
    """A number of seconds, plain or hex: development tools send either."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    return quantity(value)


def percentiles(value: object) -> list[float]:
    """Rising numbers from 0 to 100; none for null."""
    if value is None:
        return []
    if not isinstance(value, list) or not all(type(item) in (int, float) for item in value):
        raise BadParams(f"not a list of percentiles: {_shown(value)}")
    if value != sorted(value) or not all(0 <= item <= 100 for item in value):
        raise BadParams("percentiles rise from 0 to 100")
    return [float(item) for item in value]


def one_or_many(value: object, size: int) -> frozenset[bytes] | None:
    """One piece of data or a list of alternatives; None, which matches anything, for null."""
    if value is None:
        return None
    items = value if isinstance(value, list) else [value]
    return frozenset(data(item, size) for item in items)


def _shown(value: object) -> str:
    return repr(value)[:80]
