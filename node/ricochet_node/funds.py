"""Where every unit is that the node ever served: each is in exactly one state.

    0 ──── claimed ──── commitment ──── voucher ──── due      one subscriber's period, in units
      claimed │ vouchered │  at risk    │ unpaid or at risk

What was claimed is commission, withdrawable or withdrawn. A voucher within its commitment is safe;
what lies above the commitment is at risk, with or without a voucher. What can be claimed no more,
because the window has ended or the contract would not pay it, is lost, with the reason.

The states are computed period by period, from the entries and the chain; `served` is the sum over
the models sold. Both are written in one transaction and never from each other, so their agreement
shows that the books are whole. What vouchers promise above what was served is counted as `ahead`.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from ricochet_node.ledger import Books, Entry
from ricochet_protocol.errors import ChainError
from ricochet_protocol.ids import Address, Period
from ricochet_protocol.money import CLAIM_WINDOW, Units, node_share
from ricochet_protocol.ports import Commitment, Settlement
from ricochet_settlement.skip import Skip

_TRIES: Final = 5
"""Readings of the chain until none moves money meanwhile; a node claims once in minutes at most."""


class PeriodFunds(msgspec.Struct, frozen=True):
    """One subscriber's period; times are Unix seconds, 0 when the chain knows no such period."""

    subscriber: Address
    period: Period
    ends: int
    claim_by: int
    served: Units
    ahead: Units
    unpaid: Units
    vouchered: Units
    at_risk: Units
    claimed: Units
    lost: Units
    reason: str = ""


class Funds(msgspec.Struct, frozen=True):
    """All periods, newest end first. `elsewhere` is income on the contract from other books."""

    time: int
    served: Units
    ahead: Units
    unpaid: Units
    vouchered: Units
    at_risk: Units
    withdrawable: Units
    withdrawn: Units
    commission: Units
    lost: Units
    elsewhere: Units
    accounted: bool
    periods: tuple[PeriodFunds, ...]

    def document(self) -> dict[str, Any]:
        """As JSON has it."""
        made: dict[str, Any] = msgspec.to_builtins(self)
        return made


class Reading(msgspec.Struct, frozen=True):
    """What the chain says of one entry; `ends` is 0 when it knows no such period."""

    held: Commitment
    ends: int


def split(entry: Entry, reading: Reading, time: int) -> PeriodFunds:
    """One entry's units by state, at the chain's `time`."""
    claimed, committed = reading.held.claimed, reading.held.committed
    vouchered = max(entry.vouchered, claimed)
    total = max(entry.due, vouchered)
    claim_by = reading.ends + CLAIM_WINDOW if reading.ends else 0
    over = entry.closed or bool(claim_by and time >= claim_by)
    void = vouchered if over or entry.void else claimed
    lost = (total if over else void) - claimed
    safe = max(void, min(vouchered, committed)) - void
    # Above the voucher and within the commitment: a voucher for it would be safe.
    unpaid = 0 if over else max(0, min(total, committed) - vouchered)
    reason = Skip.WINDOW_ENDED.value if over else entry.void
    return PeriodFunds(
        subscriber=entry.subscriber,
        period=entry.period,
        ends=reading.ends,
        claim_by=claim_by,
        served=entry.due,
        ahead=Units(total - entry.due),
        unpaid=Units(unpaid),
        vouchered=Units(safe),
        at_risk=Units(total - claimed - lost - safe - unpaid),
        claimed=claimed,
        lost=Units(lost),
        reason=reason if lost else "",
    )


def add_up(periods: Sequence[PeriodFunds], served: Units, withdrawable: Units, time: int) -> Funds:
    """The sums and their check; `served` by the sales, `withdrawable` by the contract."""
    shares = sum(node_share(one.claimed) for one in periods)
    here = min(withdrawable, shares)
    states = {
        "unpaid": sum(one.unpaid for one in periods),
        "vouchered": sum(one.vouchered for one in periods),
        "at_risk": sum(one.at_risk for one in periods),
        "withdrawable": here,
        "withdrawn": shares - here,
        "commission": sum(one.claimed for one in periods) - shares,
        "lost": sum(one.lost for one in periods),
    }
    ahead = sum(one.ahead for one in periods)
    whole = sum(states.values()) == served + ahead and min(states.values()) >= 0
    return Funds(
        time=time,
        served=served,
        ahead=Units(ahead),
        **{name: Units(amount) for name, amount in states.items()},
        elsewhere=Units(withdrawable - here),
        accounted=whole and served == sum(one.served for one in periods),
        periods=tuple(sorted(periods, key=lambda one: (-one.ends, one.subscriber, one.period))),
    )


async def survey(settlement: Settlement, books: Callable[[], Books], operator: Address) -> Funds:
    """The books against the chain; ChainError when it cannot be reached, or moves all the time."""
    before = await settlement.withdrawable(operator)
    for _ in range(_TRIES):
        now = books()
        time = await settlement.chain_time()
        periods = [
            split(entry, await _read(settlement, entry, operator), time) for entry in now.entries
        ]
        after = await settlement.withdrawable(operator)
        if before == after:
            return add_up(periods, now.served, after, time)
        before = after
    raise ChainError(
        "chain_moves",
        "claims or withdrawals went on while the chain was read",
        "run the command again",
    )


async def _read(settlement: Settlement, entry: Entry, operator: Address) -> Reading:
    if entry.closed:
        # Nothing changes there any more, and a node has many old periods.
        held = Commitment(committed=entry.claimed, claimed=entry.claimed)
        return Reading(held, entry.ends or 0)
    held = await settlement.commitment(entry.subscriber, entry.period, operator)
    if entry.ends is not None:
        return Reading(held, entry.ends)
    period = await settlement.period(entry.subscriber, entry.period)
    return Reading(held, period.end if period is not None else 0)
