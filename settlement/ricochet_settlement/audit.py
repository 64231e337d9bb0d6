"""Whether every unit that was ever paid in is in exactly one place, by the chain's own account.

Money enters as deposits and is then part of a budget, of an operator's or the platform's income, of
a subscriber's refundable balance, or gone to its owner. The audit sums these places from events,
compares each with the contract's views, and the whole with the deposits and the token's balance.
Every disagreement is a sentence; `accounted` means there is none.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator

import msgspec

from ricochet_protocol.ids import Address, Period
from ricochet_protocol.money import Units, node_share
from ricochet_settlement.audit_facts import Facts, gather
from ricochet_settlement.deployment import Deployment
from ricochet_settlement.link import Network


class OperatorAccount(msgspec.Struct, frozen=True):
    """Income of one operator: `earned` is what claims gave it so far."""

    operator: Address
    earned: Units
    withdrawn: Units
    withdrawable: Units


class SubscriberAccount(msgspec.Struct, frozen=True):
    """`paid` in tokens, `spent` on nodes and commission, `budget_left` in periods still open."""

    subscriber: Address
    paid: Units
    spent: Units
    budget_left: Units
    refundable: Units
    refunded: Units


class Audit(msgspec.Struct, frozen=True):
    """The books at one block; `discrepancies` are sentences for a person."""

    block: int
    operators: tuple[OperatorAccount, ...]
    commission: Units
    commission_withdrawn: Units
    subscribers: tuple[SubscriberAccount, ...]
    deposits: Units
    liabilities: Units
    balance: Units
    discrepancies: tuple[str, ...]

    @property
    def accounted(self) -> bool:
        """Whether every unit is in exactly one place."""
        return not self.discrepancies


async def audit(deployment: Deployment) -> Audit:
    """Audit the deployment at the newest block; ChainError when the chain cannot be read."""
    network = await Network.open(deployment)
    try:
        return judge(await gather(network))
    finally:
        await network.close()


def judge(facts: Facts) -> Audit:
    """The books that these facts make, and where they disagree."""
    sums = _Sums(facts)
    return Audit(
        block=facts.block,
        operators=tuple(
            OperatorAccount(
                operator=operator,
                earned=Units(sums.shares[operator]),
                # A treasury that operates a node withdraws both at once; it is shown as commission.
                withdrawn=Units(0 if operator in facts.treasuries else sums.withdrawn[operator]),
                withdrawable=facts.withdrawable[operator],
            )
            for operator in facts.operators
        ),
        commission=Units(sums.commissions.total()),
        commission_withdrawn=Units(sum(sums.withdrawn[one] for one in facts.treasuries)),
        subscribers=tuple(
            SubscriberAccount(
                subscriber=subscriber,
                paid=Units(sums.deposited[subscriber]),
                spent=Units(sums.spent[subscriber]),
                budget_left=Units(sums.left[subscriber]),
                refundable=facts.refundable[subscriber],
                refunded=Units(sums.refunded[subscriber]),
            )
            for subscriber in facts.refundable
        ),
        deposits=Units(sums.deposited.total()),
        liabilities=facts.liabilities,
        balance=facts.balance,
        discrepancies=(
            *_totals(facts, sums),
            *_periods(facts, sums),
            *_shares(facts),
            *_accounts(facts, sums),
        ),
    )


class _Sums:
    """What the events add up to, by account and by period."""

    def __init__(self, facts: Facts) -> None:
        self.budget: Counter[tuple[Address, Period]] = Counter()
        for budgeted in facts.budgeted:
            self.budget[budgeted.subscriber, budgeted.period] += budgeted.amount
        self.paid: Counter[tuple[Address, Period]] = Counter()
        self.shares: Counter[Address] = Counter()
        self.spent: Counter[Address] = Counter()
        self.commissions: Counter[Address] = Counter()
        for claim in facts.claimed:
            amount = claim.share + claim.commission
            self.paid[claim.subscriber, claim.period] += amount
            self.spent[claim.subscriber] += amount
            self.shares[claim.node] += claim.share
            self.commissions[claim.treasury] += claim.commission
        self.committed: Counter[tuple[Address, Period]] = Counter()
        totals = {(r.subscriber, r.period, r.node): r.total for r in facts.reserved}
        for (subscriber, period, _), total in totals.items():
            self.committed[subscriber, period] += total
        self.closed = {(c.subscriber, c.period): c.refundable for c in facts.closed}
        self.deposited = _by_account(facts.deposited)
        self.refunded = _by_account(facts.refunded)
        self.withdrawn = _by_account(facts.withdrawn)
        self.left: Counter[Address] = Counter()
        self.reusable: Counter[Address] = Counter(self.deposited)
        """Refundable by the events: what came in, less what became budget, plus what was closed."""
        for (subscriber, period), budget in self.budget.items():
            self.reusable[subscriber] -= budget
            if (subscriber, period) in self.closed:
                self.reusable[subscriber] += self.closed[subscriber, period]
            else:
                self.left[subscriber] += budget - self.paid[subscriber, period]
        for subscriber, amount in self.refunded.items():
            self.reusable[subscriber] -= amount


def _by_account(entries: tuple[tuple[Address, Units], ...]) -> Counter[Address]:
    sums: Counter[Address] = Counter()
    for account, amount in entries:
        sums[account] += amount
    return sums


def _totals(facts: Facts, sums: _Sums) -> Iterator[str]:
    gone = sums.withdrawn.total() + sums.refunded.total()
    held = sum(facts.withdrawable.values()) + sum(facts.refundable.values()) + sums.left.total()
    if sums.deposited.total() != gone + held:
        yield (
            f"{sums.deposited.total()} units were paid in, but {gone} were paid out "
            f"and {held} are held for someone"
        )
    if facts.liabilities != held:
        yield f"the contract says it owes {facts.liabilities} units, its accounts hold {held}"
    if facts.balance != facts.liabilities:
        yield f"the contract owns {facts.balance} units of the token and owes {facts.liabilities}"


def _periods(facts: Facts, sums: _Sums) -> Iterator[str]:
    for (subscriber, period), view in facts.periods.items():
        which = f"period {period} of {subscriber}"
        key = subscriber, period
        for what, shown, told in (
            ("budget", view.budget, sums.budget[key]),
            ("commitments", view.committed, sums.committed[key]),
            ("payments", view.paid, sums.paid[key]),
        ):
            if shown != told:
                yield f"{which}: the contract's {what} are {shown}, the events say {told}"
        if view.closed != (key in sums.closed):
            yield f"{which}: the contract and the events disagree whether it is closed"
        if not sums.paid[key] <= sums.committed[key] <= sums.budget[key]:
            yield f"{which}: payments, commitments and budget are out of order"
        if key in sums.closed and sums.closed[key] != sums.budget[key] - sums.paid[key]:
            yield f"{which}: {sums.closed[key]} units became refundable at its close, not the rest"


def _shares(facts: Facts) -> Iterator[str]:
    """Every node got its 70 % of what was claimed for it, rounded down once."""
    reached: dict[tuple[Address, Period, Address], int] = {}
    shares: dict[tuple[Address, Period, Address], int] = defaultdict(int)
    amounts: dict[tuple[Address, Period, Address], int] = defaultdict(int)
    for claim in facts.claimed:
        key = claim.subscriber, claim.period, claim.node
        reached[key] = claim.cumulative
        shares[key] += claim.share
        amounts[key] += claim.share + claim.commission
    for key, cumulative in reached.items():
        subscriber, period, node = key
        if amounts[key] != cumulative or shares[key] != node_share(Units(cumulative)):
            yield (
                f"{node} got {shares[key]} of the {amounts[key]} units paid for it in period "
                f"{period} of {subscriber}, where {cumulative} were claimed"
            )


def _accounts(facts: Facts, sums: _Sums) -> Iterator[str]:
    for account, shown in facts.withdrawable.items():
        told = sums.shares[account] + sums.commissions[account] - sums.withdrawn[account]
        if shown != told:
            yield f"{account} can withdraw {shown} units, the events say {told}"
    for account, shown in facts.refundable.items():
        told = sums.reusable[account]
        if shown != told:
            yield f"{account} can be refunded {shown} units, the events say {told}"
