"""Payments through kill -9: of the paying process at every point, and of the chain's server."""

import asyncio
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from killed_queue import POINTS, key_of, payee_of
from web3 import Web3

from devchain_process import DevChainProcess
from ricochet_protocol.ids import Address
from ricochet_protocol.signing import account_address
from ricochet_settlement.devchain.accounts import dev_address, dev_key
from ricochet_settlement.link import Link
from ricochet_settlement.sender import Outbox, Sender
from ricochet_settlement.transaction import Status
from ricochet_settlement.transaction_queue import Terms
from ricochet_settlement.transaction_store import read_transactions

PROGRAM = Path(__file__).with_name("killed_queue.py")
AT_DEATH = {
    "queued": Status.QUEUED,
    "signed": Status.SENT,
    "sent": Status.SENT,
    "mined": Status.SENT,
    "confirmed": Status.CONFIRMED,
}


@pytest.mark.slow
def test_a_killed_payer_pays_once(chain_url: str, tmp_path: Path) -> None:
    async def fund() -> None:
        link = Link(chain_url)
        sender = Sender(link, dev_key(2))
        try:
            for point in POINTS:
                await sender.send(account_address(key_of(point)), b"", 10**18)
        finally:
            sender.close()
            await link.close()

    async def restart(point: str) -> None:
        home = tmp_path / point
        assert [row.status for row in read_transactions(home)] == [AT_DEATH[point]]
        link = Link(chain_url)
        sender = Sender(link, key_of(point), Outbox(home))
        try:
            await sender.send(payee_of(point), b"", 7, key="payment")
            assert [row.status for row in read_transactions(home)] == [Status.CONFIRMED]
            payee = Web3.to_checksum_address(payee_of(point))
            assert await link.web3.eth.get_balance(payee) == 7
            payer = Web3.to_checksum_address(sender.account)
            assert await link.web3.eth.get_transaction_count(payer) == 1
        finally:
            sender.close()
            await link.close()

    asyncio.run(fund())
    done = subprocess.run(
        [sys.executable, str(PROGRAM), chain_url, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.split() == [word for point in POINTS for word in (point, "9")]
    for point in POINTS:
        asyncio.run(restart(point))


def payee(number: int) -> Address:
    return Address(f"0x{0xFEED0000 + number:040x}")


async def pay_through_outages(state: Path, home: Path, payments: int, tasks: int) -> None:
    """`payments` from `tasks` tasks, while the chain's server is killed and started twice."""
    chain = DevChainProcess(state)
    link = Link(chain.url)
    sender = Sender(link, dev_key(1), Outbox(home), Terms(patience=60))
    paid = 0

    async def work(numbers: range) -> None:
        nonlocal paid
        for number in numbers:
            await sender.send(payee(number), b"", 1, key=f"payment {number}")
            paid += 1

    async def disturb() -> None:
        nonlocal chain
        for part in (1, 2):
            while paid < payments * part // 3:  # noqa: ASYNC110 - bounded by the test's end
                await asyncio.sleep(0.005)
            await asyncio.to_thread(chain.end, signal.SIGKILL)
            port = urlsplit(chain.url).port or 0
            chain = await asyncio.to_thread(DevChainProcess, state, port)

    try:
        async with asyncio.timeout(110), asyncio.TaskGroup() as group:
            group.create_task(disturb())
            for task in range(tasks):
                group.create_task(work(range(task, payments, tasks)))
        eth = link.web3.eth
        for number in range(payments):
            balance = await eth.get_balance(Web3.to_checksum_address(payee(number)))
            assert balance == 1, f"payment {number} landed {balance} times"
        sent = await eth.get_transaction_count(Web3.to_checksum_address(dev_address(1)))
        assert sent == payments
    finally:
        sender.close()
        await link.close()
        chain.end()
    rows = read_transactions(home)
    assert [row.status for row in rows] == [Status.CONFIRMED] * payments


@pytest.mark.slow
def test_payments_land_once_while_the_chain_is_killed(tmp_path: Path) -> None:
    asyncio.run(pay_through_outages(tmp_path / "chain.db", tmp_path / "home", 24, 8))


@pytest.mark.deep
def test_200_payments_land_once_while_the_chain_is_killed(tmp_path: Path) -> None:
    asyncio.run(pay_through_outages(tmp_path / "chain.db", tmp_path / "home", 200, 8))
