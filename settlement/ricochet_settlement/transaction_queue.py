"""The one writer of a key's transactions: written down, sent in order, watched until mined.

An intent is on disk before anything is sent, and each signed form before the chain sees it. Whoever
waits for a transaction drives the whole queue, one round at a time; there is no task beside. So a
caller that is cancelled, or a process that is killed, leaves rows that the next round takes up: it
asks the chain how many transactions are mined, reads the receipts of those below, gives the others
to the chain again, raises the price of the first when it waits too long, and sends what is queued.

A nonce is given up only when the chain shows another transaction in its place, or refused the only
form that was ever signed for it. A missing receipt proves nothing: servers lag behind each other.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
from eth_account import Account
from hexbytes import HexBytes
from web3 import Web3
from web3.types import TxReceipt

from ricochet_protocol.errors import BudgetError, ChainError, RicochetError
from ricochet_protocol.ids import Address, address
from ricochet_settlement.fees import MAX_GAS, Price, first_price, gas_limit, replacement
from ricochet_settlement.transaction import NO_GAS_MONEY, Attempt, Intent, Status, Transaction
from ricochet_settlement.transaction_chain import Reception, TransactionChain, Verdict
from ricochet_settlement.transaction_store import TransactionStore

MAX_IN_FLIGHT: Final = 16
"""geth keeps this many of an account even when its pool is full (`AccountSlots`)."""
_HELD: Final = (Status.SENT, Status.STUCK)
_FINAL: Final = frozenset({NO_GAS_MONEY, "reverted", "chain_refused", "too_much_gas"})
"""Codes of errors before sending after which a transaction is given up; others are tried again."""
Watch = Callable[[Transaction], None]


class Terms(msgspec.Struct, frozen=True):
    """How long the queue waits, in seconds.

    `patience`: a caller is told after this that its transaction is still under way; ten slots of
    Ethereum, sixty blocks of its rollups. `overdue`: a transaction that is sent is replaced at a
    higher price; three slots and some. `lag`: servers behind one address agree after this.
    """

    patience: float = 120.0
    overdue: float = 45.0
    lag: float = 15.0
    first_pause: float = 0.05
    longest_pause: float = 2.0


class TransactionQueue:
    """Sends with `key`; its rows are in `home`, or in memory without one. Closed by its owner.

    `watch` hears of every change of a row. Belongs to one event loop.
    """

    def __init__(
        self,
        chain: TransactionChain,
        key: bytes,
        home: Path | None = None,
        watch: Watch | None = None,
        terms: Terms | None = None,
    ) -> None:
        self._chain = chain
        self._account = Account.from_key(key)
        self.account: Address = address(self._account.address)
        self._home = home
        self._watch = watch
        self._terms = terms or Terms()
        self._store: TransactionStore | None = None
        self._chain_id = 0
        self._turn = asyncio.Lock()
        self._begun = self._ended = 0
        """The newest round that has begun, and the newest that has ended well."""
        self._waiting: Counter[int] = Counter()
        self._receipts: dict[int, TxReceipt] = {}
        self._given: dict[int, float] = {}
        """When this process last gave a row to the chain; the loop's clock."""
        self._missed: dict[int, float] = {}
        """Since when a row's nonce is used but none of its forms has a receipt."""

    async def send(
        self,
        to: Address | None,
        data: bytes,
        value: int = 0,
        *,
        label: str = "transaction",
        key: str | None = None,
    ) -> TxReceipt:
        """Make it happen once and wait until it is mined; see `Intent` for the arguments.

        BudgetError `no_gas_money`; ChainError `reverted`, `chain_refused`, `too_much_gas`: it will
        not happen. ChainError `not_mined`, `chain_unreachable`: it is still under way, and sending
        the same again joins it. LocalFault `queue_in_use`.
        """
        store = await self._opened()
        intent = Intent(label=label, to=to, data=data, value=value, key=key)
        row = store.enqueue(intent, self._waiting)
        self._tell(row)
        self._waiting[row.number] += 1
        try:
            return await self._outcome(store, row.number)
        except asyncio.CancelledError:
            self._withdraw(store, row.number, "cancelled", "given up before it was sent")
            raise
        finally:
            self._waiting[row.number] -= 1
            if not self._waiting[row.number]:
                del self._waiting[row.number]
                self._receipts.pop(row.number, None)

    async def resume(self) -> int:
        """Take up what an earlier process left, once; how many transactions are still open."""
        store = await self._opened()
        await self._round(store)
        return len(store.with_status(Status.QUEUED, *_HELD))

    def close(self) -> None:
        """Release file and lock; may be called twice."""
        if self._store is not None:
            self._store.close()

    async def _opened(self) -> TransactionStore:
        async with self._turn:
            if self._store is None:
                self._chain_id, name = await self._chain.identity()
                self._store = TransactionStore(self._home, name, self.account)
            return self._store

    async def _outcome(self, store: TransactionStore, number: int) -> TxReceipt:
        clock = asyncio.get_running_loop().time
        deadline, pause = clock() + self._terms.patience, self._terms.first_pause
        while True:
            trouble: ChainError | None = None
            try:
                if store.read(number).status is not Status.CONFIRMED:
                    await self._round(store)
                receipt = await self._receipt(store.read(number))
                if receipt is not None:
                    return receipt
            except ChainError as lately:
                trouble = lately
            row = store.read(number)
            if row.status is Status.FAILED:
                raise row.failure()
            if clock() >= deadline:
                error = trouble or self._not_mined(row)
                self._withdraw(store, number, error.code, error.message)
                raise error
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, self._terms.longest_pause)

    async def _receipt(self, row: Transaction) -> TxReceipt | None:
        if row.status is not Status.CONFIRMED or row.hash is None:
            return None
        if row.number in self._receipts:
            return self._receipts[row.number]
        mined = await self._chain.mined(row.hash)
        return None if mined is None else mined.receipt

    def _withdraw(self, store: TransactionStore, number: int, code: str, why: str) -> None:
        """Its caller hears that it did not happen, so it must not be sent later."""
        row = store.read(number)
        if row.status is Status.QUEUED and self._waiting[number] == 1:
            self._tell(store.failed(row, code, why, "Run the command again."))

    async def _round(self, store: TransactionStore) -> None:
        seen = self._begun
        async with self._turn:
            if self._ended > seen:
                return  # one that began after the caller's news has just ended
            self._begun += 1
            await self._advance(store)
            self._ended = self._begun

    async def _advance(self, store: TransactionStore) -> None:
        count = await self._chain.mined_count(self.account)
        for row in store.confirmed_from(count):
            self._tell(store.undone(row))
        await self._settle(store, count)
        if await self._launch_queued(store, count):
            await self._settle(store, await self._chain.mined_count(self.account))

    async def _settle(self, store: TransactionStore, count: int) -> None:
        first = True
        for row in store.with_status(*_HELD)[:MAX_IN_FLIGHT]:
            if row.nonce is not None and row.nonce < count:
                await self._look(store, row)
            else:
                await self._urge(store, row, first)
                first = False

    async def _look(self, store: TransactionStore, row: Transaction) -> None:
        """Its nonce is used: by one of its forms, or by another transaction."""
        for attempt in store.attempts(row.number):
            mined = await self._chain.mined(attempt.hash)
            if mined is None:
                continue
            if mined.succeeded:
                if row.number in self._waiting:
                    self._receipts[row.number] = mined.receipt
                self._tell(store.confirmed(row, attempt.hash, mined.block))
            else:
                why = f"transaction 0x{attempt.hash.hex()} failed when it was mined"
                hint = "Something changed after it was checked. Try again to see the reason."
                self._tell(store.failed(row, "reverted", why, hint, mined.block))
            return
        now = asyncio.get_running_loop().time()
        if now - self._missed.setdefault(row.number, now) >= self._terms.lag:
            self._missed[row.number] = now
            await self._find_user(store, row)

    async def _find_user(self, store: TransactionStore, row: Transaction) -> None:
        """What used its nonce; when that is another transaction, it gets a new one."""
        nonce = row.nonce or 0
        try:
            user = await self._chain.user_of(self.account, nonce, row.head)
        except ChainError as error:
            why = f"nonce {nonce} is used, and the chain does not say by what: {error.message}"
            self._tell(store.stuck(row, why))
            return
        if user is None:
            return
        owner = store.owner(user)
        if owner is not None and owner.number == row.number:
            return  # a server that lags: the receipt is yet to come
        if owner is not None and owner.status is Status.FAILED and owner.block is None:
            mined = await self._chain.mined(user)
            if mined is not None and mined.succeeded:
                self._tell(store.confirmed(owner, user, mined.block))
        why = f"0x{user.hex()} was sent with the same key and took nonce {nonce}"
        self._tell(store.requeued(row, why))

    async def _urge(self, store: TransactionStore, row: Transaction, first: bool) -> None:
        """Not mined: give it to the chain if this process has not, or once more when overdue."""
        given = self._given.get(row.number)
        now = asyncio.get_running_loop().time()
        if given is not None and now - given < self._terms.overdue:
            return
        if given is not None and first:
            row = await self._raise_price(store, row)
        reception = await self._give(row, store.attempts(row.number)[0])
        # It may have been taken before, so a refusal now does not say that it will not happen.
        if reception.verdict not in (Verdict.TAKEN, Verdict.NONCE_USED):
            self._tell(store.stuck(row, reception.words))

    async def _raise_price(self, store: TransactionStore, row: Transaction) -> Transaction:
        """Sign it again at a higher price, unless that is not allowed."""
        newest = store.attempts(row.number)[0]
        price = replacement(Price(newest.fee, newest.tip), await self._chain.market())
        if price is None:
            why = f"not mined, and {_gwei(newest.fee)} per gas is the most that is offered"
            row = store.stuck(row, why)
        else:
            waited = f"not mined in {self._terms.overdue:.0f} s"
            why = f"{waited}, sent again at up to {_gwei(price.fee)} per gas"
            attempt = self._sign(row.intent, row.nonce or 0, newest.gas, price)
            row = store.replaced(row, attempt, why)
        self._tell(row)
        return row

    async def _launch_queued(self, store: TransactionStore, count: int) -> bool:
        room = max(0, MAX_IN_FLIGHT - len(store.with_status(*_HELD)))
        launched = False
        for row in store.with_status(Status.QUEUED)[:room]:
            try:
                await self._launch(store, row, count)
                launched = True
            except RicochetError as error:
                if error.code not in _FINAL:
                    raise
                self._fail(store, row, error)
        return launched

    async def _launch(self, store: TransactionStore, row: Transaction, count: int) -> None:
        intent = row.intent
        balance = await self._chain.balance(self.account)
        if balance <= intent.value:  # gas comes on top
            raise self._no_gas_money(balance, intent.value)
        estimate = await self._chain.estimate(self.account, intent)
        gas = gas_limit(estimate)
        if gas is None:
            raise ChainError(
                "too_much_gas",
                f"`{intent.label}` would take {estimate} gas; one transaction has {MAX_GAS}",
                "Send less at a time. If it is little, the chain's RPC server is wrong.",
            )
        market = await self._chain.market()
        price = first_price(market)
        if balance < intent.value + gas * price.fee:
            raise self._no_gas_money(balance, intent.value + gas * price.fee)
        if store.read(row.number).status is not Status.QUEUED:
            return  # withdrawn meanwhile
        nonce = store.free_nonce(count)
        attempt = self._sign(intent, nonce, gas, price)
        row = store.sent(row, nonce, market.head, attempt)
        self._tell(row)
        reception = await self._give(row, attempt)
        if reception.verdict is Verdict.NO_FUNDS:
            self._fail(store, row, self._no_gas_money(balance, intent.value + gas * price.fee))
        elif reception.verdict is Verdict.REFUSED:
            refusal = ChainError("chain_refused", reception.words, "Nothing was sent. Try again.")
            self._fail(store, row, refusal)
        elif reception.verdict in (Verdict.UNDERPRICED, Verdict.NONCE_AHEAD):
            self._tell(store.stuck(row, reception.words))

    async def _give(self, row: Transaction, attempt: Attempt) -> Reception:
        reception = await self._chain.broadcast(attempt.raw)
        if reception.verdict is not Verdict.NONCE_AHEAD:  # then again as soon as that may be there
            self._given[row.number] = asyncio.get_running_loop().time()
        return reception

    def _fail(self, store: TransactionStore, row: Transaction, error: RicochetError) -> None:
        if store.read(row.number).status is not Status.FAILED:
            self._tell(store.failed(row, error.code, error.message, error.hint))

    def _sign(self, intent: Intent, nonce: int, gas: int, price: Price) -> Attempt:
        fields = {
            "chainId": self._chain_id,
            "nonce": nonce,
            "gas": gas,
            "maxFeePerGas": price.fee,
            "maxPriorityFeePerGas": price.tip,
            "value": intent.value,
            "data": HexBytes(intent.data),
        }
        if intent.to is not None:
            fields["to"] = Web3.to_checksum_address(intent.to)
        signed = self._account.sign_transaction(fields)
        return Attempt(
            hash=bytes(signed.hash),
            raw=bytes(signed.raw_transaction),
            gas=gas,
            fee=price.fee,
            tip=price.tip,
        )

    def _tell(self, row: Transaction) -> None:
        if row.status not in _HELD:
            self._given.pop(row.number, None)
            self._missed.pop(row.number, None)
        if self._watch is not None:
            self._watch(row)

    def _no_gas_money(self, balance: int, needed: int) -> BudgetError:
        return BudgetError(
            NO_GAS_MONEY,
            f"account {self.account} holds {balance} wei; its transaction may cost {needed}",
            f"Send ether to {self.account}.",
        )

    def _not_mined(self, row: Transaction) -> ChainError:
        what = f"`{row.intent.label}` is {row.status} but not mined in time"
        return ChainError(
            "not_mined",
            f"{what}: {row.why}" if row.why else what,
            "It may still be mined: look before sending again."
            if self._home is None
            else "It goes on with the next command, and the same command again joins it. "
            "`ricochet wallet transactions` shows where it stands.",
        )


def _gwei(wei: int) -> str:
    return f"{wei / 10**9:.3g} gwei"
