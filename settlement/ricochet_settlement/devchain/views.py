"""Blocks, transactions, receipts and logs as JSON-RPC shows them."""

from collections.abc import Sequence
from typing import Any

import rlp  # type: ignore[import-untyped] # it has none
from eth._utils.address import generate_contract_address
from eth.abc import BlockAPI, BlockHeaderAPI, LogAPI, ReceiptAPI, SignedTransactionAPI

from ricochet_settlement.devchain.accounts import DEV_CHAIN_ID

Json = dict[str, Any]


def quantity(number: int) -> str:
    """A number as shortest hex."""
    return hex(number)


def data(raw: bytes) -> str:
    """Bytes as hex."""
    return "0x" + bytes(raw).hex()


def block_view(block: BlockAPI, full: bool) -> Json:
    """A block; with whole transactions when `full`, else with their hashes."""
    header = block.header
    count = len(block.transactions)
    return {
        "number": quantity(header.block_number),
        "hash": data(header.hash),
        "parentHash": data(header.parent_hash),
        "nonce": data(header.nonce),
        "mixHash": data(header.mix_hash),
        "sha3Uncles": data(header.uncles_hash),
        "logsBloom": f"0x{header.bloom:0512x}",
        "transactionsRoot": data(header.transaction_root),
        "stateRoot": data(header.state_root),
        "receiptsRoot": data(header.receipt_root),
        "miner": data(header.coinbase),
        "difficulty": "0x0",
        "totalDifficulty": "0x0",
        "extraData": data(header.extra_data),
        "gasLimit": quantity(header.gas_limit),
        "gasUsed": quantity(header.gas_used),
        "timestamp": quantity(header.timestamp),
        "baseFeePerGas": quantity(header.base_fee_per_gas or 0),
        "withdrawalsRoot": data(header.withdrawals_root or b""),
        "withdrawals": [],
        "blobGasUsed": quantity(header.blob_gas_used),
        "excessBlobGas": quantity(header.excess_blob_gas),
        "parentBeaconBlockRoot": data(header.parent_beacon_block_root or b""),
        "size": quantity(len(rlp.encode(block))),
        "uncles": [],
        "transactions": [
            transaction_view(block, index) if full else data(block.transactions[index].hash)
            for index in range(count)
        ],
    }


def transaction_view(block: BlockAPI, index: int) -> Json:
    """The transaction at `index` of the block."""
    transaction = block.transactions[index]
    kind = _type(transaction)
    view = {
        **_place(block, index),
        "hash": data(transaction.hash),
        "nonce": quantity(transaction.nonce),
        "from": data(transaction.sender),
        "to": data(transaction.to) if transaction.to else None,
        "value": quantity(transaction.value),
        "gas": quantity(transaction.gas),
        "gasPrice": quantity(_price(transaction, block.header)),
        "maxFeePerGas": quantity(transaction.max_fee_per_gas),
        "maxPriorityFeePerGas": quantity(transaction.max_priority_fee_per_gas),
        "input": data(transaction.data),
        "chainId": quantity(DEV_CHAIN_ID),
        "type": quantity(kind),
        # Legacy ones name the chain in it (EIP-155).
        "v": quantity(transaction.y_parity + (0 if kind else 35 + 2 * DEV_CHAIN_ID)),
        "r": quantity(transaction.r),
        "s": quantity(transaction.s),
    }
    if kind:
        view["yParity"] = quantity(transaction.y_parity)
        view["accessList"] = [
            {"address": data(account), "storageKeys": [f"0x{slot:064x}" for slot in slots]}
            for account, slots in transaction.access_list
        ]
    return view


def fee_history_view(first: int, headers: Sequence[BlockHeaderAPI], following: int) -> Json:
    """What blocks from `first` on asked for gas and how full they were; then `following`."""
    fees = [header.base_fee_per_gas or 0 for header in headers]
    return {
        "oldestBlock": quantity(first),
        "baseFeePerGas": [quantity(fee) for fee in (*fees, following)],
        "gasUsedRatio": [header.gas_used / header.gas_limit for header in headers],
    }


def tip(block: BlockAPI) -> int:
    """What the block's only transaction pays above the base fee; 0 without one."""
    if not block.transactions:
        return 0
    return _price(block.transactions[0], block.header) - (block.header.base_fee_per_gas or 0)


def receipt_view(block: BlockAPI, receipts: tuple[ReceiptAPI, ...], index: int) -> Json:
    """The receipt of the transaction at `index`."""
    transaction, receipt = block.transactions[index], receipts[index]
    before = receipts[index - 1].gas_used if index else 0
    created = None
    if not transaction.to:
        created = data(generate_contract_address(transaction.sender, transaction.nonce))
    return {
        **_place(block, index),
        "transactionHash": data(transaction.hash),
        "from": data(transaction.sender),
        "to": data(transaction.to) if transaction.to else None,
        "contractAddress": created,
        "cumulativeGasUsed": quantity(receipt.gas_used),
        "gasUsed": quantity(receipt.gas_used - before),
        "effectiveGasPrice": quantity(_price(transaction, block.header)),
        "logs": [view for i, _, view in log_views(block, receipts) if i == index],
        "logsBloom": f"0x{receipt.bloom:0512x}",
        # EIP-658: since Byzantium the state root's place holds the status.
        "status": quantity(1 if receipt.state_root == b"\x01" else 0),
        "type": quantity(_type(transaction)),
    }


def log_views(block: BlockAPI, receipts: tuple[ReceiptAPI, ...]) -> list[tuple[int, LogAPI, Json]]:
    """All logs of a block in order, each with its transaction's index."""
    views: list[tuple[int, LogAPI, Json]] = []
    for index, receipt in enumerate(receipts):
        for log in receipt.logs:
            view = {
                **_place(block, index),
                "transactionHash": data(block.transactions[index].hash),
                "logIndex": quantity(len(views)),
                "address": data(log.address),
                "topics": [f"0x{topic:064x}" for topic in log.topics],
                "data": data(log.data),
                "removed": False,
            }
            views.append((index, log, view))
    return views


def _place(block: BlockAPI, index: int) -> Json:
    return {
        "blockHash": data(block.hash),
        "blockNumber": quantity(block.number),
        "transactionIndex": quantity(index),
    }


def _price(transaction: SignedTransactionAPI, header: BlockHeaderAPI) -> int:
    base = header.base_fee_per_gas or 0
    return min(transaction.max_fee_per_gas, base + transaction.max_priority_fee_per_gas)


def _type(transaction: SignedTransactionAPI) -> int:
    # Legacy transactions carry no type.
    return getattr(transaction, "type_id", None) or 0
