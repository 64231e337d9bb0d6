"""Vouchers on their way: each answer is paid for in a task that its run need not wait for.

A voucher that cannot be delivered is in the store, and goes out at the next contact with its node.
"""

import asyncio

from ricochet_orchestrator.client import NodeClient
from ricochet_orchestrator.dispatch import Dispatcher
from ricochet_orchestrator.offers import Offers
from ricochet_orchestrator.progress import PaymentDelayed, printable
from ricochet_orchestrator.setting import Setting
from ricochet_protocol.errors import ChainError, RemoteFault
from ricochet_protocol.ids import Period


class Payments:
    """One run's; whoever makes it ends it."""

    def __init__(
        self, setting: Setting, period: Period, offers: Offers, dispatcher: Dispatcher
    ) -> None:
        self._store = setting.store
        self._tell = setting.tell
        self._period = period
        self._offers = offers
        self._dispatcher = dispatcher
        self._out: set[asyncio.Task[None]] = set()

    def start(self, client: NodeClient) -> None:
        """Deliver what is owed to a node."""
        self._out.add(asyncio.create_task(self._pay(client)))

    async def _pay(self, client: NodeClient) -> None:
        try:
            await client.settle()
        except (RemoteFault, ChainError) as error:
            self._tell(PaymentDelayed(client.peer, printable(error.message)))

    async def settle(self, stopped: asyncio.Task[bool], patience: float) -> None:
        """Wait so many seconds for payments, those that earlier runs could not deliver included."""
        owed = {
            account.node
            for account in self._store.accounts(self._period)
            if account.acknowledged < account.signed
        }
        for signed in self._offers.believed():
            if signed.advert.operator in owed:
                client = self._dispatcher.client(signed)
                self.start(client)
        loop = asyncio.get_running_loop()
        give_up = loop.time() + patience
        while self._out and not stopped.done() and loop.time() < give_up:
            await asyncio.wait(
                {*self._out, stopped},
                timeout=give_up - loop.time(),
                return_when=asyncio.FIRST_COMPLETED,
            )
            self.reap()

    def reap(self) -> None:
        """Take up those that have ended; what broke is raised."""
        for task in [task for task in self._out if task.done()]:
            self._out.remove(task)
            task.result()

    async def end(self) -> None:
        """Leave nothing running."""
        for task in self._out:
            task.cancel()
        await asyncio.gather(*self._out, return_exceptions=True)
