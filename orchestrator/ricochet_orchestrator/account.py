"""The payer's side of an account with one node: what may be reserved, and what is owed.

Trust is a rule here, not luck (DESIGN §4, "Who trusts first"). A node that has proved nothing gets
a first reservation of at most five cents, which may double with each answer that passed, and all
such nodes together hold at most a fifth of the budget; it serves one call at a time. A node is
proven after `PROVEN_ANSWERS` accepted answers. Nothing is ever reserved beyond the free budget.

A voucher's amount is the sum of the costs accepted in the period; amounts only grow. When the node
shows a higher one (this home lost its state), the account resumes from it, but only when it carries
the payer's own signature. Answers replayed after such a loss were paid before: no voucher exceeds
what the node itself says is due.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import msgspec

from ricochet_protocol.eip712 import (
    Domain,
    Reservation,
    SignedReservation,
    SignedVoucher,
    Voucher,
    sign_reservation,
    sign_voucher,
)
from ricochet_protocol.errors import BudgetError, RemoteCode, RemoteFault
from ricochet_protocol.ids import Address, Period
from ricochet_protocol.messages import AccountState
from ricochet_protocol.money import Units, dollars
from ricochet_protocol.ports import Subscription
from ricochet_protocol.signing import account_address

FIRST_RESERVATION: Final = Units(50_000)
"""$0.05; DESIGN §4."""
PROVEN_ANSWERS: Final = 5
UNPROVEN_PERCENT: Final = 20
"""Of the period's budget, for all unproven nodes together; DESIGN §4."""


@dataclass(frozen=True)
class Payer:
    """Who pays: the subscriber's account, and the hot key (his delegate's) that signs for it.

    `former` are the accounts of the hot keys that signed for it before.
    """

    subscriber: Address
    domain: Domain
    key: bytes = field(repr=False)
    former: frozenset[Address] = frozenset()

    def signed(self, signer: Address) -> bool:
        """Whether a signature by `signer` is the payer's own."""
        return signer in (self.subscriber, account_address(self.key))


class Account(msgspec.Struct, frozen=True):
    """One node in one period. `reserved` is what was signed, `committed` what the chain shows.

    `acknowledged` is the voucher amount that the node has on its disk; `answers` counts accepted
    answers of this node in all periods.
    """

    node: Address
    period: Period
    reserved: Units = Units(0)
    committed: Units = Units(0)
    accepted: Units = Units(0)
    acknowledged: Units = Units(0)
    answers: int = 0
    voucher: SignedVoucher | None = None

    @property
    def proven(self) -> bool:
        """Whether the node has earned more than a stranger's trust."""
        return self.answers >= PROVEN_ANSWERS


class Funds(msgspec.Struct, frozen=True):
    """What may still be reserved in all (`free`), and of it with unproven nodes (`unproven`)."""

    free: Units
    unproven: Units


def calls_at_once(account: Account, slots: int) -> int:
    """How many calls a node may serve at the same time."""
    return slots if account.proven else 1


def funds(subscription: Subscription, accounts: Iterable[Account]) -> Funds:
    """What the budget leaves, reservations that were signed but are not yet on chain deducted."""
    here = [account for account in accounts if account.period == subscription.period]
    unlanded = sum(max(0, account.reserved - account.committed) for account in here)
    strangers = sum(account.reserved for account in here if not account.proven)
    limit = subscription.budget * UNPROVEN_PERCENT // 100
    return Funds(
        free=Units(max(0, subscription.budget - subscription.committed - unlanded)),
        unproven=Units(max(0, limit - strangers)),
    )


def reservation_total(account: Account, needed: Units, left: Funds) -> Units:
    """The total to sign so that at least `needed` is covered.

    BudgetError when the budget does not hold it, or the node has not earned that much trust.
    """
    if needed <= account.reserved:
        # Signed before; the chain has not seen it, or this would not be asked.
        return account.reserved
    if needed - account.reserved > left.free:
        raise BudgetError(
            "budget_exhausted",
            f"The budget leaves {dollars(left.free)} to reserve; the next call needs "
            f"{dollars(Units(needed - account.reserved))}.",
            "Nothing is lost. Top up or subscribe for the next period with `ricochet subscribe`, "
            "then run the same command again.",
        )
    ceiling = account.reserved + left.free
    if not account.proven:
        earned = FIRST_RESERVATION << account.answers
        ceiling = min(ceiling, earned, account.reserved + left.unproven)
        if needed > ceiling:
            raise BudgetError(
                "node_unproven",
                f"The next call needs {dollars(needed)} reserved with a node that has proved "
                f"itself worth {dollars(Units(ceiling))} so far.",
                "Choose a cheaper model with --model, or run it again when other nodes offer it.",
            )
    generous = max(needed, FIRST_RESERVATION, Units(2 * account.reserved))
    return Units(min(generous, ceiling))


def reservation(payer: Payer, account: Account, total: Units) -> SignedReservation:
    """Sign `total` for the account's node; the same value gives the same signature."""
    value = Reservation(
        subscriber=payer.subscriber, node=account.node, period=account.period, total=total
    )
    return sign_reservation(payer.key, payer.domain, value)


def accept(payer: Payer, account: Account, cost: Units, due: Units) -> Account:
    """The account after an accepted answer, with the voucher that pays for it.

    `due` is the highest sum that the node has stated: an answer paid for before adds nothing.
    """
    accepted = Units(max(account.accepted, min(account.accepted + cost, due)))
    value = Voucher(
        subscriber=payer.subscriber,
        node=account.node,
        period=account.period,
        cumulative=accepted,
    )
    voucher = sign_voucher(payer.key, payer.domain, value)
    return msgspec.structs.replace(
        account, accepted=accepted, answers=account.answers + 1, voucher=voucher
    )


def resume(payer: Payer, account: Account, state: AccountState) -> Account:
    """The account in the light of what the node says it holds.

    RemoteFault when the node shows a voucher that the payer never signed. What it says about the
    chain is believed only up to what was signed: more cannot be there.
    """
    if state.period != account.period:
        raise RemoteFault(RemoteCode.REFUSED, "peer speaks of another period")
    committed = Units(min(state.committed, account.reserved))
    if state.voucher is None:
        return msgspec.structs.replace(account, committed=committed, acknowledged=Units(0))
    shown = state.voucher.voucher
    signer = state.voucher.signer(payer.domain)
    # A replaced key may have been stolen, so its word stands only for what is known here.
    known = signer in payer.former and shown.cumulative <= account.accepted
    ours = shown.subscriber == payer.subscriber and (payer.signed(signer) or known)
    if not ours or (shown.node, shown.period) != (account.node, account.period):
        raise RemoteFault(RemoteCode.REFUSED, "peer shows a voucher that was never signed here")
    resumed = msgspec.structs.replace(account, committed=committed, acknowledged=shown.cumulative)
    if shown.cumulative > account.accepted:
        resumed = msgspec.structs.replace(resumed, accepted=shown.cumulative, voucher=state.voucher)
    return resumed


def covered(account: Account, due: Units, in_flight: Units) -> Units:
    """What has to be committed for calls in flight, whose worst costs add up to `in_flight`.

    `due` is the node's own sum of what it has served. It may exceed what was accepted here (answers
    were lost on the way), but is believed only up to a first reservation's worth.
    """
    believed = min(due, account.accepted + FIRST_RESERVATION)
    return Units(max(account.accepted, believed) + in_flight)
