"""An in-memory twin of the chain that the transaction queue sends to, which tests can bend.

It passes the conformance suite that the JSON-RPC client passes on a real dev chain
(`tests/settlement/chain_conformance.py`). Like geth it keeps transactions until they can be mined,
and takes a replacement only for a tenth more of both fees. Transfers move wei; nothing else runs.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from eth_account import Account
from eth_account.typed_transactions import TypedTransaction
from hexbytes import HexBytes

from ricochet_protocol.errors import ChainError
from ricochet_protocol.ids import Address, address
from ricochet_protocol.signing import keccak256
from ricochet_settlement.fees import Market
from ricochet_settlement.transaction import Intent
from ricochet_settlement.transaction_chain import Mined, Reception, Verdict

CHAIN_ID = 31337
REVERTING = bytes.fromhex("60006000fd")
"""Creation code that reverts on every chain."""
GWEI = 10**9


@dataclass(frozen=True)
class Signed:
    """A transaction that was given to the twin."""

    hash: bytes
    sender: Address
    nonce: int
    to: Address | None
    value: int
    data: bytes
    gas: int
    fee: int
    tip: int


@dataclass
class MemoryChain:
    """Implements `TransactionChain`; its fields are what tests turn."""

    name: str = "twin"
    base: int = GWEI
    tip: int = GWEI
    reachable: bool = True
    mining: bool = True
    """Whether a transaction is mined as soon as it can be."""
    gas: int = 21_000
    lose_answers: int = 0
    """So many broadcasts reach the chain, and their answers get lost."""
    swallow: int = 0
    """So many broadcasts are answered as taken, and thrown away."""
    hide_receipts: int = 0
    """So many times a receipt that is there is not shown."""
    stale_count: int | None = None
    """What is said of every account's mined transactions instead of the truth."""
    forgetful: bool = False
    """Old blocks cannot be asked about."""
    refusal: Reception | None = None
    """What every broadcast is answered with instead of being looked at."""
    failing: set[Address] = field(default_factory=set)
    """Accounts that refuse what is mined for them, though not in the estimate."""
    balances: dict[Address, int] = field(default_factory=dict)
    pool: dict[tuple[Address, int], Signed] = field(default_factory=dict)
    blocks: list[list[Signed]] = field(default_factory=lambda: [[]])
    given: list[bytes] = field(default_factory=list)
    """Every transaction that was broadcast, with repetitions."""

    async def identity(self) -> tuple[int, str]:
        self._reach()
        return CHAIN_ID, f"{CHAIN_ID}:{self.name}"

    async def balance(self, account: Address) -> int:
        self._reach()
        return self.balances.get(account, 0)

    async def mined_count(self, account: Address) -> int:
        self._reach()
        if self.stale_count is not None:
            return self.stale_count
        return self._count(account)

    async def estimate(self, account: Address, intent: Intent) -> int:
        self._reach()
        if intent.to is None and intent.data == REVERTING:
            raise ChainError("reverted", "the contract refused: no reason", "Nothing was changed.")
        return self.gas

    async def market(self) -> Market:
        self._reach()
        return Market(head=len(self.blocks) - 1, base=self.base, tip=self.tip)

    async def broadcast(self, raw: bytes) -> Reception:
        self._reach()
        self.given.append(keccak256(raw))
        if self.refusal is not None:
            return self.refusal
        if self.swallow:
            self.swallow -= 1
            return Reception(Verdict.TAKEN)
        reception = self._take(raw)
        if self.mining:
            self.mine()
        if self.lose_answers:
            self.lose_answers -= 1
            raise _unreachable()
        return reception

    async def mined(self, transaction_hash: bytes) -> Mined | None:
        self._reach()
        for number, entry in self._mined():
            if entry.hash != transaction_hash:
                continue
            if self.hide_receipts:
                self.hide_receipts -= 1
                return None
            receipt: Any = {
                "transactionHash": HexBytes(entry.hash),
                "blockNumber": number,
                "status": int(entry.to not in self.failing),
                "logs": [],
            }
            return Mined(entry.to not in self.failing, number, receipt)
        return None

    async def user_of(self, account: Address, nonce: int, since: int) -> bytes | None:
        self._reach()
        if self.forgetful:
            raise ChainError("chain_refused", "missing trie node", "Ask an archive node.")
        for _, entry in self._mined():
            if (entry.sender, entry.nonce) == (account, nonce):
                return entry.hash
        return None

    # What tests do to the chain.

    def mine(self) -> None:
        """Put everything into blocks that can be, one transaction a block."""
        while ready := [e for e in self.pool.values() if self._ready(e)]:
            entry = ready[0]
            del self.pool[entry.sender, entry.nonce]
            paid = 0 if entry.to in self.failing else entry.value
            self.balances[entry.sender] -= paid + entry.gas * self.base
            if entry.to is not None:
                self.balances[entry.to] = self.balances.get(entry.to, 0) + paid
            self.blocks.append([entry])

    def undo(self, blocks: int, *, keep: bool = True) -> None:
        """Drop the newest blocks; their transactions wait again, if they are kept."""
        for _ in range(blocks):
            for entry in self.blocks.pop():
                self.balances[entry.sender] += entry.value + entry.gas * self.base
                if entry.to is not None:
                    self.balances[entry.to] -= entry.value
                if keep:
                    self.pool[entry.sender, entry.nonce] = entry

    def received(self, account: Address) -> list[int]:
        """The values of the transfers to an account, in order."""
        return [entry.value for _, entry in self._mined() if entry.to == account]

    def _take(self, raw: bytes) -> Reception:
        try:
            entry = _decode(raw)
        except Exception as error:  # eth-account raises unrelated types for bad bytes
            return Reception(Verdict.REFUSED, f"not a transaction: {type(error).__name__}")
        place = entry.sender, entry.nonce
        if entry.nonce < self._count(entry.sender):
            return Reception(Verdict.NONCE_USED, "nonce too low")
        old = self.pool.get(place)
        if old is not None and old.hash != entry.hash and not _outbids(entry, old):
            return Reception(Verdict.UNDERPRICED, "replacement transaction underpriced")
        if self.balances.get(entry.sender, 0) < entry.value + entry.gas * entry.fee:
            return Reception(Verdict.NO_FUNDS, "insufficient funds for gas * price + value")
        self.pool[place] = entry
        return Reception(Verdict.TAKEN)

    def _ready(self, entry: Signed) -> bool:
        return entry.nonce == self._count(entry.sender) and entry.fee >= self.base

    def _count(self, account: Address) -> int:
        return sum(entry.sender == account for _, entry in self._mined())

    def _mined(self) -> Iterator[tuple[int, Signed]]:
        for number, block in enumerate(self.blocks):
            for entry in block:
                yield number, entry

    def _reach(self) -> None:
        if not self.reachable:
            raise _unreachable()


def _outbids(entry: Signed, old: Signed) -> bool:
    return entry.fee * 10 >= old.fee * 11 and entry.tip * 10 >= old.tip * 11


def _decode(raw: bytes) -> Signed:
    fields = TypedTransaction.from_bytes(HexBytes(raw)).as_dict()
    to = bytes(fields["to"])
    return Signed(
        hash=keccak256(raw),
        sender=address(Account.recover_transaction(raw)),
        nonce=fields["nonce"],
        to=address("0x" + to.hex()) if to else None,
        value=fields["value"],
        data=bytes(fields["data"]),
        gas=fields["gas"],
        fee=fields["maxFeePerGas"],
        tip=fields["maxPriorityFeePerGas"],
    )


def _unreachable() -> ChainError:
    return ChainError("chain_unreachable", "the twin's chain is switched off", "Switch it on.")
