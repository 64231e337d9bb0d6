"""An in-memory twin of the contract: same rules, same skip reasons, a clock that tests turn.

It passes the conformance suite that the real contract passes on a real dev chain
(`tests/settlement/settlement_conformance.py`). Where the contract reverts, the twin raises
ChainError. Tokens are not modelled: subscribers can always pay.
"""

from collections import defaultdict
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from math import inf
from typing import Any

from ricochet_protocol.eip712 import (
    Domain,
    Reservation,
    SignedReservation,
    SignedVoucher,
    Voucher,
)
from ricochet_protocol.errors import ChainError, RemoteFault
from ricochet_protocol.ids import Address, PeerId, Period, peer_public_key
from ricochet_protocol.money import UNITS_PER_DOLLAR, Units, node_share
from ricochet_protocol.ports import Commitment, NodeRecord, Outcome, Subscription
from ricochet_settlement.skip import Skip

PERIOD = 30 * 24 * 3600
CLAIM_WINDOW = 7 * 24 * 3600
RENEWAL_LEAD = 3 * 24 * 3600
DELEGATE_GRACE = 24 * 3600
CLAIM_GAS = 40_000
VOUCHER_GAS = 35_000
DOMAIN = Domain(chain_id=31337, contract=Address("0x" + "c0" * 20))
TREASURY = Address("0x" + "7e" * 20)
ZERO_ADDRESS = Address("0x" + "00" * 20)
_CHAIN = ("head", "now", "received", "_subscribers", "_nodes", "_withdrawable")
"""What a reorganisation changes."""


@dataclass
class _Account:
    committed: int = 0
    claimed: int = 0
    history: list[tuple[int, int, int]] = field(default_factory=list)
    """Block, commitment and claims, after each change."""

    def changed(self, block: int) -> None:
        self.history.append((block, self.committed, self.claimed))

    def at(self, block: int) -> tuple[int, int]:
        """Commitment and claims after that block."""
        past = [(held, paid) for number, held, paid in self.history if number <= block]
        return past[-1] if past else (0, 0)


@dataclass
class _Delegation:
    """What a delegate's signatures can still do: without bounds while he serves."""

    last_period: float = inf
    raises_until: float = inf


@dataclass
class _Subscriber:
    """What outlives his periods; the last delegate is the one who serves."""

    periods: list["_PeriodState"] = field(default_factory=list)
    delegate: Address = ZERO_ADDRESS
    delegations: dict[Address, _Delegation] = field(default_factory=dict)

    def current(self, now: int) -> int:
        """Ordinal of the period that runs or ran last; 0 if there is none."""
        ahead = bool(self.periods) and now < self.periods[-1].start
        return len(self.periods) - ahead


@dataclass
class _PeriodState:
    fee: int
    budget: int
    start: int
    committed: int = 0
    paid: int = 0
    accounts: dict[Address, _Account] = field(default_factory=dict)

    @property
    def end(self) -> int:
        return self.start + PERIOD

    def account(self, node: Address) -> _Account:
        return self.accounts.setdefault(node, _Account())


class MemorySettlement:
    """Implements `ports.Settlement`; `reachable = False` makes every call of the port fail.

    Every write is a block; `save` and `restore` are its reorganisations.
    """

    def __init__(
        self,
        domain: Domain = DOMAIN,
        *,
        treasury: Address = TREASURY,
        confirmations: int = 0,
    ) -> None:
        self.domain = domain
        self.treasury = treasury
        self.confirmations = confirmations
        self.head = 0
        self.min_fee = 5 * UNITS_PER_DOLLAR
        self.max_fee = 10 * UNITS_PER_DOLLAR
        self.now = 1_800_000_000
        self.reachable = True
        self.gas_price = 10**9
        self.received: dict[Address, int] = {}
        """What withdrawals have sent to each payout address."""
        self.transactions = 0
        """Transactions sent through the port: none for a batch of reservations that all fail."""
        self._subscribers: defaultdict[Address, _Subscriber] = defaultdict(_Subscriber)
        self._nodes: dict[Address, NodeRecord] = {}
        self._withdrawable: dict[Address, int] = {}

    # What tests do to the chain.

    def subscribe(self, subscriber: Address, fee: int, delegate: Address) -> Period:
        """Open the subscriber's next period; its ordinal."""
        if not self.min_fee <= fee <= self.max_fee:
            raise _reverted("FeeOutOfRange")
        if delegate == ZERO_ADDRESS:
            raise _reverted("ZeroAddress")
        periods = self._subscribers[subscriber].periods
        if periods and self.now < periods[-1].end:
            raise _reverted("AlreadySubscribed")
        self.set_delegate(subscriber, delegate)
        periods.append(_PeriodState(fee=fee, budget=fee, start=self.now))
        return Period(len(periods))

    def mine(self, blocks: int) -> None:
        """Add empty blocks."""
        self.head += blocks

    def save(self) -> dict[str, Any]:
        """The whole chain as it is, for `restore`."""
        return deepcopy({name: getattr(self, name) for name in _CHAIN})

    def restore(self, saved: dict[str, Any]) -> None:
        """Drop every block since then."""
        for name, value in deepcopy(saved).items():
            setattr(self, name, value)

    def renew(self, subscriber: Address) -> None:
        """Open the period after the newest; every subscriber of the twin lets anyone do that."""
        periods = self._subscribers[subscriber].periods
        if not periods or not periods[-1].end - RENEWAL_LEAD <= self.now < periods[-1].end:
            raise _reverted("OutsideRenewal")
        last = periods[-1]
        periods.append(_PeriodState(fee=last.fee, budget=last.fee, start=last.end))
        self.head += 1

    def set_delegate(self, subscriber: Address, delegate: Address) -> None:
        """Let another sign; the one before keeps some power for a while."""
        if delegate == ZERO_ADDRESS:
            raise _reverted("ZeroAddress")
        who = self._subscribers[subscriber]
        who.delegations[who.delegate] = _Delegation(
            who.current(self.now), self.now + DELEGATE_GRACE
        )
        who.delegations[delegate] = _Delegation()
        who.delegate = delegate
        self.head += 1

    def top_up(self, subscriber: Address, amount: int) -> None:
        """Add to the budget of the running period."""
        if amount <= 0:
            raise _reverted("ZeroAmount")
        who = self._subscribers[subscriber]
        running = self._period(subscriber, who.current(self.now))
        if running is None or self.now >= running.end:
            raise _reverted("NotSubscribed")
        running.budget += amount
        self.head += 1

    def register_node(
        self, operator: Address, peer: PeerId, addresses: Sequence[str], payout: Address
    ) -> None:
        """Enter an operator, or change its peer and addresses."""
        if not 0 < len(peer.encode()) <= 64:
            raise _reverted("PeerIdLength")
        if len(addresses) > 8:
            raise _reverted("TooManyMultiaddrs")
        if payout == ZERO_ADDRESS:
            raise _reverted("ZeroAddress")
        known = self._nodes.get(operator)
        if known is not None and known.payout != payout:
            raise _reverted("AlreadyRegistered")
        if any(len(text.encode()) > 256 for text in addresses):
            raise _reverted("MultiaddrTooLong")
        self.head += 1
        self._nodes[operator] = NodeRecord(
            operator=operator, peer=peer, addresses=tuple(addresses), payout=payout
        )

    def warp(self, seconds: int) -> None:
        """Let chain time pass."""
        self.now += seconds
        self.head += 1

    # The port.

    async def subscription(self, subscriber: Address) -> Subscription | None:
        current = self._subscribers[subscriber].current(self.now)
        return await self.period(subscriber, Period(current))

    async def period(self, subscriber: Address, period: Period) -> Subscription | None:
        self._reach()
        state = self._period(subscriber, period)
        if state is None:
            return None
        return Subscription(
            subscriber=subscriber,
            delegate=self._subscribers[subscriber].delegate,
            period=period,
            budget=Units(state.budget),
            committed=Units(state.committed),
            paid=Units(state.paid),
            start=state.start,
            end=state.end,
        )

    async def chain_time(self) -> int:
        self._reach()
        return self.now

    async def commitment(self, subscriber: Address, period: Period, node: Address) -> Commitment:
        self._reach()
        state = self._period(subscriber, period)
        account = state.accounts.get(node, _Account()) if state else _Account()
        confirmed, _ = account.at(self.head - self.confirmations)
        return Commitment(
            committed=Units(account.committed),
            claimed=Units(account.claimed),
            confirmed=Units(confirmed),
        )

    async def earned(self, subscriber: Address, node: Address) -> Units:
        self._reach()
        depth = self.head - self.confirmations
        accounts = [
            state.accounts.get(node, _Account()) for state in self._subscribers[subscriber].periods
        ]
        return Units(sum(account.at(depth)[1] for account in accounts))

    async def node(self, operator: Address) -> NodeRecord | None:
        self._reach()
        record = self._nodes.get(operator)
        return record if record is not None and _names_a_peer(record) else None

    async def nodes(self) -> tuple[NodeRecord, ...]:
        self._reach()
        return tuple(record for record in self._nodes.values() if _names_a_peer(record))

    async def reserve(self, reservations: Sequence[SignedReservation]) -> tuple[Outcome, ...]:
        self._reach()
        self.head += 1
        outcomes = tuple(_outcome(self._reserve(entry)) for entry in reservations)
        sent = any(outcome.accepted for outcome in outcomes)
        self.transactions += sent
        self.head -= not sent
        return outcomes

    async def claim(self, vouchers: Sequence[SignedVoucher]) -> tuple[Outcome, ...]:
        self._reach()
        self.head += bool(vouchers)
        self.transactions += bool(vouchers)
        return tuple(_outcome(self._claim(entry)) for entry in vouchers)

    async def claim_cost(self, vouchers: Sequence[SignedVoucher]) -> int:
        self._reach()
        return self.gas_price * (CLAIM_GAS + VOUCHER_GAS * len(vouchers))

    async def withdrawable(self, account: Address) -> Units:
        self._reach()
        return Units(self._withdrawable.get(account, 0))

    async def withdraw(self, account: Address) -> Units:
        self._reach()
        amount = self._withdrawable.pop(account, 0)
        if amount:
            self.head += 1
            self.transactions += 1
            payout = self._nodes[account].payout if account in self._nodes else account
            self.received[payout] = self.received.get(payout, 0) + amount
        return Units(amount)

    # The rules, in the order in which the contract applies them.

    def _reserve(self, entry: SignedReservation) -> Skip | None:
        value = entry.reservation
        state = self._period(value.subscriber, value.period)
        if state is None or self.now < state.start:
            return Skip.NO_PERIOD
        if self.now >= state.end:
            return Skip.PERIOD_ENDED
        account = state.account(value.node)
        if value.total <= account.committed:
            return Skip.NOT_RAISED
        _, raises = self._authority(entry, value)
        if not raises:
            return Skip.BAD_SIGNATURE
        if value.total - account.committed > state.budget - state.committed:
            return Skip.BUDGET_EXCEEDED
        self._commit(state, account, value.total)
        return None

    def _claim(self, entry: SignedVoucher) -> Skip | None:
        value = entry.voucher
        state = self._period(value.subscriber, value.period)
        if state is None or self.now < state.start:
            return Skip.NO_PERIOD
        if self.now >= state.end + CLAIM_WINDOW:
            return Skip.WINDOW_ENDED
        if value.node not in self._nodes:
            return Skip.NODE_UNKNOWN
        account = state.account(value.node)
        if value.cumulative <= account.claimed:
            return Skip.NOT_RAISED
        pays, raises = self._authority(entry, value)
        if not pays:
            return Skip.BAD_SIGNATURE
        reachable = account.committed + raises * (state.budget - state.committed)
        cumulative = min(value.cumulative, reachable)
        if cumulative == account.claimed:
            return Skip.NOTHING_PAYABLE
        if cumulative > account.committed:
            self._commit(state, account, cumulative)
        self._pay(state, account, value.node, cumulative)
        return None

    def _commit(self, state: _PeriodState, account: _Account, total: int) -> None:
        state.committed += total - account.committed
        account.committed = total
        account.changed(self.head)

    def _pay(self, state: _PeriodState, account: _Account, node: Address, cumulative: int) -> None:
        paid = cumulative - account.claimed
        share = node_share(Units(cumulative), Units(account.claimed))
        account.claimed = cumulative
        account.changed(self.head)
        state.paid += paid
        self._withdrawable[node] = self._withdrawable.get(node, 0) + share
        commission = self._withdrawable.get(self.treasury, 0) + paid - share
        self._withdrawable[self.treasury] = commission

    def _authority(
        self, entry: SignedReservation | SignedVoucher, value: Reservation | Voucher
    ) -> tuple[bool, bool]:
        """Whether the signer's word pays within commitments, and whether it raises them."""
        try:
            signer = entry.signer(self.domain)
        except RemoteFault:
            return False, False
        if signer == value.subscriber:
            return True, True
        never = _Delegation(last_period=0, raises_until=0)
        known = self._subscribers[value.subscriber].delegations.get(signer, never)
        pays = value.period <= known.last_period
        return pays, pays and self.now < known.raises_until

    def _period(self, subscriber: Address, period: int) -> _PeriodState | None:
        periods = self._subscribers[subscriber].periods
        return periods[period - 1] if 0 < period <= len(periods) else None

    def _reach(self) -> None:
        if not self.reachable:
            raise ChainError(
                "chain_unreachable", "the twin's chain is switched off", "Set reachable = True."
            )


def _outcome(skip: Skip | None) -> Outcome:
    return Outcome(accepted=True) if skip is None else Outcome(accepted=False, reason=skip)


def _names_a_peer(record: NodeRecord) -> bool:
    """The registry takes any text as a peer id; readers see only entries that name a peer."""
    try:
        peer_public_key(record.peer)
    except ValueError:
        return False
    return True


def _reverted(error: str) -> ChainError:
    return ChainError("chain_refused", f"the contract refused: {error}")
