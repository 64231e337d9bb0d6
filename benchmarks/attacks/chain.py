"""The contract, on the EVM or as its Python model, with an account of who paid how much gas.

`OnEvm` runs the compiled bytecode. `OnModel` runs `tests/settlement/contract_model.py`, which the
differential test holds equal to it call by call; it is fast enough for a thousand nodes. An attack
sees no difference, and its small configuration has to come to the same end on both.

Gas is what `docs/gas.md` says, which tests hold to the unit. Whoever sends several entries in one
transaction pays the batch price for each, which favours attackers.
"""

import re
import sys
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ricochet_protocol.eip712 import (
    Domain,
    Reservation,
    Voucher,
    sign_reservation,
    sign_voucher,
)
from ricochet_protocol.ids import Address, Period
from ricochet_protocol.money import Units
from ricochet_protocol.signing import account_address, keccak256

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tests" / "settlement"))

from contract_evm import CHAIN_ID, Contract, Evm  # noqa: E402 (found by the line above)
from contract_facts import PERIOD, UINT256, WINDOW, Entry  # noqa: E402
from contract_model import Model  # noqa: E402

__all__ = [
    "PERIOD",
    "WINDOW",
    "Account",
    "Chain",
    "OnEvm",
    "OnModel",
    "Promise",
    "account",
    "price_of",
]
GENESIS = 1_800_000_000
FEES = (5_000_000, 10_000_000)
USD, POOL = "0x" + "d0" * 20, "0x" + "c0" * 20
MILLIGWEI, COIN_DOLLARS = 10, 4_000
"""0.01 gwei for a unit of gas, at the claimer's default price of the chain's coin."""
Log = tuple[str, tuple[Any, ...]]


@dataclass(frozen=True)
class Account:
    """Somebody with a key."""

    key: bytes
    address: Address


@cache
def account(label: str) -> Account:
    """The account of that name, the same in every run."""
    key = keccak256(label.encode())
    return Account(key, account_address(key))


OWNER = account("the platform").address
DOMAIN = Domain(chain_id=CHAIN_ID, contract=Address(POOL))


@dataclass(frozen=True)
class Promise:
    """A reservation or a voucher, signed by the subscriber."""

    payer: Account
    node: Address
    period: int
    amount: Units

    def signature(self, kind: str) -> bytes:
        words = (self.payer.address, self.node, Period(self.period), self.amount)
        if kind == "reserve":
            return sign_reservation(self.payer.key, DOMAIN, Reservation(*words)).signature
        return sign_voucher(self.payer.key, DOMAIN, Voucher(*words)).signature


def price_of(gas: int) -> Units:
    """Gas in micro-dollars, rounded up."""
    return Units(-(-gas * MILLIGWEI * COIN_DOLLARS // 10**6))


class Chain(ABC):
    """What subscribers and nodes do on the chain, whoever they are."""

    def __init__(self) -> None:
        self.gas: Counter[str] = Counter()

    # ------------------------------------------------------------ calls

    def subscribe(self, who: Account, fee: Units) -> None:
        """Pay for the next period with new money; the session key is the account itself."""
        self._fund(who.address, fee)
        self._paid(who.address, "`subscribe`, first", 1)
        self._call(who.address, "subscribe", fee, who.address, False)

    def register(self, node: Address) -> None:
        self._paid(node, "`registerNode`, first", 1)
        self._call(node, "registerNode", "peer", (), node)

    def reserve(self, relayer: Address, promises: Sequence[Promise]) -> list[bool]:
        """Which of them landed; one that did not costs no more than one that raises."""
        first, raised = "`reserve`, first of a node", "`reserve`, raised"
        if len(promises) > 1:
            first = raised = "`reserve`, first of a node, of 50 subscribers"
        before = [self.commitment(p.payer, p.period, p.node)[0] for p in promises]
        landed = [name == "Reserved" for name, _ in self._batch(relayer, "reserve", promises)]
        for done, committed in zip(landed, before, strict=True):
            self._paid(relayer, first if done and not committed else raised, 1)
        return landed

    def claim(self, relayer: Address, promises: Sequence[Promise]) -> None:
        """Have vouchers paid as far as the contract will."""
        row = "`claim`, within commitments, of 50 subscribers"
        if len(promises) == 1:
            row = "`claim`, first of a node, within its commitment"
        self._paid(relayer, row, len(promises))
        self._batch(relayer, "claim", promises)

    def withdraw(self, node: Address) -> Units:
        """What came of it; 0, and no transaction, when there is nothing."""
        amount = Units(self._view("withdrawable", node))
        if amount:
            self._paid(node, "`withdraw`", 1)
            self._call(node, "withdraw", node)
        return amount

    def close_and_refund(self, who: Account, period: int) -> Units:
        """Once the window is over; what came back."""
        self._paid(who.address, "`close`", 1)
        self._call(who.address, "close", who.address, period)
        amount = Units(self._view("refundable", who.address))
        if amount:
            self._paid(who.address, "`refund`", 1)
            self._call(who.address, "refund")
        return amount

    # ------------------------------------------------------------ views

    def commitment(self, payer: Account, period: int, node: Address) -> tuple[Units, Units]:
        """Committed to the node and claimed by it."""
        committed, claimed = self._view("accountOf", payer.address, period, node)
        return Units(committed), Units(claimed)

    def free(self, payer: Account, period: int) -> Units:
        """What of the period's budget is not committed."""
        budget, committed, *_ = self._view("periodOf", payer.address, period)
        return Units(budget - committed)

    def gas_cost(self, *who: str) -> Units:
        """What those paid for gas."""
        return price_of(sum(self.gas[one] for one in who))

    @property
    @abstractmethod
    def name(self) -> str: ...

    @abstractmethod
    def warp(self, moment: int) -> None:
        """Let time pass until `moment`, in seconds after the beginning."""

    @abstractmethod
    def _fund(self, who: str, amount: int) -> None: ...

    @abstractmethod
    def _call(self, sender: str, name: str, *arguments: Any) -> None: ...

    @abstractmethod
    def _batch(self, sender: str, name: str, promises: Sequence[Promise]) -> list[Log]: ...

    @abstractmethod
    def _view(self, name: str, *arguments: Any) -> Any: ...

    def _paid(self, who: str, row: str, times: int) -> None:
        self.gas[who] += _gas()[row] * times


class OnEvm(Chain):
    """The compiled bytecode on py-evm. There is one chain, which each new OnEvm begins anew."""

    name = "evm"

    def __init__(self) -> None:
        super().__init__()
        self._evm = _deployed()
        _marks.append(self._evm.snapshot())

    def warp(self, moment: int) -> None:
        self._evm.now = GENESIS + moment

    def _fund(self, who: str, amount: int) -> None:
        self._evm.write(who, USD, "mint", who, amount)
        self._evm.write(who, USD, "approve", POOL, UINT256)

    def _call(self, sender: str, name: str, *arguments: Any) -> None:
        self._evm.write(sender, POOL, name, *arguments)

    def _batch(self, sender: str, name: str, promises: Sequence[Promise]) -> list[Log]:
        rows = [(p.payer.address, p.node, p.period, p.amount) for p in promises]
        signatures = [promise.signature(name) for promise in promises]
        events = self._evm.write(sender, POOL, name, rows, signatures)
        return [(event.name, event.values) for event in events]

    def _view(self, name: str, *arguments: Any) -> Any:
        return self._evm.view(POOL, name, *arguments)


class OnModel(Chain):
    """The independent model, in which a signature is the name of its signer."""

    name = "model"

    def __init__(self) -> None:
        super().__init__()
        self._model = Model(POOL, OWNER, FEES, (), GENESIS)

    def warp(self, moment: int) -> None:
        self._model.now = GENESIS + moment

    def _fund(self, who: str, amount: int) -> None:
        self._model.mint(who, amount)
        self._model.approve(who, UINT256)

    def _call(self, sender: str, name: str, *arguments: Any) -> None:
        snake = re.sub(r"(?=[A-Z])", "_", name).lower()
        getattr(self._model, snake)(sender, *arguments)

    def _batch(self, sender: str, name: str, promises: Sequence[Promise]) -> list[Log]:
        entries = [
            Entry(p.payer.address, p.node, p.period, p.amount, p.payer.address) for p in promises
        ]
        logs: list[Log] = getattr(self._model, name)(sender, entries, len(entries))
        return logs

    def _view(self, name: str, *arguments: Any) -> Any:
        if name in ("withdrawable", "refundable"):
            return getattr(self._model, name)(*arguments)
        span = self._model.span(*arguments[:2])
        if name == "accountOf":
            node = arguments[2]
            return (span.committed[node], span.claimed[node]) if span else (0, 0)
        return (span.budget, span.budget - span.free) if span else (0, 0)


_marks: list[Any] = []


def _deployed() -> Evm:
    """The chain as it was after both contracts were deployed."""
    evm = _new_evm()
    if _marks:
        evm.revert(_marks.pop())
    return evm


@cache
def _new_evm() -> Evm:
    evm = Evm(GENESIS)
    evm.create(Contract("TestUSD"), USD)
    evm.create(Contract("Ricochet"), POOL, USD, OWNER, *FEES)
    return evm


@cache
def _gas() -> dict[str, int]:
    """The first figure of every row of docs/gas.md."""
    text = (ROOT / "docs" / "gas.md").read_text("utf-8")
    rows = re.findall(r"^\| (`.*?) \| ([\d,]+) \|", text, re.MULTILINE)
    return {name: int(figure.replace(",", "")) for name, figure in rows}
