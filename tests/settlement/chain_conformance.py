"""What every `TransactionChain` must do; `test_transaction_chain.py` runs it."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

import pytest
from eth_account import Account

from ricochet_protocol.errors import ChainError
from ricochet_protocol.ids import Address
from ricochet_protocol.signing import account_address
from ricochet_settlement.transaction import Intent
from ricochet_settlement.transaction_chain import TransactionChain, Verdict
from twins.chain import REVERTING

OTHER = Address("0x" + "0b" * 20)
EMPTY = bytes([0x3E]) * 32
ETHER = 10**18


def transfer(key: bytes, nonce: int, value: int = 1, fee: int = 10**10) -> tuple[bytes, bytes]:
    """Hash and bytes of a signed transfer to OTHER."""
    signed = Account.sign_transaction(
        {
            "chainId": 31337,
            "nonce": nonce,
            "gas": 21_000,
            "maxFeePerGas": fee,
            "maxPriorityFeePerGas": 0,
            "to": bytes.fromhex(OTHER[2:]),
            "value": value,
        },
        key,
    )
    return bytes(signed.hash), bytes(signed.raw_transaction)


class ChainConformance:
    """Inherit, and give `chain`: a chain on which `key` has at least one ether."""

    key: bytes

    def chain(self) -> AbstractAsyncContextManager[TransactionChain]:
        raise NotImplementedError

    def run(self, body: Callable[[TransactionChain, Address], Awaitable[None]]) -> None:
        async def main() -> None:
            async with self.chain() as chain, asyncio.timeout(60):
                await body(chain, account_address(self.key))

        asyncio.run(main())

    def test_it_has_one_name_and_a_market(self) -> None:
        async def body(chain: TransactionChain, account: Address) -> None:
            assert await chain.identity() == await chain.identity()
            assert (await chain.identity())[0] == 31337
            market = await chain.market()
            assert market.base > 0 and market.tip >= 0 and market.head >= 0

        self.run(body)

    def test_a_transfer_is_mined_once_and_found(self) -> None:
        async def body(chain: TransactionChain, account: Address) -> None:
            count, before = await chain.mined_count(account), await chain.balance(OTHER)
            head = (await chain.market()).head
            name, raw = transfer(self.key, count, 7)
            assert await chain.mined(name) is None
            assert await chain.user_of(account, count, head) is None
            assert (await chain.broadcast(raw)).verdict is Verdict.TAKEN
            mined = await chain.mined(name)
            assert mined is not None and mined.succeeded
            assert bytes(mined.receipt["transactionHash"]) == name
            assert mined.block == mined.receipt["blockNumber"] > head
            again = (await chain.broadcast(raw)).verdict
            assert again in (Verdict.TAKEN, Verdict.NONCE_USED)
            assert await chain.mined_count(account) == count + 1
            assert await chain.balance(OTHER) == before + 7
            assert await chain.user_of(account, count, head) == name

        self.run(body)

    def test_a_used_nonce_is_said_and_its_user_found(self) -> None:
        async def body(chain: TransactionChain, account: Address) -> None:
            count, head = await chain.mined_count(account), (await chain.market()).head
            names = []
            for number in range(3):
                name, raw = transfer(self.key, count + number)
                await chain.broadcast(raw)
                names.append(name)
            other = await chain.broadcast(transfer(self.key, count + 1, 9)[1])
            assert other.verdict is Verdict.NONCE_USED and other.words
            for number, name in enumerate(names):
                assert await chain.user_of(account, count + number, head) == name
                late = (await chain.market()).head
                assert await chain.user_of(account, count + number, late) == name

        self.run(body)

    def test_a_nonce_ahead_is_not_mined(self) -> None:
        async def body(chain: TransactionChain, account: Address) -> None:
            count = await chain.mined_count(account)
            name, raw = transfer(self.key, count + 1)
            verdict = (await chain.broadcast(raw)).verdict
            assert verdict in (Verdict.NONCE_AHEAD, Verdict.TAKEN)
            assert await chain.mined(name) is None

        self.run(body)

    def test_what_cannot_be_is_refused(self) -> None:
        async def body(chain: TransactionChain, account: Address) -> None:
            poor = await chain.broadcast(transfer(EMPTY, 0)[1])
            assert poor.verdict is Verdict.NO_FUNDS
            bad = await chain.broadcast(b"\x02\x01nothing")
            assert bad.verdict is Verdict.REFUSED and bad.words
            assert await chain.mined_count(account_address(EMPTY)) == 0

        self.run(body)

    def test_an_estimate_tells_a_revert(self) -> None:
        async def body(chain: TransactionChain, account: Address) -> None:
            intent = Intent(label="transfer", to=OTHER, data=b"", value=1)
            assert 21_000 <= await chain.estimate(account, intent) < 30_000
            with pytest.raises(ChainError) as caught:
                await chain.estimate(account, Intent(label="make", to=None, data=REVERTING))
            assert caught.value.code == "reverted"

        self.run(body)
