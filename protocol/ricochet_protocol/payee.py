"""Who trusts first, seen from the node: what it may serve to one subscriber in one period.

A voucher is payment only up to the node's commitment at confirmation depth. Whatever a node serves
beyond that is credit, and credit is earned: a tenth of what the chain has paid *this* node from
*this* subscriber, under a cap. Payments to others earn nothing (faking them costs only the
commission); a stranger has no credit and pays ahead, in steps. The rules:

    secured  = min(vouchered, committed)              what the contract will pay
    credit   = min(cap, earned / 10) - owed
    limit    = secured + credit
    admit    when due + in_flight + worst <= committed + credit   (the reservation is large enough)
             and due + backed + opening <= limit                  (the first step is paid)
    extend   when due + backed + step <= limit                    (each further step is paid)
    finish   when due + backed - own backing + cost <= limit      (the bill is paid; else the tail
                                                                  of the answer waits)
    relay    when the raise is at least `MIN_RAISE` or all that is free, and none has failed

`owed` is what earlier periods left unpaid: a credit line is lent once, not anew each period. Raises
have a least size because the node pays their gas: else one budget would buy a raise of one unit ten
million times. `backed` is what open calls have had secured. Every transition keeps
`due <= secured + credit` while the chain keeps its word; a reorganisation that takes a commitment
back costs at most what was served under it. There is no clock, disk or network here: the node feeds
events and obeys.
"""

from typing import Final

import msgspec

from ricochet_protocol.money import Units

CREDIT_PERCENT: Final = 10
"""Of what this subscriber has paid this node on the chain; DESIGN §4. A default costs the node at
most what it earned from him in his last tenth, so lending never turns his custom into a loss."""
CREDIT_CAP: Final = Units(1_000_000)
"""$1: what a node risks on its best customer unless its owner says otherwise."""
MIN_RAISE: Final = Units(50_000)
"""$0.05, a stranger's first reservation: a budget of $10 buys at most 200 relays from all nodes."""


class Payee(msgspec.Struct, frozen=True):
    """One subscriber's period at this node.

    `committed` is confirmed on the chain, `vouchered` on the node's disk; `due` sums finished
    answers. `earned` is what confirmed claims of all periods paid for this subscriber, `owed` what
    was served in earlier periods and not paid by such a claim. `in_flight` (worst costs) and
    `backed` (secured steps) belong to open calls.
    """

    committed: Units = Units(0)
    vouchered: Units = Units(0)
    due: Units = Units(0)
    earned: Units = Units(0)
    owed: Units = Units(0)
    in_flight: Units = Units(0)
    backed: Units = Units(0)
    relay_failed: bool = False

    @property
    def secured(self) -> Units:
        """What the contract pays for the voucher held."""
        return Units(min(self.vouchered, self.committed))

    def credit(self, cap: Units = CREDIT_CAP) -> Units:
        """What this subscriber may owe beyond that."""
        return Units(max(0, min(cap, self.earned * CREDIT_PERCENT // 100) - self.owed))

    def at_risk(self) -> Units:
        """What was served and would not be paid if the subscriber vanished now."""
        return Units(max(0, self.due + self.backed - self.secured))


class Committed(msgspec.Struct, frozen=True):
    """The chain confirms a commitment of `total`; less than before after a reorganisation."""

    total: Units


class Vouchered(msgspec.Struct, frozen=True):
    """A voucher for `cumulative` is on disk; a lower one changes nothing."""

    cumulative: Units


class Earned(msgspec.Struct, frozen=True):
    """Confirmed claims for this subscriber add up to `total`; less after a reorganisation."""

    total: Units


class Owed(msgspec.Struct, frozen=True):
    """What was due in earlier periods exceeds what confirmed claims paid for them by `total`."""

    total: Units


class Opened(msgspec.Struct, frozen=True):
    """A call was admitted: `worst` it may cost, `opening` is secured at once."""

    worst: Units
    opening: Units


class Extended(msgspec.Struct, frozen=True):
    """A call had `step` more secured."""

    step: Units


class Finished(msgspec.Struct, frozen=True):
    """A call ended, its receipt says `cost`; `backed` was secured for it."""

    worst: Units
    backed: Units
    cost: Units


class Dropped(msgspec.Struct, frozen=True):
    """A call ended without a receipt.

    `charged` is what had been delivered when the client left; 0 when the node's side failed.
    """

    worst: Units
    backed: Units
    charged: Units


class Unwritten(msgspec.Struct, frozen=True):
    """A call that was `Finished` at `cost` left no receipt: the disk refused it."""

    cost: Units


class RelayFailed(msgspec.Struct, frozen=True):
    """A reservation that was relayed did not land; there is no second attempt in this period."""


Event = (
    Committed
    | Vouchered
    | Earned
    | Owed
    | Opened
    | Extended
    | Finished
    | Dropped
    | Unwritten
    | RelayFailed
)


class Short(msgspec.Struct, frozen=True):
    """Why the node waits: it needs the commitment at `commit` and vouchers at `pay`."""

    commit: Units
    pay: Units


def admit(state: Payee, worst: Units, opening: Units, cap: Units = CREDIT_CAP) -> Short | None:
    """None when a call that may cost `worst` may begin; `opening` is its prompt and first step."""
    credit = state.credit(cap)
    commit = state.due + state.in_flight + worst - credit
    pay = state.due + state.backed + opening - credit
    if commit <= state.committed and pay <= state.secured:
        return None
    return Short(commit=Units(max(commit, pay, 0)), pay=Units(max(pay, 0)))


def extend(state: Payee, step: Units, cap: Units = CREDIT_CAP) -> Short | None:
    """None when `step` more may be delivered."""
    return _covered(state, Units(state.due + state.backed + step), cap)


def finish(state: Payee, backed: Units, cost: Units, cap: Units = CREDIT_CAP) -> Short | None:
    """None when the last of an answer that costs `cost` may be delivered."""
    return _covered(state, Units(state.due + state.backed - backed + cost), cap)


def relay(state: Payee, total: Units, free: Units) -> bool:
    """Whether the node takes a reservation of `total` to the chain, at its own cost.

    `free` is what the subscriber's budget has left to commit: its rest may be less than a raise.
    """
    raised = total - state.committed
    return not state.relay_failed and 0 < raised <= free and raised >= min(MIN_RAISE, free)


def after(state: Payee, event: Event) -> Payee:
    """The state once `event` has happened; ValueError for one that cannot follow."""
    if any(getattr(event, name) < 0 for name in event.__struct_fields__):
        raise ValueError("a negative amount")
    match event:
        case Committed(total):
            return _replace(state, committed=total)
        case Vouchered(cumulative):
            return _replace(state, vouchered=max(state.vouchered, cumulative))
        case Earned(total):
            return _replace(state, earned=total)
        case Owed(total):
            return _replace(state, owed=total)
        case Opened(worst, opening):
            if opening > worst:
                raise ValueError("a first step above the worst case")
            return _with_calls(state, worst, opening)
        case Extended(step):
            return _with_calls(state, 0, step)
        case Finished(worst, backed, cost):
            if cost > worst:
                raise ValueError("a bill above the worst case")
            return _replace(_with_calls(state, -worst, -backed), due=Units(state.due + cost))
        case Dropped(worst, backed, charged):
            if charged > backed:
                raise ValueError("a charge for more than was secured")
            return _replace(_with_calls(state, -worst, -backed), due=Units(state.due + charged))
        case Unwritten(cost):
            if cost > state.due:
                raise ValueError("a bill taken back that was not due")
            return _replace(state, due=Units(state.due - cost))
        case RelayFailed():
            return _replace(state, relay_failed=True)


def _covered(state: Payee, value: Units, cap: Units) -> Short | None:
    pay = Units(max(0, value - state.credit(cap)))
    return None if pay <= state.secured else Short(commit=pay, pay=pay)


def _with_calls(state: Payee, worst: int, backed: int) -> Payee:
    in_flight, backing = Units(state.in_flight + worst), Units(state.backed + backed)
    if in_flight < 0 or backing < 0:
        raise ValueError("the end of a call that was not open")
    return _replace(state, in_flight=in_flight, backed=backing)


_replace = msgspec.structs.replace
