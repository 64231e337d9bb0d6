"""What the contract had said by some block, from the events that `chain.db` holds.

Every answer is a sum over events up to that block, so one set of questions serves the newest block
and the confirmed one, and a dropped block takes nothing but its events away. Commitments and claims
only grow along a chain, so the greatest is the last.
"""

from typing import Any

import msgspec

from ricochet_protocol.ids import Address, Period
from ricochet_protocol.money import Units
from ricochet_protocol.ports import NodeRecord, Subscription
from ricochet_settlement.index_store import IndexStore
from ricochet_settlement.reading import registry_record_untrusted


class Spending(msgspec.Struct, frozen=True):
    """What one period commits to a node, and how much of it the node has claimed."""

    period: Period
    node: Address
    committed: Units
    claimed: Units


class Income(msgspec.Struct, frozen=True):
    """An operator's: `shares` claims gave him, `commission` they brought the platform, `withdrawn`
    went to his payout. What he earns as the treasury is not in it."""

    shares: Units
    commission: Units
    withdrawn: Units


class RankedNode(msgspec.Struct, frozen=True):
    """A registry entry with the commission that its claims have generated."""

    record: NodeRecord
    commission: Units


class IndexView:
    """The contract `depth` blocks below the newest; zero and None while there is no such block."""

    def __init__(self, store: IndexStore, depth: int = 0) -> None:
        self._store = store
        head = store.head
        self.block = -1 if head is None else max(-1, head.number - depth)
        at = store.newest_to(self.block)
        self._time = 0 if at is None else at.time

    def subscription(self, subscriber: Address) -> Subscription | None:
        """The period that runs or ran last; None for an account that never subscribed."""
        begun = [period for period in self.periods(subscriber) if period.start <= self._time]
        return begun[-1] if begun else None

    def periods(self, subscriber: Address) -> tuple[Subscription, ...]:
        """All of them in order, one renewed ahead included, with the delegate of now."""
        opened = self._events(
            "period, detail", "account = ? AND kind = 'Subscribed' ORDER BY period", subscriber
        )
        return tuple(self._period(subscriber, Period(one), detail) for one, detail in opened)

    def commitment(self, subscriber: Address, period: Period, node: Address) -> tuple[Units, Units]:
        """Committed and claimed."""
        found = [one for one in self.spending(subscriber, period) if one.node == node]
        return (found[0].committed, found[0].claimed) if found else (Units(0), Units(0))

    def spending(self, subscriber: Address, period: Period | None = None) -> tuple[Spending, ...]:
        """Every node's part, of one period or of all."""
        rows = self._events(
            "period, other, max(amount * (kind = 'Reserved')), max(amount * (kind = 'Claimed'))",
            "account = ? AND kind IN ('Reserved', 'Claimed') AND period = ifnull(?, period)"
            " GROUP BY period, other ORDER BY period, other",
            subscriber,
            period,
        )
        return tuple(
            Spending(Period(period), Address(node), Units(committed), Units(claimed))
            for period, node, committed, claimed in rows
        )

    def earned(self, subscriber: Address, node: Address) -> Units:
        """What claims of all periods paid for the node, commission included."""
        rows = self._events(
            "ifnull(sum(share + commission), 0)",
            "account = ? AND kind = 'Claimed' AND other = ?",
            subscriber,
            node,
        )
        return Units(rows[0][0])

    def auto_renew(self, subscriber: Address) -> bool:
        """Whether anyone may renew his periods."""
        rows = self._events(
            "amount",
            "account = ? AND kind = 'AutoRenewChanged' ORDER BY block DESC, position DESC LIMIT 1",
            subscriber,
        )
        return bool(rows and rows[0][0])

    def closed(self, subscriber: Address) -> frozenset[Period]:
        """His periods that were closed."""
        rows = self._events("period", "account = ? AND kind = 'Closed'", subscriber)
        return frozenset(Period(row[0]) for row in rows)

    def income(self, operator: Address) -> Income:
        """What claims brought, and what was withdrawn."""
        claimed = self._events(
            "ifnull(sum(share), 0), ifnull(sum(commission), 0)",
            "other = ? AND kind = 'Claimed'",
            operator,
        )
        withdrawn = self._events(
            "ifnull(sum(amount), 0)", "account = ? AND kind = 'Withdrawn'", operator
        )
        (shares, commission), (gone,) = claimed[0], withdrawn[0]
        return Income(Units(shares), Units(commission), Units(gone))

    def nodes(self) -> tuple[RankedNode, ...]:
        """Every operator whose latest entry names a peer, in order of first registration."""
        commissions = dict(
            self._events("other, sum(commission)", "kind = 'Claimed' GROUP BY other")
        )
        entries: dict[Address, tuple[Any, Any]] = {}
        for account, payout, detail in self._events(
            "account, other, detail", "kind = 'NodeRegistered' ORDER BY block, position"
        ):
            entries[Address(account)] = payout, detail
        found = []
        for operator, (payout, detail) in entries.items():
            record = _record(operator, payout, detail)
            if record is not None:
                found.append(RankedNode(record, Units(commissions.get(operator, 0))))
        return tuple(found)

    def _period(self, subscriber: Address, period: Period, detail: bytes) -> Subscription:
        budget, paid = self._events(
            "ifnull(sum(amount * (kind IN ('Subscribed', 'ToppedUp'))), 0),"
            " ifnull(sum(share + commission), 0)",
            "account = ? AND period = ?",
            subscriber,
            period,
        )[0]
        committed = sum(one.committed for one in self.spending(subscriber, period))
        span = msgspec.json.decode(detail)
        return Subscription(
            subscriber=subscriber,
            delegate=self._delegate(subscriber),
            period=period,
            budget=Units(budget),
            committed=Units(committed),
            paid=Units(paid),
            start=span["start"],
            end=span["end"],
        )

    def _delegate(self, subscriber: Address) -> Address:
        # A subscription that changes the delegate says so in an event of its own.
        rows = self._events(
            "other",
            "account = ? AND kind IN ('DelegateChanged', 'Subscribed')"
            " ORDER BY block DESC, position DESC LIMIT 1",
            subscriber,
        )
        return Address(rows[0][0])

    def _events(self, columns: str, condition: str, *values: object) -> list[tuple[Any, ...]]:
        return self._store.select(columns, f"WHERE block <= ? AND {condition}", self.block, *values)


def _record(operator: Address, payout: str | None, detail: bytes) -> NodeRecord | None:
    if not detail or payout is None:
        return None
    entry = msgspec.json.decode(detail)
    return registry_record_untrusted(operator, entry["peer"], entry["addresses"], Address(payout))
