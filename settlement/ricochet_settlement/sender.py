"""Transactions of one key, one after another.

A key's transactions carry consecutive nonces, so two writers refuse each other's. Here is the one
writer: it takes the nonce from the chain, sends, and waits for the receipt before the next. A
transaction that would revert is not sent; its reason comes from the estimate.
"""

import asyncio
from typing import Final

from eth_account import Account
from hexbytes import HexBytes
from web3 import Web3
from web3.types import TxParams, TxReceipt, Wei

from ricochet_protocol.errors import BudgetError, ChainError
from ricochet_protocol.ids import Address, address
from ricochet_settlement.link import Link

RECEIPT_SECONDS: Final = 120
"""Ten slots of Ethereum, sixty blocks of its rollups."""
_POLL_SECONDS: Final = 0.05
_GAS_MARGIN_PERCENT: Final = 125
"""State may change between estimate and mining, and a first write to a slot costs more."""
_BASE_FEE_FACTOR: Final = 2
"""The base fee grows at most 12.5 % a block: this outlasts five full blocks."""


class Sender:
    """Sends with `key`, which only this process may send with."""

    def __init__(self, link: Link, key: bytes) -> None:
        self._link = link
        self._account = Account.from_key(key)
        self.account: Address = address(self._account.address)
        self._turn = asyncio.Lock()

    async def send(self, to: Address | None, data: bytes, value: int = 0) -> TxReceipt:
        """Send a transaction and wait until it is mined; None for `to` creates a contract.

        ChainError `reverted`, `chain_refused`, `chain_unreachable`, `not_mined`; BudgetError
        `no_gas_money`.
        """
        async with self._turn:
            transaction = await self._prepare(to, data, value)
            signed = self._account.sign_transaction(transaction)
            return await self._submit(signed.raw_transaction)

    async def _prepare(self, to: Address | None, data: bytes, value: int) -> TxParams:
        ask, eth = self._link.ask, self._link.web3.eth
        sender = Web3.to_checksum_address(self.account)
        balance = await ask(eth.get_balance(sender))
        if balance <= value:  # gas comes on top
            raise self._no_gas_money(balance, value)
        transaction: TxParams = {"from": sender, "data": HexBytes(data), "value": Wei(value)}
        if to is not None:
            transaction["to"] = Web3.to_checksum_address(to)
        gas = await ask(eth.estimate_gas(transaction)) * _GAS_MARGIN_PERCENT // 100
        tip = await ask(eth.max_priority_fee)
        base = (await ask(eth.get_block("latest"))).get("baseFeePerGas", 0)
        price = base * _BASE_FEE_FACTOR + tip
        if balance < value + gas * price:
            raise self._no_gas_money(balance, value + gas * price)
        nonce = await ask(eth.get_transaction_count(sender, "pending"))
        transaction.update(
            {
                "chainId": await ask(eth.chain_id),
                "gas": gas,
                "maxFeePerGas": Wei(price),
                "maxPriorityFeePerGas": Wei(tip),
                "nonce": nonce,
            }
        )
        return transaction

    async def _submit(self, raw: bytes) -> TxReceipt:
        ask, eth = self._link.ask, self._link.web3.eth
        transaction_hash = await ask(eth.send_raw_transaction(HexBytes(raw)))
        receipt = await ask(
            eth.wait_for_transaction_receipt(
                transaction_hash, timeout=RECEIPT_SECONDS, poll_latency=_POLL_SECONDS
            )
        )
        if receipt["status"] != 1:
            raise ChainError(
                "reverted",
                f"transaction 0x{bytes(transaction_hash).hex()} failed when it was mined",
                "Something changed after it was checked. Try again to see the reason.",
            )
        return receipt

    def _no_gas_money(self, balance: int, needed: int) -> BudgetError:
        return BudgetError(
            "no_gas_money",
            f"account {self.account} holds {balance} wei; its transaction may cost {needed}",
            f"Send ether to {self.account}.",
        )
