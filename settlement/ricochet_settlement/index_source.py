"""What the indexer asks of a chain, and the chain behind a JSON-RPC that answers it.

Two kinds of question: a block by its number, and the contract's logs, either of one block named by
its hash or of a range. A hash cannot be answered by a server that has not that block, so it is used
near the newest block, where servers lag and chains reorganise; ranges are for what lies deep.

Answers are checked for what the indexer relies on: a block is the one asked for, a log is of this
contract and lies where it was asked for. The port has a twin, `tests/twins/log_chain.py`.
"""

from collections.abc import Awaitable, Mapping, Sequence
from typing import Protocol, TypeVar

import msgspec
from hexbytes import HexBytes
from web3 import Web3
from web3.exceptions import BlockNotFound
from web3.types import FilterParams

from ricochet_protocol.errors import ChainError
from ricochet_protocol.ids import Address
from ricochet_settlement.link import Link

T = TypeVar("T")


class Block(msgspec.Struct, frozen=True):
    """A block's place in the chain; `time` is in Unix seconds."""

    number: int
    hash: bytes
    parent: bytes
    time: int


class Log(msgspec.Struct, frozen=True):
    """One event as the contract wrote it; `position` orders the logs of a block."""

    block: int
    block_hash: bytes
    position: int
    topics: tuple[bytes, ...]
    data: bytes


class RangeRefused(Exception):
    """The server does not answer for that many blocks at once, or found too much in them."""


class LogSource(Protocol):
    """One contract on one chain; every method raises ChainError as `TransactionChain` does."""

    async def identity(self) -> str:
        """A name that no other contract, nor another chain of the same id, has."""

    async def head(self) -> Block:
        """The newest block."""

    async def block(self, number: int) -> Block | None:
        """The block of that number; None beyond the newest."""

    async def logs_in(self, block: Block) -> tuple[Log, ...]:
        """The contract's logs of that very block; ChainError when the server has it not."""

    async def logs_between(self, first: int, last: int) -> tuple[Log, ...]:
        """Those of a range of blocks, both ends included, in order; RangeRefused when too many."""


class RpcSource:
    """`LogSource` over a link, which its owner closes."""

    def __init__(self, link: Link, contract: Address) -> None:
        self._link = link
        self._eth = link.web3.eth
        self._contract = Web3.to_checksum_address(contract)

    async def identity(self) -> str:
        chain_id = await self._ask(self._eth.chain_id)
        first = self._object(await self._ask(self._eth.get_block(0)))
        return f"{chain_id}:0x{self._hash(first.get('hash')).hex()}:{self._contract.lower()}"

    async def head(self) -> Block:
        found = await self._ask(self._eth.get_block("latest"))
        return self._block_untrusted(self._object(found))

    async def block(self, number: int) -> Block | None:
        found = await self._ask(_or_none(self._eth.get_block(number)))
        if found is None:
            return None
        block = self._block_untrusted(self._object(found))
        if block.number != number:
            raise self._nonsense()
        return block

    async def logs_in(self, block: Block) -> tuple[Log, ...]:
        return await self._logs({"blockHash": HexBytes(block.hash)})

    async def logs_between(self, first: int, last: int) -> tuple[Log, ...]:
        try:
            logs = await self._logs({"fromBlock": first, "toBlock": last})
        except ChainError as error:
            if error.code != "chain_refused":
                raise
            raise RangeRefused(error.message) from error
        if any(not first <= log.block <= last for log in logs):
            raise self._nonsense()
        return logs

    async def _logs(self, criteria: FilterParams) -> tuple[Log, ...]:
        found = await self._ask(self._eth.get_logs({**criteria, "address": self._contract}))
        if not isinstance(found, list):
            raise self._nonsense()
        logs = tuple(self._log_untrusted(self._object(entry)) for entry in found)
        places = [(log.block, log.position) for log in logs]
        if places != sorted(set(places)):
            raise self._nonsense()
        return logs

    def _object(self, value: object) -> Mapping[str, object]:
        if not isinstance(value, Mapping):
            raise self._nonsense()
        return value

    def _block_untrusted(self, found: Mapping[str, object]) -> Block:
        return Block(
            number=self._natural(found.get("number")),
            hash=self._hash(found.get("hash")),
            parent=self._hash(found.get("parentHash")),
            time=self._natural(found.get("timestamp")),
        )

    def _log_untrusted(self, entry: Mapping[str, object]) -> Log:
        if entry.get("address") != self._contract or entry.get("removed"):
            raise self._nonsense()
        data, topics = entry.get("data"), entry.get("topics")
        if not isinstance(data, bytes) or not isinstance(topics, list | tuple):
            raise self._nonsense()
        return Log(
            block=self._natural(entry.get("blockNumber")),
            block_hash=self._hash(entry.get("blockHash")),
            position=self._natural(entry.get("logIndex")),
            topics=tuple(self._hash(topic) for topic in topics),
            data=bytes(data),
        )

    def _natural(self, value: object) -> int:
        if not isinstance(value, int) or not 0 <= value < 2**63:
            raise self._nonsense()
        return value

    def _hash(self, value: object) -> bytes:
        if not isinstance(value, bytes) or len(value) != 32:
            raise self._nonsense()
        return bytes(value)

    async def _ask(self, call: Awaitable[T]) -> T:
        try:
            return await self._link.ask(call)
        except (ValueError, TypeError, KeyError, AttributeError, IndexError):
            # The library's own ways to choke on an answer that has not the form it should have.
            raise self._nonsense() from None

    def _nonsense(self) -> ChainError:
        return chain_nonsense(self._link.rpc)


def chain_nonsense(rpc: str) -> ChainError:
    """The error for an answer that no chain gives."""
    return ChainError(
        "chain_nonsense",
        f"{rpc} gives answers that no chain gives",
        "Check `rpc` in network.json, or use another server of the same chain.",
    )


async def _or_none(call: Awaitable[T]) -> T | None:
    try:
        return await call
    except BlockNotFound:
        return None


def in_order(logs: Sequence[Log]) -> list[list[Log]]:
    """The logs of each block together, oldest block first."""
    blocks: dict[int, list[Log]] = {}
    for log in logs:
        blocks.setdefault(log.block, []).append(log)
    return [blocks[number] for number in sorted(blocks)]
