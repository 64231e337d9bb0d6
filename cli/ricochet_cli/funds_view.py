"""How `ricochet node funds` shows where the money is."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from ricochet_cli.console import table
from ricochet_cli.language import t, told
from ricochet_protocol.money import Units, dollars

_STATES: Final = (
    ("unpaid", "served, no voucher yet"),
    ("vouchered", "in vouchers within commitments: safe, not claimed yet"),
    ("at risk", "above what the chain has committed"),
    ("withdrawable", "claimed: `ricochet node withdraw` sends it"),
    ("withdrawn", "sent to the payout address"),
    ("commission", "30 % of what was claimed"),
    ("lost", "expired or not payable: see the reasons"),
)


def funds_text(found: Mapping[str, Any]) -> str:
    """The states, their sum, and the periods with money on the way or lost."""
    rows = [(told(name), _amount(found, name), told(what)) for name, what in _STATES]
    rows.append((t("served"), _amount(found, "served"), _sum_of(found)))
    parts = [table(("state", "amount", ""), rows)]
    if found["elsewhere"]:
        extra = dollars(Units(found["elsewhere"]))
        parts.append(
            t("{extra} more can be withdrawn, earned with other books than these", extra=extra)
        )
    open_periods = [_period(one) for one in found["periods"] if _is_open(one)]
    if open_periods:
        headers = (
            *("subscriber", "period", "ends", "claim by"),
            *("unpaid", "vouchered", "at risk", "lost", "reason"),
        )
        parts.append(table(headers, open_periods))
    return "\n\n".join(parts)


def _sum_of(found: Mapping[str, Any]) -> str:
    if not found["accounted"]:
        return t("the states do NOT add up to it")
    if found["ahead"]:
        ahead = dollars(Units(found["ahead"]))
        return t("the states add up to it and {ahead} paid ahead of service", ahead=ahead)
    return t("the states add up to it: every unit is accounted for")


def _amount(values: Mapping[str, Any], name: str) -> str:
    return dollars(Units(values[name.replace(" ", "_")]))


def _is_open(one: Mapping[str, Any]) -> bool:
    return any(one[name] for name in ("unpaid", "vouchered", "at_risk", "lost"))


def _period(one: Mapping[str, Any]) -> tuple[str, ...]:
    amounts = (_amount(one, name) for name in ("unpaid", "vouchered", "at risk", "lost"))
    dates = (_date(one["ends"]), _date(one["claim_by"]))
    return (one["subscriber"], str(one["period"]), *dates, *amounts, one["reason"] or "-")


def _date(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M") if seconds else "-"
