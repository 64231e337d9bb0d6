"""The payer's account with one node: what was signed, by the rules of `ricochet_protocol.payer`.

The rules say how much; here it is signed with the hot key, and refusals become errors a person can
act on. A voucher's amount covers what was accepted and at most a step of what is being received.
What was signed beyond accepted answers stays with the node as an advance: the next call uses it up.

When the node shows a higher voucher than is known here (this home lost its state), the account
resumes from it, but only when it carries the payer's own signature.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from ricochet_protocol import payer as rules
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
from ricochet_protocol.payer import Purse, Refused
from ricochet_protocol.ports import Subscription
from ricochet_protocol.signing import account_address
from ricochet_protocol.steps import Surplus


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

    `voucher` is the highest one signed, `acknowledged` the amount that the node has on its disk;
    `answers` counts accepted answers of this node in all periods, `surplus` what it bills beyond
    the own count.
    """

    node: Address
    period: Period
    reserved: Units = Units(0)
    committed: Units = Units(0)
    accepted: Units = Units(0)
    acknowledged: Units = Units(0)
    answers: int = 0
    voucher: SignedVoucher | None = None
    surplus: Surplus = Surplus()

    @property
    def signed(self) -> Units:
        """The highest amount signed in a voucher."""
        return Units(0) if self.voucher is None else self.voucher.voucher.cumulative

    @property
    def state(self) -> rules.Payer:
        """What the rules look at."""
        return rules.Payer(
            reserved=self.reserved,
            signed=self.signed,
            accepted=self.accepted,
            answers=self.answers,
        )


def calls_at_once(account: Account, slots: int) -> int:
    """How many calls a node may serve at the same time."""
    return rules.calls_at_once(account.state, slots)


def purse(subscription: Subscription, accounts: Iterable[Account]) -> Purse:
    """What the budget leaves, reservations that were signed but are not yet on chain deducted."""
    here = [account for account in accounts if account.period == subscription.period]
    unlanded = sum(max(0, account.reserved - account.committed) for account in here)
    states = [account.state for account in here]
    return rules.purse(subscription.budget, subscription.committed, Units(unlanded), states)


def with_reservation(account: Account, needed: Units, left: Purse) -> Account:
    """The account once enough is reserved for `needed`.

    BudgetError when the budget does not hold it, or the node has not earned that much trust.
    """
    total = rules.reserve(account.state, needed, left)
    if not isinstance(total, Refused):
        return msgspec.structs.replace(account, reserved=total)
    if not total.unproven:
        raise BudgetError(
            "budget_exhausted",
            f"The budget leaves {dollars(left.free)} to reserve; the next call needs "
            f"{dollars(Units(needed - account.reserved))}.",
            "Nothing is lost. Top up or subscribe for the next period with `ricochet subscribe`, "
            "then run the same command again.",
        )
    raise _unproven(needed, total, "reserved")


def reservation(payer: Payer, account: Account) -> SignedReservation:
    """Sign what is reserved; the same value gives the same signature."""
    value = Reservation(
        subscriber=payer.subscriber,
        node=account.node,
        period=account.period,
        total=account.reserved,
    )
    return sign_reservation(payer.key, payer.domain, value)


def check_payable(account: Account, cumulative: Units, left: Purse) -> None:
    """BudgetError when a voucher for `cumulative` would be refused."""
    amount = rules.sign(account.state, cumulative, left)
    if isinstance(amount, Refused):
        raise _unproven(cumulative, amount, "paid")


def with_voucher(payer: Payer, account: Account, cumulative: Units, left: Purse) -> Account:
    """The account with a voucher that pays up to `cumulative`; BudgetError beyond the rules."""
    check_payable(account, cumulative, left)
    return _signed(payer, account, cumulative)


def accept(
    payer: Payer, account: Account, cost: Units, due: Units, counted: Units, left: Purse
) -> Account:
    """The account after an accepted answer, with the voucher that pays for it.

    `due` is the highest sum that the node has stated: an answer paid for before adds nothing.
    `counted` is what the answer costs by the own count. Of an answer that is dearer than strangers
    may be paid, that much is paid.
    """
    state = rules.accept(account.state, cost, due)
    accepted = msgspec.structs.replace(
        account,
        accepted=state.accepted,
        answers=state.answers,
        surplus=account.surplus.after(cost, counted),
    )
    amount = rules.sign(accepted.state, state.accepted, left)
    return _signed(payer, accepted, amount.most if isinstance(amount, Refused) else amount)


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
    if state.voucher == account.voucher:
        return msgspec.structs.replace(account, committed=committed, acknowledged=shown.cumulative)
    signer = state.voucher.signer(payer.domain)
    # A replaced key may have been stolen, so its word stands only for what is known here.
    known = signer in payer.former and shown.cumulative <= account.signed
    ours = shown.subscriber == payer.subscriber and (payer.signed(signer) or known)
    if not ours or (shown.node, shown.period) != (account.node, account.period):
        raise RemoteFault(RemoteCode.REFUSED, "peer shows a voucher that was never signed here")
    resumed = msgspec.structs.replace(account, committed=committed, acknowledged=shown.cumulative)
    if shown.cumulative <= account.signed:
        return resumed
    # Answers that this home has lost were paid with it: they are no advance.
    lost = Units(max(account.accepted, min(state.due, shown.cumulative)))
    return msgspec.structs.replace(resumed, voucher=state.voucher, accepted=lost)


def _signed(payer: Payer, account: Account, cumulative: Units) -> Account:
    if cumulative <= account.signed:
        return account
    value = Voucher(
        subscriber=payer.subscriber,
        node=account.node,
        period=account.period,
        cumulative=cumulative,
    )
    voucher = sign_voucher(payer.key, payer.domain, value)
    return msgspec.structs.replace(account, voucher=voucher)


def _unproven(needed: Units, refused: Refused, what: str) -> BudgetError:
    return BudgetError(
        "node_unproven",
        f"The next call needs {dollars(needed)} {what} to a node that has proved itself worth "
        f"{dollars(refused.most)} so far.",
        "Choose a cheaper model with --model, or run it again when other nodes offer it.",
    )
