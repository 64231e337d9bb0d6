"""One development chain: a block for every transaction, and a clock that can be set forward.

A block's time is the wall clock plus an offset that only grows, and always later than its parent.
Block and offset are stored together. Calls and estimates never write: they run on a throw-away
state without a base fee, so that an account without ether can read.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import rlp  # type: ignore[import-untyped] # it has none
from eth.abc import (
    BlockAPI,
    BlockHeaderAPI,
    ComputationAPI,
    SignedTransactionAPI,
    StateAPI,
)
from eth.chains.base import MiningChain
from eth.consensus.applier import ConsensusApplier
from eth.consensus.noproof import NoProofConsensus
from eth.constants import (
    BLANK_ROOT_HASH,
    POST_MERGE_DIFFICULTY,
    POST_MERGE_MIX_HASH,
    POST_MERGE_NONCE,
    ZERO_ADDRESS,
)
from eth.db.atomic import AtomicDB
from eth.db.schema import SchemaV1
from eth.exceptions import CanonicalHeadNotFound, Revert
from eth.rlp.sedes import chain_gaps
from eth.vm.forks.cancun import CancunVM
from eth.vm.spoof import SpoofTransaction
from eth_typing import Address as RawAddress
from eth_typing import BlockNumber
from eth_utils.exceptions import ValidationError

from ricochet_protocol.signing import keccak256
from ricochet_settlement.devchain.accounts import (
    DEV_ACCOUNTS,
    DEV_BALANCE,
    DEV_CHAIN_ID,
    dev_address,
)
from ricochet_settlement.devchain.database import SqliteDatabase

GAS_LIMIT: Final = 30_000_000
"""Of a block, so also of a transaction or call; the figure of public chains."""
_OFFSET_KEY: Final = b"ricochet/clock-offset"
_MAX_OFFSET: Final = 2**40
"""Seconds, far beyond any test; keeps timestamps within their 64 bits."""


class Refused(Exception):
    """The chain does not take the transaction or call; the text is for a person."""


class Reverted(Exception):
    """Execution failed; `data` is what the contract returned, empty when it ran out of gas."""

    def __init__(self, message: str, data: bytes) -> None:
        super().__init__(message)
        self.data = data


class _EvmChain(MiningChain):
    chain_id = DEV_CHAIN_ID
    vm_configuration = ConsensusApplier(NoProofConsensus).amend_vm_configuration(
        ((BlockNumber(0), CancunVM),)
    )

    def create_header_from_parent(
        self, parent_header: BlockHeaderAPI, **header_params: Any
    ) -> BlockHeaderAPI:
        # Otherwise py-evm lets the limit drift with use.
        return super().create_header_from_parent(
            parent_header, **{**header_params, "gas_limit": GAS_LIMIT}
        )


class DevChain:
    """The chain stored in `path`, made with its genesis when the file is new. Not thread-safe."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._database = SqliteDatabase(path)
        atomic = AtomicDB(self._database)
        try:
            self.evm = _EvmChain(atomic)
        except CanonicalHeadNotFound:
            with self._database.transaction():
                self.evm = _genesis(atomic, int(clock()))
        self._offset = int.from_bytes(self._database.get(_OFFSET_KEY, b""), "big")
        self._snapshots: dict[int, tuple[BlockHeaderAPI, int]] = {}
        self._taken = 0

    def close(self) -> None:
        """Release the file; may be called twice."""
        self._database.close()

    def head(self) -> BlockHeaderAPI:
        """The newest block's header."""
        return self.evm.get_canonical_head()

    def pending(self) -> BlockHeaderAPI:
        """The header on which a transaction sent now would run."""
        now = int(self._clock()) + self._offset
        later = max(self.head().timestamp + 1, now)
        return self.evm.header.copy(timestamp=later, gas_limit=GAS_LIMIT)

    def base_fee_after(self, header: BlockHeaderAPI) -> int:
        """Wei per gas that a block on top of that one asks for."""
        return self.evm.create_header_from_parent(header).base_fee_per_gas or 0

    def state(self, header: BlockHeaderAPI) -> StateAPI:
        """Accounts after that block."""
        return self.evm.get_vm(at_header=header).state

    def send(self, raw: bytes) -> bytes:
        """Mine the signed transaction, also when it reverts; its hash. Refused when invalid."""
        transaction = self._decode(raw)
        self._check_sender(transaction)
        try:
            self._mine(transaction)
        except ValidationError as error:
            raise Refused(str(error)) from None
        return bytes(transaction.hash)

    def mine(self) -> None:
        """Add an empty block."""
        self._mine()

    def advance(self, seconds: int) -> int:
        """Mine a block at least `seconds` after the newest; the clock's whole offset."""
        # Blocks mined within one second run ahead of the wall clock, so count from the later.
        ahead = max(self._offset, self.head().timestamp - int(self._clock()))
        if not 0 <= seconds <= _MAX_OFFSET - ahead:
            raise Refused("time only moves forward, and not that far")
        before, self._offset = self._offset, ahead + seconds
        try:
            self._mine()
        except BaseException:
            self._offset = before
            raise
        return self._offset

    def snapshot(self) -> int:
        """A number for `revert`; it is good until then, or until the process ends."""
        self._taken += 1
        self._snapshots[self._taken] = (self.head(), self._offset)
        return self._taken

    def revert(self, number: int) -> bool:
        """Drop every block since that snapshot, and snapshots since; whether there is such a one.

        The clock goes back with the chain. Dropped blocks are found no more.
        """
        if number not in self._snapshots:
            return False
        header, offset = self._snapshots[number]
        with self._database.transaction():
            self._drop_blocks_above(header)
            self._database[_OFFSET_KEY] = offset.to_bytes(8, "big")
        self._offset = offset
        self.evm.header = self.evm.create_header_from_parent(header)
        self._snapshots = {old: at for old, at in self._snapshots.items() if old < number}
        return True

    def call(self, fields: dict[str, Any], header: BlockHeaderAPI) -> bytes:
        """What the call returns at that block; Reverted when it fails."""
        return _output(self._execute(fields, GAS_LIMIT, header))

    def estimate(self, fields: dict[str, Any], header: BlockHeaderAPI) -> int:
        """A gas limit with which the call succeeds; Reverted when none does."""
        ceiling: int = min(GAS_LIMIT, fields["gas"])
        first = self._execute(fields, ceiling, header)
        _output(first)
        limit = ceiling - first.get_gas_remaining()
        # Inner calls keep back 1/64 of what is left, so what was used may not be enough.
        while limit < ceiling and self._execute(fields, limit, header).is_error:
            limit = min(limit * 21 // 20, ceiling)
        return limit

    def _decode(self, raw: bytes) -> SignedTransactionAPI:
        builder = self.evm.get_vm().get_transaction_builder()
        try:
            transaction = builder.decode(raw)
            transaction.validate()
            if transaction.chain_id != DEV_CHAIN_ID:
                raise Refused(f"the transaction is not for chain {DEV_CHAIN_ID}")
            _ = transaction.sender
        except Refused:
            raise
        except Exception as error:  # rlp, eth_keys and py-evm raise unrelated types for bad bytes
            raise Refused(f"not a signed transaction: {type(error).__name__}") from None
        return transaction

    def _check_sender(self, transaction: SignedTransactionAPI) -> None:
        """Refuse in the words of geth, which clients match."""
        state = self.state(self.head())
        expected = state.get_nonce(transaction.sender)
        if transaction.nonce != expected:
            side = "low" if transaction.nonce < expected else "high"
            raise Refused(f"nonce too {side}: next nonce {expected}, tx nonce {transaction.nonce}")
        worst = transaction.gas * transaction.max_fee_per_gas + transaction.value
        balance = state.get_balance(transaction.sender)
        if balance < worst:
            raise Refused(
                "insufficient funds for gas * price + value: "
                f"balance {balance}, tx cost {worst}, overshot {worst - balance}"
            )

    def _mine(self, *transactions: SignedTransactionAPI) -> BlockAPI:
        self.evm.header = self.pending()
        with self._database.transaction():
            mined, _, _ = self.evm.mine_all(
                transactions, coinbase=ZERO_ADDRESS, mix_hash=keccak256(self.head().hash)
            )
            self._database[_OFFSET_KEY] = self._offset.to_bytes(8, "big")
        return mined.imported_block

    def _drop_blocks_above(self, header: BlockHeaderAPI) -> None:
        """Make `header` the newest block, in the terms of py-evm's own keys."""
        for number in range(header.block_number + 1, self.head().block_number + 1):
            block = self.evm.get_canonical_block_by_number(BlockNumber(number))
            for transaction in block.transactions:
                name = transaction.hash
                del self._database[SchemaV1.make_transaction_hash_to_block_lookup_key(name)]
            del self._database[SchemaV1.make_block_number_to_hash_lookup_key(block.number)]
        self._database[SchemaV1.make_canonical_head_hash_lookup_key()] = header.hash
        # Without these, py-evm looks for the dropped blocks when their numbers come again.
        whole = rlp.encode(((), header.block_number + 1), sedes=chain_gaps)
        self._database[SchemaV1.make_header_chain_gaps_lookup_key()] = whole
        self._database[SchemaV1.make_chain_gaps_lookup_key()] = whole

    def _execute(self, fields: dict[str, Any], gas: int, header: BlockHeaderAPI) -> ComputationAPI:
        vm = self.evm.get_vm(at_header=header.copy(base_fee_per_gas=0))
        sender: RawAddress = fields["from"]
        unsigned = vm.create_unsigned_transaction(
            nonce=vm.state.get_nonce(sender),
            gas_price=0,
            gas=min(gas, fields["gas"]),
            to=fields["to"],
            value=fields["value"],
            data=fields["data"],
        )
        spoof = SpoofTransaction(unsigned, from_=sender)
        try:
            return vm.state.apply_transaction(spoof)  # type: ignore[arg-type] # py-evm's own way to call without a signature
        except ValidationError as error:
            raise Refused(str(error)) from None


def _genesis(database: AtomicDB, timestamp: int) -> _EvmChain:
    header = {
        "coinbase": ZERO_ADDRESS,
        "difficulty": POST_MERGE_DIFFICULTY,
        "extra_data": b"ricochet",
        "gas_limit": GAS_LIMIT,
        "mix_hash": POST_MERGE_MIX_HASH,
        "nonce": POST_MERGE_NONCE,
        "receipt_root": BLANK_ROOT_HASH,
        "transaction_root": BLANK_ROOT_HASH,
        "timestamp": timestamp,
    }
    wealth = {"balance": DEV_BALANCE, "nonce": 0, "code": b"", "storage": {}}
    accounts = {bytes.fromhex(dev_address(n)[2:]): wealth for n in range(DEV_ACCOUNTS)}
    return _EvmChain.from_genesis(database, header, accounts)  # type: ignore[arg-type,return-value] # declared for any chain and its own dict types


def _output(computation: ComputationAPI) -> bytes:
    if computation.is_error:
        if isinstance(computation.error, Revert):
            raise Reverted("execution reverted", bytes(computation.output))
        raise Reverted(f"execution failed: {type(computation.error).__name__}", b"")
    return bytes(computation.output)
