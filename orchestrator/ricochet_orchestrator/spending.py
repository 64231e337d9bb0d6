"""What a subscriber has paid, to whom, for which model, on which day; held against the chain.

The home's own records say what each answer added to its node's voucher; the chain says what the
nodes have claimed. Per node and period both must tell one story:

    answers' payments + unrecorded + ahead = voucher = claimed + unclaimed   (claimed <= voucher)

`ahead` was signed for what has not come yet, less than a step of an answer, and is used up by the
next call. `unrecorded` is what was accepted beyond the answers that this home has: a home that lost
its records goes on from the voucher that its node shows. Claims above the voucher were signed by
another home of the same wallet. Either is named, never evened out.

An answer's payment is its cost, as far as the node's account has accepted as much: one that was
paid for before its loss adds nothing.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final, Literal, NamedTuple, get_args

import msgspec

from ricochet_protocol.ids import Address, ModelId, Period
from ricochet_protocol.money import Units, dollars

Grouping = Literal["node", "model", "day"]
GROUPINGS: Final[tuple[Grouping, ...]] = get_args(Grouping)


class Answered(NamedTuple):
    """An answer on record, and what it cost."""

    period: Period
    node: Address
    model: ModelId
    completed_at: float
    cost: Units


class Signed(NamedTuple):
    """What this home has accepted from a node in a period, and signed for in its voucher."""

    accepted: Units
    vouchered: Units


class Held(NamedTuple):
    """What the chain holds of a node in a period."""

    committed: Units
    claimed: Units


class Group(msgspec.Struct, frozen=True):
    """`paid` with `calls` answers, under one node, model or UTC day."""

    name: str
    calls: int
    paid: Units


class NodeAccount(msgspec.Struct, frozen=True):
    """One node in one period; see the module. `committed` is what it can claim at all."""

    period: Period
    node: Address
    paid: Units
    unrecorded: Units
    ahead: Units
    vouchered: Units
    claimed: Units
    unclaimed: Units
    committed: Units

    @property
    def difference(self) -> str:
        """What does not add up, in words; nothing when it does."""
        where = f"period {self.period}, node {self.node}"
        beyond = self.claimed - self.vouchered
        if beyond > 0:
            return f"{where}: claimed {dollars(Units(beyond))} more than was signed in this home"
        if self.unrecorded:
            return f"{where}: {dollars(self.unrecorded)} signed for answers not on record here"
        return ""


class Spending(msgspec.Struct, frozen=True):
    """All of it: by the grouping asked for, and each account; `differences` in words."""

    by: Grouping
    groups: tuple[Group, ...]
    accounts: tuple[NodeAccount, ...]
    differences: tuple[str, ...]

    @property
    def accounted(self) -> bool:
        """Whether home and chain tell one story."""
        return not self.differences

    @property
    def paid(self) -> Units:
        """The sum of all groups, which is also that of all accounts."""
        return Units(sum(group.paid for group in self.groups))


def add_up(
    answers: Iterable[Answered],
    signed: dict[tuple[Period, Address], Signed],
    chain: dict[tuple[Period, Address], Held],
    by: Grouping,
) -> Spending:
    """Group the payments and hold every account, known to either side, against the other."""
    paid = _payments(answers, signed)
    nothing, unseen = Signed(Units(0), Units(0)), Held(Units(0), Units(0))
    accounts = tuple(
        _account(key, paid, signed.get(key, nothing), chain.get(key, unseen))
        for key in sorted({*signed, *chain, *((one.period, one.node) for one, _ in paid)})
    )
    return Spending(
        by=by,
        groups=_groups(paid, by),
        accounts=accounts,
        differences=tuple(found.difference for found in accounts if found.difference),
    )


def _payments(
    answers: Iterable[Answered], signed: dict[tuple[Period, Address], Signed]
) -> list[tuple[Answered, Units]]:
    """Each answer with what was paid for it: its cost, while the account has accepted as much."""
    left = {key: Units(min(amounts)) for key, amounts in signed.items()}
    found = []
    for answer in sorted(answers, key=lambda one: one.completed_at):
        key = (answer.period, answer.node)
        paid = Units(min(answer.cost, left.get(key, Units(0))))
        left[key] = Units(left.get(key, Units(0)) - paid)
        found.append((answer, paid))
    return found


def _account(
    key: tuple[Period, Address],
    payments: Sequence[tuple[Answered, Units]],
    signed: Signed,
    held: Held,
) -> NodeAccount:
    paid = sum(units for one, units in payments if (one.period, one.node) == key)
    return NodeAccount(
        period=key[0],
        node=key[1],
        paid=Units(paid),
        unrecorded=Units(min(signed.accepted, signed.vouchered) - paid),
        ahead=Units(max(0, signed.vouchered - signed.accepted)),
        vouchered=signed.vouchered,
        claimed=held.claimed,
        unclaimed=Units(max(0, signed.vouchered - held.claimed)),
        committed=held.committed,
    )


def _groups(payments: Sequence[tuple[Answered, Units]], by: Grouping) -> tuple[Group, ...]:
    """Days in order; nodes and models by what they were paid, the most first."""
    sums: dict[str, tuple[int, int]] = {}
    for answer, units in payments:
        name = _name(answer, by)
        calls, paid = sums.get(name, (0, 0))
        sums[name] = (calls + 1, paid + units)
    groups = [Group(name, calls, Units(paid)) for name, (calls, paid) in sorted(sums.items())]
    return tuple(groups if by == "day" else sorted(groups, key=lambda one: -one.paid))


def _name(answer: Answered, by: Grouping) -> str:
    if by == "day":
        return datetime.fromtimestamp(answer.completed_at, UTC).strftime("%Y-%m-%d")
    return answer.node if by == "node" else answer.model
