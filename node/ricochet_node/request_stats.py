"""What a node's requests add up to: by key, model, subscriber, outcome or day.

Sums only: nothing here reads files or the clock. `margin` is the owner's share of the income less
what providers cost, and is unknown where a provider's price is.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final, Literal

import msgspec

from ricochet_node.request_log import OK, RequestRecord
from ricochet_protocol.money import Units, node_share

Grouping = Literal["key", "model", "subscriber", "outcome", "day"]
GROUPINGS: Final[tuple[Grouping, ...]] = ("key", "model", "subscriber", "outcome", "day")


class Totals(msgspec.Struct, frozen=True):
    """One group. Amounts in units; `share` is the owner's 70 % of `income`.

    `unpriced` calls have no known upstream cost; with any, `margin` is None, else it may be
    negative. `upstream_risk` is what providers may have charged beyond `upstream_cost` for calls
    that were cut, so that `margin` is less by at most that much. The times are of answered requests
    that were not replays; None without any.
    """

    name: str
    requests: int
    failed: int
    tokens_in: int
    tokens_out: int
    income: Units
    share: Units
    upstream_cost: Units
    upstream_risk: Units
    unpriced: int
    margin: int | None
    median_ms: int | None
    p95_ms: int | None
    median_first_token_ms: int | None


def totals(records: Iterable[RequestRecord], by: Grouping) -> tuple[Totals, ...]:
    """Groups in order of income, days in order of time."""
    groups: dict[str, list[RequestRecord]] = {}
    for record in records:
        groups.setdefault(_group(record, by), []).append(record)
    summed = [_sum(name, members) for name, members in groups.items()]
    if by == "day":
        return tuple(sorted(summed, key=lambda one: one.name))
    return tuple(sorted(summed, key=lambda one: (-one.income, -one.requests, one.name)))


def grand_total(records: Iterable[RequestRecord]) -> Totals:
    """All of them as one group, named "all"."""
    return _sum("all", list(records))


def _group(record: RequestRecord, by: Grouping) -> str:
    if by == "day":
        return datetime.fromtimestamp(record.time, UTC).date().isoformat()
    if by == "subscriber":
        return record.subscriber or "(local door)"
    return str(getattr(record, by)) or "-"


def _sum(name: str, members: list[RequestRecord]) -> Totals:
    answered = [one for one in members if one.outcome == OK]
    # A replay was paid for and cost something when it was first served.
    fresh = [one for one in members if not one.replayed]
    income = Units(sum(one.income for one in fresh))
    cost = Units(sum(one.upstream_cost or 0 for one in fresh))
    unpriced = sum(1 for one in fresh if one.upstream_cost is None)
    share = node_share(income)
    whole = [one for one in fresh if one.outcome == OK]
    times = sorted(one.ms for one in whole)
    firsts = sorted(one.first_token_ms for one in whole if one.first_token_ms is not None)
    return Totals(
        name=name,
        requests=len(members),
        failed=len(members) - len(answered),
        tokens_in=sum(one.tokens_in for one in fresh),
        tokens_out=sum(one.tokens_out for one in fresh),
        income=income,
        share=share,
        upstream_cost=cost,
        upstream_risk=Units(sum(one.upstream_risk for one in fresh)),
        unpriced=unpriced,
        margin=None if unpriced else share - cost,
        median_ms=_quantile(times, 50),
        p95_ms=_quantile(times, 95),
        median_first_token_ms=_quantile(firsts, 50),
    )


def _quantile(ordered: list[int], percent: int) -> int | None:
    """The smallest value that `percent` of them do not exceed."""
    if not ordered:
        return None
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]
