"""How each subscriber stands here at this moment: what only lives in memory.

The ledger knows what is due and vouchered; this knows what the chain has committed, as last read,
and what the calls in flight may cost at worst. Only what is confirmed counts as committed; a
reading replaces the one before, because a reorganisation may have taken some of it back.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from ricochet_node.admission import Standing
from ricochet_node.ledger import Account, Ledger
from ricochet_protocol.ids import Address, Period
from ricochet_protocol.messages import AccountState
from ricochet_protocol.money import Units
from ricochet_protocol.ports import Commitment, Settlement

MAX_KNOWN: Final = 4096
"""Subscribers remembered at once; the longest idle one is forgotten and has to say Hello."""


class Relay:
    """The relaying of one subscriber's reservations: one at a time, and no more after a failure."""

    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        self.failed = ""


class _Known:
    def __init__(self) -> None:
        self.committed = Units(0)
        self.in_flight = Units(0)
        self.relay = Relay()


class Standings:
    """Belongs to one event loop."""

    def __init__(self, ledger: Ledger, settlement: Settlement, operator: Address) -> None:
        self._ledger = ledger
        self._settlement = settlement
        self._operator = operator
        self._known: dict[tuple[Address, Period], _Known] = {}

    async def refresh(self, subscriber: Address, period: Period) -> Commitment:
        """Read the commitment from the chain; ChainError when it cannot be reached."""
        read = await self._settlement.commitment(subscriber, period, self._operator)
        self._of(subscriber, period).committed = read.confirmed
        return read

    def standing(self, subscriber: Address, period: Period) -> Standing:
        """What admission looks at."""
        known = self._of(subscriber, period)
        account = self._ledger.account(subscriber, period)
        return Standing(
            committed=known.committed,
            due=account.due,
            unpaid=account.unpaid,
            in_flight=known.in_flight,
        )

    def state(self, subscriber: Address, period: Period) -> AccountState:
        """What the subscriber is told."""
        account: Account = self._ledger.account(subscriber, period)
        return AccountState(
            period=period,
            committed=self._of(subscriber, period).committed,
            due=account.due,
            voucher=account.voucher,
        )

    @contextmanager
    def hold(self, subscriber: Address, period: Period, worst: Units) -> Iterator[None]:
        """Set `worst` aside while a call is open; its real cost becomes due before that ends."""
        known = self._of(subscriber, period)
        known.in_flight = Units(known.in_flight + worst)
        try:
            yield
        finally:
            known.in_flight = Units(known.in_flight - worst)

    def relay(self, subscriber: Address, period: Period) -> Relay:
        """The relaying state of one subscriber's period."""
        return self._of(subscriber, period).relay

    def _of(self, subscriber: Address, period: Period) -> _Known:
        key = (subscriber, period)
        known = self._known.pop(key, None) or _Known()
        self._known[key] = known  # the last one is the one used last
        if len(self._known) > MAX_KNOWN:
            self._forget_one()
        return known

    def _forget_one(self) -> None:
        # A failed relay is remembered as long as possible: forgetting it grants another attempt.
        idle = [key for key, known in self._known.items() if not known.in_flight]
        harmless = (key for key in idle if not self._known[key].relay.failed)
        forgotten = next(harmless, None) or next(iter(idle), None)
        if forgotten is not None:
            del self._known[forgotten]
