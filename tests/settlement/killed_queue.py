"""Processes that kill themselves while they pay: `killed_queue.py URL FOLDER`, run by a test.

One process for each point, forked so that the libraries are imported once. Each pays OTHER from an
account of its own, under the key `payment`, and dies by SIGKILL at its point.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path

from ricochet_protocol.ids import Address
from ricochet_settlement.link import Link
from ricochet_settlement.transaction import Intent, Status, Transaction
from ricochet_settlement.transaction_chain import Mined, Reception, RpcChain
from ricochet_settlement.transaction_queue import TransactionQueue

POINTS = ("queued", "signed", "sent", "mined", "confirmed")


def key_of(point: str) -> bytes:
    return bytes([0xC0 + POINTS.index(point)]) * 32


def payee_of(point: str) -> Address:
    return Address("0x" + f"{0xD0 + POINTS.index(point):x}" * 20)


class DyingChain(RpcChain):
    """Dies where its point says."""

    def __init__(self, link: Link, point: str) -> None:
        super().__init__(link)
        self._point = point

    async def estimate(self, account: Address, intent: Intent) -> int:
        self._die("queued")
        return await super().estimate(account, intent)

    async def broadcast(self, raw: bytes) -> Reception:
        self._die("signed")
        reception = await super().broadcast(raw)
        self._die("sent")
        return reception

    async def mined(self, transaction_hash: bytes) -> Mined | None:
        mined = await super().mined(transaction_hash)
        self._die("mined")
        return mined

    def watch(self, row: Transaction) -> None:
        if row.status is Status.CONFIRMED:
            self._die("confirmed")

    def _die(self, point: str) -> None:
        if point == self._point:
            os.kill(os.getpid(), signal.SIGKILL)


async def pay(url: str, home: Path, point: str) -> None:
    chain = DyingChain(Link(url), point)
    queue = TransactionQueue(chain, key_of(point), home, chain.watch)
    await queue.send(payee_of(point), b"", 7, key="payment")


def main() -> None:
    for point in POINTS:
        child = os.fork()
        if not child:
            asyncio.run(pay(sys.argv[1], Path(sys.argv[2]) / point, point))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(point, os.WTERMSIG(status) if os.WIFSIGNALED(status) else "lives", flush=True)


if __name__ == "__main__":
    main()
