"""The contract's logs as rows that can be summed: who, with whom, in which period, how much.

A row keeps what readers ask for and nothing else. Texts of the registry are untrusted: an entry
that is not even text becomes a row without a peer, which hides the operator's earlier entry, as the
contract's own view would.
"""

from functools import cache
from typing import Any, Final

import msgspec
from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError

from ricochet_protocol.errors import ChainError
from ricochet_protocol.ids import Address
from ricochet_protocol.signing import keccak256
from ricochet_settlement.artifact import artifact
from ricochet_settlement.index_source import Log

MAX_AMOUNT: Final = 2**53
"""Nine billion dollars; SQLite adds up a thousand of them exactly."""


class Row(msgspec.Struct, frozen=True):
    """One event. `amount` is the total of a Reserved, the cumulative of a Claimed, else what moved.

    `account` is the subscriber, or the operator where there is no subscriber; `other` the node, the
    delegate, the payout or the receiver. `detail` is JSON of what is not summed.
    """

    kind: str
    account: Address
    other: Address | None = None
    period: int = 0
    amount: int = 0
    share: int = 0
    commission: int = 0
    detail: bytes = b""


def row_of(log: Log) -> Row | None:
    """The event's row; None for one that no reader asks for. ChainError for what is no event."""
    known = _events().get(log.topics[0]) if log.topics else None
    if known is None:
        return None
    values = _values(known, log)
    row = _row(known["name"], values)
    if row is not None and max(row.amount, row.share + row.commission) > MAX_AMOUNT:
        raise _unreadable(known["name"])
    return row


def _row(kind: str, values: dict[str, Any]) -> Row | None:
    match kind:
        case "Subscribed":
            span = {name: values[name] for name in ("start", "end")}
            return Row(
                kind,
                values["subscriber"],
                other=values["delegate"],
                period=values["period"],
                amount=values["fee"],
                detail=msgspec.json.encode(span),
            )
        case "ToppedUp":
            return Row(kind, values["subscriber"], None, values["period"], values["amount"])
        case "Closed":
            return Row(kind, values["subscriber"], None, values["period"], values["refundable"])
        case "DelegateChanged":
            return Row(kind, values["subscriber"], values["delegate"])
        case "AutoRenewChanged":
            return Row(kind, values["subscriber"], amount=int(values["autoRenew"]))
        case "Reserved":
            return Row(
                kind, values["subscriber"], values["node"], values["period"], values["total"]
            )
        case "Claimed":
            return Row(
                kind,
                values["subscriber"],
                values["node"],
                values["period"],
                values["cumulative"],
                values["nodeShare"],
                values["commission"],
            )
        case "Refunded":
            return Row(kind, values["subscriber"], amount=values["amount"])
        case "Withdrawn":
            return Row(kind, values["account"], values["to"], amount=values["amount"])
        case "NodeRegistered":
            return Row(kind, values["operator"], values.get("payout"), detail=_entry(values))
    return None


def _entry(values: dict[str, Any]) -> bytes:
    if "peerId" not in values:
        return b""
    return msgspec.json.encode({"peer": values["peerId"], "addresses": values["multiaddrs"]})


def _values(event: dict[str, Any], log: Log) -> dict[str, Any]:
    """The event's fields by name; those of a registry entry that is no text are left out."""
    indexed = [field for field in event["inputs"] if field["indexed"]]
    plain = [field for field in event["inputs"] if not field["indexed"]]
    if len(log.topics) != len(indexed) + 1:
        raise _unreadable(event["name"])
    try:
        values = {
            field["name"]: decode([field["type"]], topic)[0]
            for field, topic in zip(indexed, log.topics[1:], strict=True)
        }
        found = decode([field["type"] for field in plain], log.data)
        values |= {field["name"]: value for field, value in zip(plain, found, strict=True)}
    except UnicodeDecodeError:
        pass
    except (DecodingError, OverflowError):
        raise _unreadable(event["name"]) from None
    return values


@cache
def _events() -> dict[bytes, dict[str, Any]]:
    declared = [entry for entry in artifact("Ricochet").abi if entry["type"] == "event"]
    return {event_topic(entry): entry for entry in declared}


def event_topic(event: dict[str, Any]) -> bytes:
    """The first topic of an event's logs, from its ABI entry."""
    types = ",".join(field["type"] for field in event["inputs"])
    return keccak256(f"{event['name']}({types})".encode())


def _unreadable(name: str) -> ChainError:
    return ChainError(
        "chain_nonsense",
        f"the chain shows a {name} event that the contract cannot have written",
        "Check `rpc` and `contract` in network.json, or use another server of the same chain.",
    )
