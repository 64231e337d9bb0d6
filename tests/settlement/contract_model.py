"""What IRicochet.sol and DESIGN §4 promise, in Python, for comparison with the contract on the EVM.

Written from those texts, and shaped unlike the contract on purpose: it keeps the history (what was
deposited, paid for, closed, sent out) and derives every balance from it, where the contract keeps
running balances.

A call returns the events it must log, or raises Refused with every error that the texts allow: they
do not say which of two broken rules is named first, so neither does the model. The same goes for
the reasons to skip an entry of a batch.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from contract_facts import (
    PAYOUT_DELAY,
    PERIOD,
    RENEWAL_LEAD,
    UINT96,
    UINT256,
    WINDOW,
    ZERO,
    Delegates,
    Entry,
    Refused,
    Registration,
    Skip,
    Span,
    Token,
    seven_tenths,
    total,
)

Logged = tuple[str, tuple[Any, ...]]
"""An event's name and values; a set among the values stands for any of its members."""
Wrong = list[tuple[Any, ...]]


@dataclass(frozen=True)
class Permit:
    """What subscribeWithPermit carries besides the subscription: would the token take it?"""

    valid: bool


class Model:
    """The contract at `address`. Every call names its sender first, and happens at `now`."""

    def __init__(
        self, address: str, owner: str, fees: tuple[int, int], accounts: Sequence[str], now: int
    ) -> None:
        self.address = address
        self.owner, self.pending_owner, self.paused = owner, ZERO, False
        self.fees = fees
        self.accounts = accounts
        self.now = now
        self.token = Token()
        self.spans: dict[str, list[Span]] = defaultdict(list)
        self.delegates: dict[str, Delegates] = defaultdict(Delegates)
        self.renewing: set[str] = set()
        self.nodes: dict[str, Registration] = {}
        self.commission: dict[str, int] = defaultdict(int)
        """All that the owners of their time ever earned."""
        self.sent: dict[str, int] = defaultdict(int)
        """Income withdrawn, by the account that earned it."""
        self.used: dict[str, int] = defaultdict(int)
        """Refundable balance used up, by refunds and by payments it made."""
        self.donated = 0

    # ------------------------------------------------------------ token

    def mint(self, to: str, amount: int) -> None:
        self.token.balances[to] += amount
        if to == self.address:
            self.donated += amount

    def approve(self, owner: str, amount: int) -> None:
        self.token.allowances[owner] = amount

    def permit(self, owner: str, amount: int) -> None:
        """A valid permit reached the token."""
        self.token.allowances[owner] = amount
        self.token.nonces[owner] += 1

    # ------------------------------------------------------------ subscriber

    def subscribe(self, sender: str, fee: int, delegate: str, auto_renew: bool) -> list[Logged]:
        wrong = self._paused()
        if not self.fees[0] <= fee <= self.fees[1]:
            wrong.append(("FeeOutOfRange", fee, *self.fees))
        if delegate == ZERO:
            wrong.append(("ZeroAddress",))
        spans = self.spans[sender]
        if spans and self.now < spans[-1].end:
            wrong.append(("AlreadySubscribed", len(spans), spans[-1].end, self.now))
        self._pull(sender, fee, wrong)
        named = self.set_delegate(sender, delegate) + self.set_auto_renew(sender, auto_renew)
        return named + self._open(sender, fee, self.now)

    def subscribe_with_permit(
        self, sender: str, fee: int, delegate: str, auto_renew: bool, permit: Permit
    ) -> list[Logged]:
        allowance, nonce = self.token.allowances[sender], self.token.nonces[sender]
        if permit.valid:
            self.permit(sender, fee)
        try:
            return self.subscribe(sender, fee, delegate, auto_renew)
        except Refused:
            self.token.allowances[sender], self.token.nonces[sender] = allowance, nonce
            raise

    def renew(self, sender: str, subscriber: str) -> list[Logged]:
        wrong = self._paused()
        spans = self.spans[subscriber]
        end, fee = (spans[-1].end, spans[-1].fee) if spans else (0, 0)
        if subscriber not in self.renewing:
            wrong.append(("AutoRenewOff", subscriber))
        if not end - RENEWAL_LEAD <= self.now < end:
            wrong.append(("OutsideRenewal", end, self.now))
        self._pull(subscriber, fee, wrong)
        return self._open(subscriber, fee, end)

    def set_auto_renew(self, sender: str, auto_renew: bool) -> list[Logged]:
        if auto_renew == (sender in self.renewing):
            return []
        self.renewing ^= {sender}
        return [("AutoRenewChanged", (sender, auto_renew))]

    def set_delegate(self, sender: str, delegate: str) -> list[Logged]:
        if delegate == ZERO:
            raise Refused(("ZeroAddress",))
        delegates = self.delegates[sender]
        replaced = delegates.serving
        if delegate == replaced:
            return []
        delegates.replace(delegate, self.current_period(sender), self.now)
        return [("DelegateChanged", (sender, replaced, delegate))]

    def top_up(self, sender: str, amount: int) -> list[Logged]:
        wrong = self._paused()
        period = self.current_period(sender)
        span = self.span(sender, period)
        end = span.end if span else 0
        if amount == 0:
            wrong.append(("ZeroAmount",))
        if self.now >= end:
            wrong.append(("NotSubscribed", period, end, self.now))
        if span and span.budget + amount > UINT96:
            wrong.append(("SafeCastOverflowedUintDowncast", 96, span.budget + amount))
        self._pull(sender, amount, wrong)
        self.spans[sender][period - 1].deposits.append(amount)
        return [("ToppedUp", (sender, period, amount))]

    def refund(self, sender: str) -> list[Logged]:
        amount = self.refundable(sender)
        if amount == 0:
            raise Refused(("NothingToRefund", sender))
        self.used[sender] += amount
        self.token.move(self.address, sender, amount)
        return [("Refunded", (sender, amount))]

    # ------------------------------------------------------------ anyone relays

    def reserve(self, sender: str, entries: Sequence[Entry], signatures: int) -> list[Logged]:
        self._same_length(entries, signatures)
        return [event for entry in entries for event in self._reserve(entry)]

    def claim(self, sender: str, entries: Sequence[Entry], signatures: int) -> list[Logged]:
        self._same_length(entries, signatures)
        return [event for entry in entries for event in self._claim(entry)]

    def close(self, sender: str, subscriber: str, period: int) -> list[Logged]:
        span = self.span(subscriber, period)
        if span is None:
            raise Refused(("PeriodUnknown", period, len(self.spans[subscriber])))
        if span.closed:
            raise Refused(("AlreadyClosed", subscriber, period))
        if self.now < span.end + WINDOW:
            raise Refused(("WindowOpen", span.end + WINDOW, self.now))
        span.closed = True
        return [("Closed", (subscriber, period, span.unspent))]

    # ------------------------------------------------------------ node

    def register_node(
        self, sender: str, peer: str, addresses: tuple[str, ...], payout: str
    ) -> list[Logged]:
        entry = Registration(peer, addresses, payout)
        wrong = entry.faults()
        if payout == ZERO:
            wrong.append(("ZeroAddress",))
        if sender in self.nodes:
            wrong.append(("AlreadyRegistered", sender, self.nodes[sender].payout))
        if wrong:
            raise Refused(*wrong)
        self.nodes[sender] = entry
        return self._registered(sender)

    def update_node(self, sender: str, peer: str, addresses: tuple[str, ...]) -> list[Logged]:
        wrong = Registration(peer, addresses, ZERO).faults()
        if sender not in self.nodes:
            wrong.append(("NotRegistered", sender))
        if wrong:
            raise Refused(*wrong)
        self.nodes[sender].peer, self.nodes[sender].addresses = peer, addresses
        return self._registered(sender)

    def queue_payout(self, sender: str, payout: str) -> list[Logged]:
        wrong: Wrong = [("ZeroAddress",)] if payout == ZERO else []
        if sender not in self.nodes:
            wrong.append(("NotRegistered", sender))
        if wrong:
            raise Refused(*wrong)
        node = self.nodes[sender]
        node.queued, node.due = payout, self.now + PAYOUT_DELAY
        return [("PayoutQueued", (sender, payout, node.due))]

    def cancel_payout(self, sender: str, operator: str) -> list[Logged]:
        node = self.nodes.get(operator, Registration("", (), ZERO))
        wrong: Wrong = []
        if sender not in (operator, node.payout):
            wrong.append(("NoVeto", sender, operator))
        if node.queued == ZERO:
            wrong.append(("NoPayoutQueued", operator))
        if wrong:
            raise Refused(*wrong)
        cancelled, node.queued, node.due = node.queued, ZERO, 0
        return [("PayoutCancelled", (operator, cancelled))]

    def apply_payout(self, sender: str, operator: str) -> list[Logged]:
        node = self.nodes.get(operator, Registration("", (), ZERO))
        if node.queued == ZERO:
            raise Refused(("NoPayoutQueued", operator))
        if self.now < node.due:
            raise Refused(("PayoutNotDue", node.due, self.now))
        node.payout, node.queued, node.due = node.queued, ZERO, 0
        return self._registered(operator)

    def withdraw(self, sender: str, account: str) -> list[Logged]:
        amount = self.withdrawable(account)
        if amount == 0:
            raise Refused(("NothingToWithdraw", account))
        to = self.nodes[account].payout if account in self.nodes else account
        self.sent[account] += amount
        self.token.move(self.address, to, amount)
        return [("Withdrawn", (account, to, amount))]

    # ------------------------------------------------------------ owner

    def pause(self, sender: str) -> list[Logged]:
        self._only_owner(sender, self._paused())
        self.paused = True
        return [("Paused", (sender,))]

    def unpause(self, sender: str) -> list[Logged]:
        self._only_owner(sender, [] if self.paused else [("ExpectedPause",)])
        self.paused = False
        return [("Unpaused", (sender,))]

    def transfer_ownership(self, sender: str, to: str) -> list[Logged]:
        self._only_owner(sender, [])
        self.pending_owner = to
        return [("OwnershipTransferStarted", (sender, to))]

    def accept_ownership(self, sender: str) -> list[Logged]:
        if sender != self.pending_owner:
            raise Refused(("OwnableUnauthorizedAccount", sender))
        before, self.owner, self.pending_owner = self.owner, sender, ZERO
        return [("OwnershipTransferred", (before, sender))]

    def renounce_ownership(self, sender: str) -> list[Logged]:
        self._only_owner(sender, [("TreasuryNeeded",)])
        raise AssertionError("nobody can renounce")

    # ------------------------------------------------------------ what is owed

    def span(self, subscriber: str, period: int) -> Span | None:
        spans = self.spans[subscriber]
        return spans[period - 1] if 1 <= period <= len(spans) else None

    def current_period(self, subscriber: str) -> int:
        return sum(span.start <= self.now for span in self.spans[subscriber])

    def withdrawable(self, account: str) -> int:
        earned = sum(seven_tenths(span.claimed[account]) for span in self._spans())
        return earned + self.commission[account] - self.sent[account]

    def refundable(self, subscriber: str) -> int:
        back = sum(span.unspent for span in self.spans[subscriber] if span.closed)
        return back - self.used[subscriber]

    def liabilities(self) -> int:
        open_budgets = sum(span.unspent for span in self._spans() if not span.closed)
        owed = sum(self.withdrawable(a) + self.refundable(a) for a in self.accounts)
        return open_budgets + owed

    def views(self) -> Iterator[tuple[str, tuple[Any, ...], Any]]:
        """Every view of the contract over all known accounts: name, arguments, value."""
        yield "liabilities", (), self.liabilities()
        for name in ("treasury", "owner"):
            yield name, (), self.owner
        yield "pendingOwner", (), self.pending_owner
        yield "paused", (), self.paused
        for account in self.accounts:
            node = self.nodes.get(account, Registration("", (), ZERO))
            entry = (node.peer, node.addresses, node.payout, node.queued, node.due)
            yield "nodeOf", (account,), entry
            yield "withdrawable", (account,), self.withdrawable(account)
            yield "refundable", (account,), self.refundable(account)
            yield "currentPeriod", (account,), self.current_period(account)
            yield "delegateOf", (account,), self.delegates[account].serving
            yield "autoRenewOf", (account,), account in self.renewing
            for other in self.accounts:
                power = self.delegates[account].power(other)
                yield "delegationOf", (account, other), power
            for period in range(len(self.spans[account]) + 2):
                yield from self._period_views(account, period)

    # ------------------------------------------------------------ internal

    def _period_views(
        self, subscriber: str, period: int
    ) -> Iterator[tuple[str, tuple[Any, ...], Any]]:
        span = self.span(subscriber, period)
        if span is None:
            yield "periodOf", (subscriber, period), (0, 0, 0, 0, 0, 0, False)
            return
        amounts = (span.budget, total(span.committed), total(span.claimed), span.fee)
        yield "periodOf", (subscriber, period), (*amounts, span.start, span.end, span.closed)
        for node in self.accounts:
            value = (span.committed[node], span.claimed[node])
            yield "accountOf", (subscriber, period, node), value

    def _spans(self) -> Iterator[Span]:
        for spans in self.spans.values():
            yield from spans

    def _paused(self) -> Wrong:
        return [("EnforcedPause",)] if self.paused else []

    def _only_owner(self, sender: str, wrong: Wrong) -> None:
        if sender != self.owner:
            wrong.append(("OwnableUnauthorizedAccount", sender))
        if wrong:
            raise Refused(*wrong)

    def _open(self, subscriber: str, fee: int, start: int) -> list[Logged]:
        self.spans[subscriber].append(Span(start, [fee]))
        delegate = self.delegates[subscriber].serving
        values = (subscriber, len(self.spans[subscriber]), fee, delegate, start, start + PERIOD)
        return [("Subscribed", values)]

    def _registered(self, operator: str) -> list[Logged]:
        node = self.nodes[operator]
        return [("NodeRegistered", (operator, node.peer, node.addresses, node.payout))]

    def _pull(self, payer: str, amount: int, wrong: Wrong) -> None:
        """Take `amount`, refundable balance first; Refused when anything at all is wrong."""
        used = min(amount, self.refundable(payer))
        due = amount - used
        allowance, balance = self.token.allowances[payer], self.token.balances[payer]
        if due > allowance:
            wrong.append(("ERC20InsufficientAllowance", self.address, allowance, due))
        if due > balance:
            wrong.append(("ERC20InsufficientBalance", payer, balance, due))
        if wrong:
            raise Refused(*wrong)
        self.used[payer] += used
        if allowance != UINT256:
            self.token.allowances[payer] -= due
        self.token.move(payer, self.address, due)

    def _same_length(self, entries: Sequence[Entry], signatures: int) -> None:
        if len(entries) != signatures:
            raise Refused(("LengthMismatch", len(entries), signatures))

    def _reserve(self, entry: Entry) -> list[Logged]:
        span, key = self.span(entry.subscriber, entry.period), _key(entry)
        if span is None:
            return [("ReservationSkipped", (*key, self._without_period(entry)))]
        raised = entry.amount - span.committed[entry.node]
        why = {
            Skip.NO_PERIOD: self.now < span.start,
            Skip.PERIOD_ENDED: self.now >= span.end,
            Skip.BAD_SIGNATURE: not self._raises(entry),
            Skip.NOT_RAISED: raised <= 0,
            Skip.BUDGET_EXCEEDED: raised > span.free,
        }
        if any(why.values()):
            return [("ReservationSkipped", (*key, _true(why)))]
        span.committed[entry.node] = entry.amount
        return [("Reserved", (*key, entry.amount))]

    def _claim(self, entry: Entry) -> list[Logged]:
        span, key = self.span(entry.subscriber, entry.period), _key(entry)
        if span is None:
            return [("VoucherSkipped", (*key, self._without_period(entry)))]
        before, committed = span.claimed[entry.node], span.committed[entry.node]
        reachable = committed + (span.free if self._raises(entry) else 0)
        why = {
            Skip.NO_PERIOD: self.now < span.start,
            Skip.WINDOW_ENDED: self.now >= span.end + WINDOW,
            Skip.BAD_SIGNATURE: not self._pays(entry),
            Skip.NODE_UNKNOWN: entry.node not in self.nodes,
            Skip.NOT_RAISED: entry.amount <= before,
            Skip.NOTHING_PAYABLE: before == reachable,
        }
        if any(why.values()):
            return [("VoucherSkipped", (*key, _true(why)))]
        paid_to = min(entry.amount, reachable)
        span.claimed[entry.node] = paid_to
        span.committed[entry.node] = max(committed, paid_to)
        share = seven_tenths(paid_to) - seven_tenths(before)
        commission = paid_to - before - share
        self.commission[self.owner] += commission
        paid = ("Claimed", (*key, paid_to, share, commission))
        return [("Reserved", (*key, paid_to)), paid] if paid_to > committed else [paid]

    def _pays(self, entry: Entry) -> bool:
        if entry.signer is None:
            return False
        delegates = self.delegates[entry.subscriber]
        return entry.signer == entry.subscriber or delegates.pays(entry.signer, entry.period)

    def _raises(self, entry: Entry) -> bool:
        if entry.signer is None:
            return False
        delegates = self.delegates[entry.subscriber]
        raises = delegates.raises(entry.signer, entry.period, self.now)
        return entry.signer == entry.subscriber or raises

    def _without_period(self, entry: Entry) -> frozenset[Skip]:
        """What is wrong with an entry for a period that does not exist."""
        return frozenset({Skip.NO_PERIOD} | (set() if self._pays(entry) else {Skip.BAD_SIGNATURE}))


def _key(entry: Entry) -> tuple[str, str, int]:
    return entry.subscriber, entry.node, entry.period


def _true(reasons: dict[Skip, bool]) -> frozenset[Skip]:
    return frozenset(reason for reason, holds in reasons.items() if holds)
