"""What is signed for one node while its answers stream: ahead by a step, on the payer's own count.

    what is owed now, by both sides' books
      + for each open call: prompt, text received and one step more, as this node bills
      - what the node gives on credit

is the voucher to hold. It is renewed when half a step has come, so that an answer seldom waits. A
node that wants more gets it up to what `usage.py` lets a bill say for what it has delivered and one
step; beyond that it is refused. A voucher is in the store before anybody can send it.

Other processes of the same home may have calls open at the node, which it counts together with
ours. What the store shows as signed by them is theirs to owe, so a node may count on it too; while
nobody else signs, nothing of that is believed.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec

from ricochet_orchestrator import account as accounts
from ricochet_orchestrator.account import Account, Payer
from ricochet_orchestrator.store import Change, Store
from ricochet_protocol import payer as rules
from ricochet_protocol.eip712 import SignedReservation
from ricochet_protocol.errors import RemoteCode, RemoteFault
from ricochet_protocol.ids import Address
from ricochet_protocol.messages import AccountState, PaymentRequired
from ricochet_protocol.money import Units
from ricochet_protocol.payer import FIRST_RESERVATION
from ricochet_protocol.ports import Subscription
from ricochet_protocol.steps import STEP_TOKENS, Metered
from ricochet_protocol.tokens import RunningCount


class OpenCall:
    """One call: what it has received, and up to where it is paid, in tokens by the own count."""

    def __init__(self, metered: Metered, count: Callable[[str], int], ahead: bool) -> None:
        self.metered = metered
        self.received = 0
        self.covered = STEP_TOKENS
        self.ahead = ahead
        self._count = RunningCount(count)

    def receive(self, text: str) -> bool:
        """Take up a piece; whether the next step should be paid now."""
        self.received = self._count.add(text)
        if not self.ahead or self.received <= self.covered - STEP_TOKENS // 2:
            return False
        self.covered = self.received + STEP_TOKENS
        return True


class Paying:
    """The account with one node, and the calls that are open there."""

    def __init__(
        self, store: Store, payer: Payer, operator: Address, subscription: Subscription
    ) -> None:
        self.account = store.account(operator, subscription.period)
        self.subscription = subscription
        self._store = store
        self._payer = payer
        self._due = Units(0)
        self._credit = Units(0)
        self._open: list[OpenCall] = []
        self._latest = (self.account.reserved, self.account.signed)
        self._shared = False

    @contextmanager
    def open(
        self, metered: Metered, count: Callable[[str], int], ahead: bool = True
    ) -> Iterator[OpenCall]:
        """Count a call as open; without `ahead` nothing is paid for it until the node asks."""
        call = OpenCall(metered, count, ahead)
        self._open.append(call)
        try:
            yield call
        finally:
            self._open.remove(call)

    @property
    def shared(self) -> bool:
        """Whether another process signs for the same account."""
        return self._shared

    def refresh(self) -> None:
        """Take up what the store says of the account."""
        self.account = self._store.account(self.account.node, self.account.period)
        found = (self.account.reserved, self.account.signed)
        self._shared = self._shared or found != self._latest
        self._latest = found

    def take_untrusted(self, state: AccountState) -> None:
        """Take up how the node says it stands; RemoteFault when it cannot be so."""
        self._change(lambda account, _: accounts.resume(self._payer, account, state))
        self.heard_due(state.due)
        self._credit = state.credit

    def heard_due(self, due: Units) -> None:
        """The node has stated what is due in all; statements only rise."""
        self._due = Units(max(self._due, due))

    # Reservations.

    @property
    def needed(self) -> Units:
        """What has to be committed for what is owed and the open calls at worst."""
        return Units(self._owed + sum(call.metered.worst for call in self._open))

    def found_committed(self, committed: Units) -> None:
        """The chain shows this commitment: a home that lost its state has signed it."""
        self._change(
            lambda account, _: msgspec.structs.replace(
                account, reserved=Units(max(account.reserved, committed))
            )
        )

    def reserve(self, needed: Units) -> SignedReservation:
        """Sign a reservation that covers `needed`; BudgetError beyond the rules."""

        def reserved(account: Account, all_of: tuple[Account, ...]) -> Account:
            left = accounts.purse(self.subscription, all_of)
            return accounts.with_reservation(account, needed, left)

        self._change(reserved)
        return accounts.reservation(self._payer, self.account)

    # Vouchers.

    def check_affordable(self, call: OpenCall) -> None:
        """BudgetError when the whole of a call could not be paid."""
        left = accounts.purse(self.subscription, self._store.accounts(self.account.period))
        whole = call.metered.likely(call.metered.max_tokens, self.account.surplus)
        others = sum(self._likely(one) for one in self._open if one.ahead and one is not call)
        value = Units(max(0, self._owed + others + whole - self._credit))
        accounts.check_payable(self.account, value, left)

    def sign_ahead(self) -> None:
        """Sign what the open calls should have; BudgetError beyond the rules."""
        self._sign(self._wanted)

    def meet_untrusted(self, demand: PaymentRequired) -> Units:
        """What to have committed for a call that is not admitted yet; RemoteFault."""
        self.refresh()
        needed = self.needed
        if self._shared:
            # What others reserved is for their open calls.
            worst = sum(call.metered.worst for call in self._open)
            needed = Units(max(needed, self.account.reserved + worst))
        if demand.commit > needed + FIRST_RESERVATION:
            raise RemoteFault(RemoteCode.REFUSED, "peer demands more than the call can cost")
        self._check_untrusted(demand.pay)
        return Units(max(demand.commit, self.needed))

    def pay_due_untrusted(self, due: Units) -> None:
        """Sign what the node wants before it goes on; RemoteFault when that was not delivered."""
        self._check_untrusted(due)
        self._sign(due)

    def acceptance(self, cost: Units, counted: Units) -> Change:
        """The change that accepts an answer of this cost and own count, and pays for it."""

        def accepted(account: Account, all_of: tuple[Account, ...]) -> Account:
            left = accounts.purse(self.subscription, all_of)
            return accounts.accept(self._payer, account, cost, self._due, counted, left)

        return self._noted(accepted)

    @property
    def _owed(self) -> Units:
        return rules.believed_due(self.account.state, self._due)

    @property
    def _wanted(self) -> Units:
        ahead = sum(self._likely(call) for call in self._open if call.ahead)
        return Units(max(0, self._owed + ahead - self._credit))

    def _likely(self, call: OpenCall) -> Units:
        return call.metered.likely(call.covered, self.account.surplus)

    def _check_untrusted(self, due: Units) -> None:
        self.refresh()
        owed = max(self._owed, self.account.signed) if self._shared else self._owed
        most = owed + sum(call.metered.most(call.received + STEP_TOKENS) for call in self._open)
        if due > most:
            raise RemoteFault(
                RemoteCode.REFUSED, f"peer wants {due} units where at most {most} are owed"
            )

    def _sign(self, cumulative: Units) -> None:
        if cumulative <= self.account.signed:
            return

        def signed(account: Account, all_of: tuple[Account, ...]) -> Account:
            left = accounts.purse(self.subscription, all_of)
            return accounts.with_voucher(self._payer, account, cumulative, left)

        self._change(signed)

    def _change(self, change: Change) -> None:
        period = self.account.period
        self.account = self._store.change_account(self.account.node, period, self._noted(change))

    def _noted(self, change: Change) -> Change:
        """The same change; what was signed by others before it, and by it, is told apart."""

        def noted(account: Account, all_of: tuple[Account, ...]) -> Account:
            self._shared = self._shared or (account.reserved, account.signed) != self._latest
            changed = change(account, all_of)
            self._latest = (changed.reserved, changed.signed)
            return changed

        return noted
