"""The facts that the model of the contract keeps: periods, delegates, registry entries, a token."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

ZERO = "0x" + "00" * 20
HOUR = 3_600
DAY = 24 * HOUR
PERIOD = 30 * DAY
WINDOW = 7 * DAY
RENEWAL_LEAD = 3 * DAY
DELEGATE_GRACE = 24 * HOUR
PAYOUT_DELAY = 48 * HOUR
UINT32 = 2**32 - 1
UINT64 = 2**64 - 1
UINT96 = 2**96 - 1
UINT128 = 2**128 - 1
UINT256 = 2**256 - 1


class Skip(IntEnum):
    """The enum of the interface."""

    NO_PERIOD = 0
    PERIOD_ENDED = 1
    WINDOW_ENDED = 2
    BAD_SIGNATURE = 3
    NOT_RAISED = 4
    BUDGET_EXCEEDED = 5
    NODE_UNKNOWN = 6
    NOTHING_PAYABLE = 7


class Refused(Exception):
    """The call must revert with one of `errors`, each a name and its values."""

    def __init__(self, *errors: tuple[Any, ...]) -> None:
        super().__init__(errors)
        self.errors = frozenset(errors)


@dataclass(frozen=True)
class Entry:
    """A reservation (`amount` is the total) or voucher (cumulative), and who really signed it."""

    subscriber: str
    node: str
    period: int
    amount: int
    signer: str | None
    """None when the signature is malformed or recovers nobody of interest."""


@dataclass
class Span:
    """One period: the deposits into it, and what was set aside and paid for each node."""

    start: int
    deposits: list[int]
    committed: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    claimed: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    closed: bool = False

    @property
    def end(self) -> int:
        return self.start + PERIOD

    @property
    def fee(self) -> int:
        return self.deposits[0]

    @property
    def budget(self) -> int:
        return sum(self.deposits)

    @property
    def free(self) -> int:
        return self.budget - sum(self.committed.values())

    @property
    def unspent(self) -> int:
        return self.budget - sum(self.claimed.values())


@dataclass(frozen=True)
class Replaced:
    """When a delegate was replaced, and which period ran then."""

    period: int
    moment: int


@dataclass
class Delegates:
    """Who serves a subscriber, and who did."""

    serving: str = ZERO
    former: dict[str, Replaced] = field(default_factory=dict)

    def replace(self, delegate: str, period: int, moment: int) -> None:
        if self.serving != ZERO:
            self.former[self.serving] = Replaced(period, moment)
        self.former.pop(delegate, None)
        self.serving = delegate

    def pays(self, signer: str, period: int) -> bool:
        """Whether his vouchers count in the period, within commitments."""
        if signer == self.serving:
            return True
        return signer in self.former and period <= self.former[signer].period

    def raises(self, signer: str, period: int, now: int) -> bool:
        """Whether he can raise a commitment in the period."""
        if signer == self.serving or not self.pays(signer, period):
            return signer == self.serving
        return now < self.former[signer].moment + DELEGATE_GRACE

    def power(self, account: str) -> tuple[int, int]:
        """`delegationOf`: the last period he can sign for, and the end of his power to raise."""
        if account == self.serving and account != ZERO:
            return UINT32, UINT64
        replaced = self.former.get(account)
        return (replaced.period, replaced.moment + DELEGATE_GRACE) if replaced else (0, 0)


@dataclass
class Registration:
    """An operator's entry in the registry."""

    peer: str
    addresses: tuple[str, ...]
    payout: str
    queued: str = ZERO
    due: int = 0

    def faults(self) -> list[tuple[Any, ...]]:
        """What is beyond the registry's bounds."""
        peer = len(self.peer.encode())
        lengths = [len(address.encode()) for address in self.addresses]
        wrong: list[tuple[Any, ...]] = []
        if not 1 <= peer <= 64:
            wrong.append(("PeerIdLength", peer, 64))
        if len(lengths) > 8:
            wrong.append(("TooManyMultiaddrs", len(lengths), 8))
        long = [(n, length) for n, length in enumerate(lengths) if length > 256]
        return [*wrong, *(("MultiaddrTooLong", n, length, 256) for n, length in long)]


@dataclass
class Token:
    """A plain ERC-20 that anyone can mint, with permits."""

    balances: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    allowances: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """What each account lets the contract take."""
    nonces: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def move(self, source: str, target: str, amount: int) -> None:
        self.balances[source] -= amount
        self.balances[target] += amount


def seven_tenths(amount: int) -> int:
    """A node's part of all that was paid for it in one period, rounded down."""
    return amount * 7 // 10


def total(amounts: Mapping[str, int]) -> int:
    return sum(amounts.values())
