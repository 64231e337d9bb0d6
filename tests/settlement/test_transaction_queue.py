"""The transaction queue on a chain that lags, lies, forgets and goes away; in virtual time."""

import asyncio
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from chain_conformance import ETHER, OTHER, transfer
from eth_account import Account

from ricochet_network.virtual_time import run_virtual
from ricochet_protocol.errors import BudgetError, ChainError, LocalFault, RicochetError, UsageError
from ricochet_protocol.ids import Address
from ricochet_protocol.signing import account_address
from ricochet_settlement.fees import FEE_CAP, MAX_GAS
from ricochet_settlement.transaction import Status, Transaction
from ricochet_settlement.transaction_chain import Reception, Verdict
from ricochet_settlement.transaction_queue import MAX_IN_FLIGHT, Terms, TransactionQueue
from ricochet_settlement.transaction_store import FILE_NAME, read_transactions
from twins.chain import GWEI, REVERTING, MemoryChain

KEY = bytes([0x11]) * 32
account = account_address(KEY)
PATIENT = Terms(patience=1000)


class Bench:
    """A rich account, its chain, and queues that begin where the last process ended."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.chain = MemoryChain(balances={account: 10 * ETHER})
        self.told: list[str] = []
        self._queue: TransactionQueue | None = None

    def queue(self, terms: Terms = PATIENT) -> TransactionQueue:
        """A new process: it knows what is on disk."""
        if self._queue is not None:
            self._queue.close()
        self._queue = TransactionQueue(self.chain, KEY, self.home, self.hear, terms)
        return self._queue

    def hear(self, row: Transaction) -> None:
        self.told.append(row.line())

    def rows(self) -> tuple[Transaction, ...]:
        return read_transactions(self.home)

    def statuses(self) -> list[Status]:
        return [row.status for row in self.rows()]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def on(bench: Bench, body: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        try:
            await body()
        finally:
            bench.queue().close()

    run_virtual(main())


async def refusal(call: Awaitable[object]) -> RicochetError:
    with pytest.raises(RicochetError) as caught:
        await call
    assert caught.value.hint
    return caught.value


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10_000):
        while not condition():  # noqa: ASYNC110 - in virtual time looking costs nothing
            await asyncio.sleep(0.01)


async def stop(task: "asyncio.Task[object]") -> None:
    task.cancel()
    await asyncio.wait([task])


def test_a_payment_is_told_from_the_first_line_to_the_last(bench: Bench) -> None:
    async def body() -> None:
        receipt = await bench.queue().send(OTHER, b"", 5, label="pay")
        assert receipt["blockNumber"] == 1
        assert bench.chain.received(OTHER) == [5]
        name = "0x" + bytes(receipt["transactionHash"]).hex()
        told = ["pay: queued", f"pay: sent {name}", f"pay: confirmed {name} in block 1"]
        assert bench.told == told
        mode = stat.S_IMODE((bench.home / FILE_NAME).stat().st_mode)
        assert mode == 0o600

    on(bench, body)


def test_concurrent_payments_take_nonces_in_turn(bench: Bench) -> None:
    async def body() -> None:
        queue = bench.queue()
        await asyncio.gather(*(queue.send(OTHER, b"", n) for n in range(1, 41)))
        assert sorted(bench.chain.received(OTHER)) == list(range(1, 41))
        assert sorted(row.nonce for row in bench.rows() if row.nonce is not None) == list(range(40))

    on(bench, body)


def test_no_more_wait_in_the_pool_than_it_keeps(bench: Bench) -> None:
    async def body() -> None:
        bench.chain.mining = False
        queue = bench.queue()
        sends = [asyncio.create_task(queue.send(OTHER, b"", n)) for n in range(1, 31)]
        await until(lambda: len(bench.chain.pool) == MAX_IN_FLIGHT)
        await asyncio.sleep(5)
        assert len(bench.chain.pool) == MAX_IN_FLIGHT
        bench.chain.mining = True
        bench.chain.mine()
        await asyncio.gather(*sends)
        assert len(bench.chain.received(OTHER)) == 30

    on(bench, body)


def test_a_key_makes_it_happen_once(bench: Bench) -> None:
    async def body() -> None:
        queue = bench.queue()
        first, second = await asyncio.gather(
            *(queue.send(OTHER, b"", 5, key="invoice 7") for _ in range(2))
        )
        assert first["transactionHash"] == second["transactionHash"]
        later = await bench.queue().send(OTHER, b"", 5, key="invoice 7")
        assert later["transactionHash"] == first["transactionHash"]
        assert bench.chain.received(OTHER) == [5]
        conflict = await refusal(bench.queue().send(OTHER, b"", 6, key="invoice 7"))
        assert (type(conflict), conflict.code) == (UsageError, "intent_conflict")
        assert bench.chain.received(OTHER) == [5]

    on(bench, body)


def test_without_a_key_equal_payments_are_two(bench: Bench) -> None:
    async def body() -> None:
        await bench.queue().send(OTHER, b"", 5)
        await bench.queue().send(OTHER, b"", 5)
        assert bench.chain.received(OTHER) == [5, 5]

    on(bench, body)


def test_a_repeated_call_joins_what_its_caller_left(bench: Bench) -> None:
    async def body() -> None:
        bench.chain.mining = False
        late = await refusal(bench.queue(Terms(patience=10)).send(OTHER, b"", 5))
        assert (type(late), late.code) == (ChainError, "not_mined")
        assert "wallet transactions" in late.hint
        bench.chain.mining = True
        bench.chain.mine()
        await bench.queue().send(OTHER, b"", 5)
        assert bench.chain.received(OTHER) == [5]
        assert bench.statuses() == [Status.CONFIRMED]

    on(bench, body)


def test_a_stuck_transaction_is_replaced_at_a_higher_price(bench: Bench) -> None:
    async def body() -> None:
        sent = asyncio.create_task(
            bench.queue(Terms(patience=500)).send(OTHER, b"", 5, label="pay")
        )
        bench.chain.mining = False
        await until(lambda: len(bench.chain.pool) == 1)
        (first,) = bench.chain.pool.values()
        bench.chain.base = 100 * GWEI  # so that the price the queue offered is too low
        bench.chain.mining = True
        receipt = await sent
        assert bytes(receipt["transactionHash"]) != first.hash
        mined = bench.chain.blocks[-1][0]
        assert mined.nonce == first.nonce == 0
        assert mined.fee >= 100 * GWEI > first.fee and mined.tip > first.tip
        assert bench.chain.received(OTHER) == [5]
        assert any("pay: stuck" in line and "45 s" in line for line in bench.told)
        assert bench.statuses() == [Status.CONFIRMED]

    on(bench, body)


def test_a_replaced_transaction_may_be_mined_in_its_first_form(bench: Bench) -> None:
    async def body() -> None:
        bench.chain.mining = False
        sent = asyncio.create_task(bench.queue().send(OTHER, b"", 5))
        await until(lambda: len(bench.chain.pool) == 1)
        (only,) = bench.chain.pool.values()
        await until(lambda: len(set(bench.chain.given)) == 2)
        bench.chain.pool = {(account, 0): only}
        bench.chain.mine()
        assert bytes((await sent)["transactionHash"]) == only.hash
        assert bench.chain.received(OTHER) == [5]

    on(bench, body)


def test_the_price_has_an_end(bench: Bench) -> None:
    async def body() -> None:
        bench.chain.base = bench.chain.tip = 10**6 * GWEI
        late = await refusal(bench.queue(Terms(patience=300)).send(OTHER, b"", 5, label="pay"))
        assert late.code == "not_mined" and "500 gwei" in late.message
        assert {entry.fee for entry in bench.chain.pool.values()} == {FEE_CAP}
        bench.chain.base = GWEI
        bench.chain.mine()
        await bench.queue().send(OTHER, b"", 5, label="pay")
        assert bench.chain.received(OTHER) == [5]

    on(bench, body)


def test_absurd_gas_is_not_paid(bench: Bench) -> None:
    async def body() -> None:
        bench.chain.gas = MAX_GAS + 1
        error = await refusal(bench.queue().send(OTHER, b"", 5))
        assert (type(error), error.code) == (ChainError, "too_much_gas")
        assert bench.chain.given == [] and bench.statuses() == [Status.FAILED]

    on(bench, body)


@pytest.mark.parametrize("wei", [0, 1, 5, 21_000 * GWEI])
def test_an_empty_account_is_named(bench: Bench, wei: int) -> None:
    async def body() -> None:
        bench.chain.balances[account] = wei
        error = await refusal(bench.queue().send(OTHER, b"", 5))
        assert (type(error), error.code) == (BudgetError, "no_gas_money")
        assert account in error.message and account in error.hint
        assert bench.statuses() == [Status.FAILED]
        bench.chain.balances[account] = ETHER
        await bench.queue().send(OTHER, b"", 5)
        assert bench.chain.received(OTHER) == [5]

    on(bench, body)


def test_money_that_is_gone_when_it_is_sent_fails_it_and_frees_its_nonce(bench: Bench) -> None:
    async def body() -> None:
        bench.chain.refusal = Reception(Verdict.NO_FUNDS, "insufficient funds")
        error = await refusal(bench.queue().send(OTHER, b"", 5, key="once"))
        assert (type(error), error.code) == (BudgetError, "no_gas_money")
        bench.chain.refusal = None
        await bench.queue().send(OTHER, b"", 6)
        await bench.queue().send(OTHER, b"", 5, key="once")
        assert bench.chain.received(OTHER) == [6, 5]

    on(bench, body)


def test_what_the_chain_refuses_fails_with_its_words(bench: Bench) -> None:
    async def body() -> None:
        bench.chain.refusal = Reception(Verdict.REFUSED, "intrinsic gas too low")
        error = await refusal(bench.queue().send(OTHER, b"", 5))
        assert (type(error), error.code) == (ChainError, "chain_refused")
        assert "intrinsic gas too low" in error.message

    on(bench, body)


def test_a_refused_transaction_that_is_mined_all_the_same_is_seen(bench: Bench) -> None:
    async def body() -> None:
        queue = bench.queue()
        bench.chain.refusal = Reception(Verdict.REFUSED, "go away")
        await refusal(queue.send(OTHER, b"", 5))
        bench.chain.refusal = None
        bench.chain.base += 1
        # The server lied: the first is in a block, and then the second wants the same nonce.
        lied = Account.sign_transaction(_fields_of(bench, 0), KEY)
        await bench.chain.broadcast(bytes(lied.raw_transaction))
        assert bytes(lied.hash) == bench.rows()[0].hash
        bench.chain.stale_count = 0
        second = asyncio.create_task(queue.send(OTHER, b"", 6))
        await until(lambda: len(bench.chain.given) == 3)
        bench.chain.stale_count = None
        await second
        assert bench.chain.received(OTHER) == [5, 6]
        assert bench.statuses() == [Status.CONFIRMED, Status.CONFIRMED]

    on(bench, body)


def _fields_of(bench: Bench, nonce: int) -> dict[str, object]:
    """What the queue signs for the bench's first payment."""
    return {
        "chainId": 31337,
        "nonce": nonce,
        "gas": 26_250,
        "maxFeePerGas": 3 * GWEI,
        "maxPriorityFeePerGas": GWEI,
        "to": bytes.fromhex(OTHER[2:]),
        "value": 5,
        "data": b"",
    }


def test_a_revert_is_told_and_sends_nothing(bench: Bench) -> None:
    async def body() -> None:
        error = await refusal(bench.queue().send(None, REVERTING, label="make"))
        assert (type(error), error.code) == (ChainError, "reverted")
        assert bench.chain.given == []

    on(bench, body)


def test_a_revert_in_the_block_uses_its_nonce(bench: Bench) -> None:
    async def body() -> None:
        bad = Address("0x" + "ba" * 20)
        bench.chain.failing.add(bad)
        queue = bench.queue()
        error = await refusal(queue.send(bad, b"", 5))
        assert (type(error), error.code) == (ChainError, "reverted")
        assert "failed when it was mined" in error.message
        await queue.send(OTHER, b"", 6)
        assert [(row.status, row.nonce, row.block) for row in bench.rows()] == [
            (Status.FAILED, 0, 1),
            (Status.CONFIRMED, 1, 2),
        ]

    on(bench, body)


def test_a_lost_answer_is_no_lost_payment(bench: Bench) -> None:
    async def body() -> None:
        bench.chain.lose_answers = 3
        queue = bench.queue()
        await asyncio.gather(*(queue.send(OTHER, b"", n) for n in (1, 2, 3)))
        assert sorted(bench.chain.received(OTHER)) == [1, 2, 3]

    on(bench, body)


def test_a_swallowed_transaction_is_given_again(bench: Bench) -> None:
    async def body() -> None:
        bench.chain.swallow = 2
        queue = bench.queue()
        await asyncio.gather(*(queue.send(OTHER, b"", n) for n in (1, 2, 3)))
        assert sorted(bench.chain.received(OTHER)) == [1, 2, 3]

    on(bench, body)


def test_an_absence_is_waited_out(bench: Bench) -> None:
    async def body() -> None:
        queue = bench.queue()
        await queue.send(OTHER, b"", 1)
        bench.chain.reachable = False
        sent = asyncio.create_task(queue.send(OTHER, b"", 2))
        await asyncio.sleep(60)
        assert not sent.done()
        bench.chain.reachable = True
        await sent
        assert bench.chain.received(OTHER) == [1, 2]

    on(bench, body)


def test_who_gives_up_before_it_was_sent_is_not_surprised_later(bench: Bench) -> None:
    async def body() -> None:
        queue = bench.queue(Terms(patience=10))
        await queue.send(OTHER, b"", 1)
        bench.chain.reachable = False
        gone = await refusal(queue.send(OTHER, b"", 2))
        assert (type(gone), gone.code) == (ChainError, "chain_unreachable")
        cancelled = asyncio.create_task(queue.send(OTHER, b"", 3))
        await asyncio.sleep(1)
        await stop(cancelled)
        bench.chain.reachable = True
        assert await queue.resume() == 0
        await queue.send(OTHER, b"", 4)
        assert bench.chain.received(OTHER) == [1, 4]
        assert bench.statuses().count(Status.FAILED) == 2

    on(bench, body)


def test_a_cancelled_caller_leaves_a_sent_one_to_the_queue(bench: Bench) -> None:
    async def body() -> None:
        bench.chain.mining = False
        queue = bench.queue()
        sent = asyncio.create_task(queue.send(OTHER, b"", 5))
        await until(lambda: len(bench.chain.pool) == 1)
        await stop(sent)
        bench.chain.mining = True
        bench.chain.mine()
        assert await queue.resume() == 0
        assert bench.statuses() == [Status.CONFIRMED]

    on(bench, body)


def test_a_nonce_that_another_program_took_is_seen_and_replaced(bench: Bench) -> None:
    async def body() -> None:
        bench.chain.mining = False
        sent = asyncio.create_task(bench.queue().send(OTHER, b"", 5, label="pay"))
        await until(lambda: len(bench.chain.pool) == 1)
        bench.chain.pool.clear()
        foreign, raw = transfer(KEY, 0, 77)
        await bench.chain.broadcast(raw)
        bench.chain.mining = True
        bench.chain.mine()
        await sent
        assert bench.chain.received(OTHER) == [77, 5]
        assert [row.nonce for row in bench.rows()] == [1]
        assert any(foreign.hex() in line and "nonce 0" in line for line in bench.told)

    on(bench, body)


@pytest.mark.parametrize("forgetful", [False, True])
def test_a_missing_receipt_alone_never_pays_twice(bench: Bench, forgetful: bool) -> None:
    async def body() -> None:
        bench.chain.hide_receipts = 40
        bench.chain.forgetful = forgetful
        await bench.queue().send(OTHER, b"", 5)
        assert bench.chain.received(OTHER) == [5]
        assert len(set(bench.chain.given)) == 1
        assert any("does not say by what" in line for line in bench.told) == forgetful

    on(bench, body)


def test_a_server_that_lags_behind_never_pays_twice(bench: Bench) -> None:
    async def body() -> None:
        queue = bench.queue()
        for value in (1, 2, 3):
            await queue.send(OTHER, b"", value)
        bench.chain.stale_count = 1
        sent = asyncio.create_task(queue.send(OTHER, b"", 4))
        await asyncio.sleep(30)
        bench.chain.stale_count = None
        await sent
        assert bench.chain.received(OTHER) == [1, 2, 3, 4]
        assert bench.statuses() == [Status.CONFIRMED] * 4

    on(bench, body)


@pytest.mark.parametrize("keep", [True, False])
def test_a_reorganisation_is_mended(bench: Bench, keep: bool) -> None:
    async def body() -> None:
        queue = bench.queue()
        for value in (1, 2, 3):
            await queue.send(OTHER, b"", value, key=f"payment {value}")
        bench.chain.mining = False
        bench.chain.undo(2, keep=keep)
        assert bench.chain.received(OTHER) == [1]
        bench.chain.mining = True
        await queue.send(OTHER, b"", 4)
        assert bench.chain.received(OTHER) == [1, 2, 3, 4]
        assert bench.statuses() == [Status.CONFIRMED] * 4
        assert any("the chain dropped block" in line for line in bench.told)

    on(bench, body)


def test_a_restart_gives_the_chain_again_what_it_forgot(bench: Bench) -> None:
    async def body() -> None:
        bench.chain.mining = False
        queue = bench.queue()
        sends = [
            asyncio.create_task(queue.send(OTHER, b"", n, key=f"payment {n}")) for n in (1, 2, 3)
        ]
        await until(lambda: len(bench.chain.pool) == 3)
        for task in sends:
            await stop(task)
        bench.chain.pool.clear()
        bench.chain.mining = True
        restarted = bench.queue()
        assert await restarted.resume() == 3
        assert bench.chain.received(OTHER) == [1, 2, 3]
        assert await restarted.resume() == 0
        assert bench.statuses() == [Status.CONFIRMED] * 3

    on(bench, body)


def test_another_chain_of_the_same_id_gets_nothing_of_this_one(bench: Bench) -> None:
    async def body() -> None:
        bench.chain.mining = False
        await refusal(bench.queue(Terms(patience=10)).send(OTHER, b"", 5))
        bench.chain = MemoryChain(name="anew", balances={account: ETHER})
        assert await bench.queue().resume() == 0
        await bench.queue().send(OTHER, b"", 6)
        assert bench.chain.received(OTHER) == [6]

    on(bench, body)


def test_one_process_at_a_time_owns_a_key(bench: Bench, tmp_path: Path) -> None:
    async def body() -> None:
        await bench.queue().send(OTHER, b"", 5)
        second = TransactionQueue(bench.chain, KEY, bench.home)
        error = await refusal(second.send(OTHER, b"", 6))
        assert (type(error), error.code) == (LocalFault, "queue_in_use")
        assert account in error.message
        bench.chain.balances[account_address(bytes([0x22]) * 32)] = ETHER
        other = TransactionQueue(bench.chain, bytes([0x22]) * 32, bench.home)
        await other.send(OTHER, b"", 7)
        other.close()
        assert bench.chain.received(OTHER) == [5, 7]

    on(bench, body)


def test_a_damaged_file_is_said_and_not_replaced(bench: Bench) -> None:
    async def body() -> None:
        (bench.home / FILE_NAME).write_bytes(b"not a database" * 100)
        error = await refusal(bench.queue().send(OTHER, b"", 5))
        assert (type(error), error.code) == (LocalFault, "queue_damaged")
        (bench.home / FILE_NAME).unlink()

    on(bench, body)


def test_a_home_without_transactions_has_none(tmp_path: Path) -> None:
    assert read_transactions(tmp_path) == ()
    assert list(tmp_path.iterdir()) == []
