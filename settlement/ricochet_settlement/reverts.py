"""Why a contract refused, in words: custom errors of our contracts with their names and values."""

from functools import cache
from typing import Any, Final

from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError
from web3.exceptions import ContractLogicError

from ricochet_protocol.errors import ChainError
from ricochet_protocol.signing import keccak256
from ricochet_settlement.artifact import artifact

_STANDARD: Final = (
    {"name": "Error", "inputs": [{"name": "reason", "type": "string"}]},
    {"name": "Panic", "inputs": [{"name": "code", "type": "uint256"}]},
)
"""What `require` and failed arithmetic leave; Solidity documentation, "Panic via assert"."""


_UNKNOWN: Final = "The contract's interface (IRicochet.sol) says what the error means."
_WAYS_OUT: Final = {
    "InexactTransfer": "The network's token keeps a part of each transfer, so no subscription can "
    "be paid with it: join a network with another token.",
    "AutoRenewOff": "Run `ricochet subscription auto-renew` first, or `ricochet subscribe` again.",
    "OutsideRenewal": "Renewal opens three days before the period ends, which `ricochet "
    "subscription show` tells, and closes there; then run `ricochet subscribe`.",
    "ERC20InsufficientBalance": "The wallet holds too few tokens: `ricochet wallet show`.",
    "ERC20InsufficientAllowance": "The wallet allowed too little: run `ricochet subscription "
    "auto-renew`, which allows a year of fees.",
    "EnforcedPause": "The contract's owner has paused new money; what is paid stays usable.",
    "TooManyMultiaddrs": "Name fewer addresses under `listen` in node.yaml.",
    "MultiaddrTooLong": "Name shorter addresses under `listen` in node.yaml.",
}
"""For errors that a person meets whose command could not foresee them."""


def refusal(error: ContractLogicError) -> ChainError:
    """The error for a call or transaction that the contract reverted."""
    text = error.data if isinstance(error.data, str) else ""
    words = explain(bytes.fromhex(text.removeprefix("0x")))
    way_out = _WAYS_OUT.get(words.partition("(")[0], _UNKNOWN)
    return ChainError(
        "reverted", f"the contract refused: {words}", f"Nothing was changed. {way_out}"
    )


def explain(data: bytes) -> str:
    """`AlreadySubscribed(period=1, end=…, timestamp=…)` from the bytes that a revert returned."""
    if not data:
        return "execution failed without a reason"
    known = _errors().get(data[:4])
    if known is None:
        return f"unknown error 0x{data[:4].hex()}"
    names = [field["name"] for field in known["inputs"]]
    try:
        values = decode([field["type"] for field in known["inputs"]], data[4:])
    except (DecodingError, UnicodeDecodeError, OverflowError):
        return f"{known['name']} with unreadable values"
    shown = ", ".join(f"{name}={value}" for name, value in zip(names, values, strict=True))
    return f"{known['name']}({shown})"


@cache
def _errors() -> dict[bytes, dict[str, Any]]:
    ours = [*artifact("Ricochet").abi, *artifact("TestUSD").abi]
    declared = [entry for entry in ours if entry["type"] == "error"]
    return {_selector(entry): entry for entry in (*_STANDARD, *declared)}


def _selector(entry: dict[str, Any]) -> bytes:
    types = ",".join(field["type"] for field in entry["inputs"])
    return keccak256(f"{entry['name']}({types})".encode())[:4]
