"""What the transaction queue asks of a chain, and the chain behind a JSON-RPC that answers it.

The port is small, so that its twin in the tests can lag, lie, withhold blocks and go away. Answers
of a JSON-RPC server are checked for what the queue relies on: a receipt must be of the transaction
that was asked about, a number must be one. Whether the server tells the truth about the chain is
not checked; the docs say that it is trusted for that.
"""

from collections.abc import Awaitable
from enum import Enum, auto
from typing import Final, Protocol, TypeVar

import msgspec
from hexbytes import HexBytes
from web3 import Web3
from web3.exceptions import TransactionNotFound
from web3.types import BlockIdentifier, Nonce, TxParams, TxReceipt, Wei

from ricochet_protocol.errors import ChainError
from ricochet_protocol.ids import Address
from ricochet_settlement.fees import Market
from ricochet_settlement.link import Link
from ricochet_settlement.transaction import Intent

T = TypeVar("T")


class Verdict(Enum):
    """What a chain said about a transaction that was given to it."""

    TAKEN = auto()
    """It waits for a block, or is in one; also when it was there before."""
    NONCE_USED = auto()
    """A transaction of that nonce is in a block: this one or another."""
    NONCE_AHEAD = auto()
    """It has to come after one that is missing."""
    UNDERPRICED = auto()
    """It offers too little, on its own or to replace one of the same nonce."""
    NO_FUNDS = auto()
    """The account cannot pay for it."""
    REFUSED = auto()
    """Another reason; it was not taken."""


class Reception(msgspec.Struct, frozen=True):
    """A verdict with the chain's own words."""

    verdict: Verdict
    words: str = ""


class Mined(msgspec.Struct, frozen=True):
    """A transaction in a block; `receipt` is what web3 calls one."""

    succeeded: bool
    block: int
    receipt: TxReceipt


class TransactionChain(Protocol):
    """One chain; every method raises ChainError when it cannot be reached or talks nonsense."""

    async def identity(self) -> tuple[int, str]:
        """Its chain id, and a name that no other chain of that id has."""

    async def balance(self, account: Address) -> int:
        """Wei of the account."""

    async def mined_count(self, account: Address) -> int:
        """How many of its transactions are in blocks: the nonce of the next."""

    async def estimate(self, account: Address, intent: Intent) -> int:
        """Gas the call takes now; ChainError `reverted` with the reason, or `chain_refused`."""

    async def market(self) -> Market:
        """The newest block and what it costs to be in the next."""

    async def broadcast(self, raw: bytes) -> Reception:
        """Give it a signed transaction; when this raises, it may have been taken."""

    async def mined(self, transaction_hash: bytes) -> Mined | None:
        """The transaction's receipt, if it is in a block."""

    async def user_of(self, account: Address, nonce: int, since: int) -> bytes | None:
        """The hash of the mined transaction with that nonce, looked for first after block `since`.

        None when the chain does not show it (yet); ChainError when it has forgotten that long ago.
        """


class RpcChain:
    """`TransactionChain` over a link, which its owner closes."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._eth = link.web3.eth

    async def identity(self) -> tuple[int, str]:
        chain_id = await self._number(self._eth.chain_id)
        first = (await self._ask(self._eth.get_block(0))).get("hash")
        if not isinstance(first, bytes):
            raise self._nonsense()
        return chain_id, f"{chain_id}:0x{bytes(first).hex()}"

    async def balance(self, account: Address) -> int:
        return await self._number(self._eth.get_balance(Web3.to_checksum_address(account)))

    async def mined_count(self, account: Address) -> int:
        return await self._count(account, "latest")

    async def estimate(self, account: Address, intent: Intent) -> int:
        call: TxParams = {
            "from": Web3.to_checksum_address(account),
            "data": HexBytes(intent.data),
            "value": Wei(intent.value),
        }
        if intent.to is not None:
            call["to"] = Web3.to_checksum_address(intent.to)
        return await self._number(self._eth.estimate_gas(call))

    async def market(self) -> Market:
        block = await self._ask(self._eth.get_block("latest"))
        tip = await self._number(self._eth.max_priority_fee)
        head, base = block.get("number"), block.get("baseFeePerGas", Wei(0))
        return Market(head=self._natural(head), base=self._natural(base), tip=tip)

    async def broadcast(self, raw: bytes) -> Reception:
        try:
            await self._ask(self._eth.send_raw_transaction(HexBytes(raw)))
        except ChainError as error:
            if error.code not in ("chain_refused", "reverted"):
                raise
            return Reception(_verdict(error.message), error.message)
        return Reception(Verdict.TAKEN)

    async def mined(self, transaction_hash: bytes) -> Mined | None:
        wanted = HexBytes(transaction_hash)
        receipt = await self._ask(_or_none(self._eth.get_transaction_receipt(wanted)))
        if receipt is None or receipt.get("blockNumber") is None:
            return None
        if receipt.get("transactionHash") != wanted or receipt.get("status") not in (0, 1):
            raise self._nonsense()
        block = self._natural(receipt["blockNumber"])
        return Mined(succeeded=receipt["status"] == 1, block=block, receipt=receipt)

    async def user_of(self, account: Address, nonce: int, since: int) -> bytes | None:
        low, high = since, await self._number(self._eth.block_number)
        if await self._count(account, high) <= nonce:
            return None
        if low >= high or await self._count(account, low) > nonce:
            low, high = 0, min(low, high)
        while high - low > 1:
            middle = (low + high) // 2
            if await self._count(account, middle) > nonce:
                high = middle
            else:
                low = middle
        block = await self._ask(self._eth.get_block(high, full_transactions=True))
        for entry in block.get("transactions", ()):
            if isinstance(entry, bytes | str) or not isinstance(entry.get("from"), str):
                raise self._nonsense()
            if (entry["from"].lower(), entry.get("nonce")) == (account, Nonce(nonce)):
                return bytes(entry["hash"])
        return None

    async def _count(self, account: Address, block: BlockIdentifier) -> int:
        owner = Web3.to_checksum_address(account)
        return await self._number(self._eth.get_transaction_count(owner, block))

    async def _number(self, call: Awaitable[int]) -> int:
        return self._natural(await self._ask(call))

    def _natural(self, value: object) -> int:
        if not isinstance(value, int) or value < 0:
            raise self._nonsense()
        return value

    async def _ask(self, call: Awaitable[T]) -> T:
        try:
            return await self._link.ask(call)
        except (ValueError, TypeError, KeyError, AttributeError, IndexError):
            # The library's own ways to choke on an answer that has not the form it should have.
            raise self._nonsense() from None

    def _nonsense(self) -> ChainError:
        return ChainError(
            "chain_nonsense",
            f"{self._link.rpc} gives answers that no chain gives",
            "Check `rpc` in network.json, or use another server of the same chain.",
        )


async def _or_none(call: Awaitable[T]) -> T | None:
    try:
        return await call
    except TransactionNotFound:
        return None


_WORDS: Final = (
    ("already known", Verdict.TAKEN),
    ("already imported", Verdict.TAKEN),
    ("already exists", Verdict.TAKEN),
    ("nonce too low", Verdict.NONCE_USED),
    ("nonce too high", Verdict.NONCE_AHEAD),
    ("nonce gap", Verdict.NONCE_AHEAD),
    ("underpriced", Verdict.UNDERPRICED),
    ("less than block base fee", Verdict.UNDERPRICED),
    ("insufficient funds", Verdict.NO_FUNDS),
)
"""Words that geth, reth, Nethermind, Besu, anvil and the dev chain share; JSON-RPC has no codes."""


def _verdict(words: str) -> Verdict:
    lowered = words.lower()
    return next((verdict for text, verdict in _WORDS if text in lowered), Verdict.REFUSED)
