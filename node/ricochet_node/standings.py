"""How each subscriber stands here at this moment, by the rules of `payee`.

What is due and vouchered is on the ledger's disk, what is committed and earned on the chain: each
Hello reads it. A standing is made of both and kept in memory as events change it. Only the parts of
open calls live in memory alone, and they end with the process. A reading of the chain replaces the
one before, because a reorganisation may have taken some of it back.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from ricochet_node.ledger import Ledger
from ricochet_protocol import payee
from ricochet_protocol.ids import Address, Period
from ricochet_protocol.messages import AccountState
from ricochet_protocol.money import Units
from ricochet_protocol.payee import Payee, Short
from ricochet_protocol.ports import Commitment, Settlement

MAX_KNOWN: Final = 4096
"""Subscribers remembered at once; the longest idle one is forgotten and has to say Hello."""


class Standing:
    """One subscriber's period: its state, and who waits for it to change."""

    def __init__(self, state: Payee, cap: Units) -> None:
        self.state = state
        self.cap = cap
        self.relaying = asyncio.Lock()
        self.relay_error = ""
        self._changed = asyncio.Event()

    def take(self, event: payee.Event) -> None:
        """Go on to the state after `event`, and wake those who wait."""
        self.state = payee.after(self.state, event)
        self._changed.set()
        self._changed = asyncio.Event()

    def owing(self) -> Short | None:
        """What has to be paid for what was served and secured already; None after a good run."""
        return payee.extend(self.state, Units(0), self.cap)

    @property
    def idle(self) -> bool:
        """Whether nobody works with it now."""
        return not (self.state.in_flight or self.relaying.locked())

    async def changed(self) -> None:
        """Wait for the next event."""
        await self._changed.wait()


class Tab:
    """What one open call has had secured, until `bill` or `charge` turns it into what is due."""

    def __init__(self, standing: Standing, worst: Units, opening: Units) -> None:
        self.standing = standing
        self.backed = opening
        self._worst = worst
        self.open = True
        standing.take(payee.Opened(worst=worst, opening=opening))

    def short_of(self, value: Units) -> Short | None:
        """What is missing for a call worth `value`; None when it can be secured."""
        step = Units(max(0, value - self.backed))
        return payee.extend(self.standing.state, step, self.standing.cap)

    def secure(self, value: Units) -> Short | None:
        """Have `value` secured in all; what is missing when that cannot be."""
        if value <= self.backed:
            return None
        short = self.short_of(value)
        if short is None:
            self.standing.take(payee.Extended(step=Units(value - self.backed)))
            self.backed = value
        return short

    def short_of_bill(self, cost: Units) -> Short | None:
        """What is missing for the end of an answer that costs `cost`."""
        return payee.finish(self.standing.state, self.backed, cost, self.standing.cap)

    def bill(self, cost: Units) -> None:
        """The call has ended with a receipt, which is on its way to the disk."""
        self._end(payee.Finished(worst=self._worst, backed=self.backed, cost=cost))

    def unbill(self, cost: Units) -> None:
        """The receipt of the bill did not reach the disk, so nothing is due for it."""
        self.standing.take(payee.Unwritten(cost=cost))

    def charge(self, cost: Units) -> None:
        """The client has left when `cost` had been delivered, which is on disk."""
        self._end(payee.Dropped(worst=self._worst, backed=self.backed, charged=cost))

    def close(self) -> None:
        """Free what is still held: the node's side has failed, and nothing is due."""
        if self.open:
            self.charge(Units(0))

    def _end(self, event: payee.Finished | payee.Dropped) -> None:
        self.open = False
        self.standing.take(event)


class Standings:
    """Belongs to one event loop; `cap` is the most that anybody may owe."""

    def __init__(
        self,
        ledger: Ledger,
        settlement: Settlement,
        operator: Address,
        cap: Units = payee.CREDIT_CAP,
    ) -> None:
        self._ledger = ledger
        self._settlement = settlement
        self._operator = operator
        self._cap = cap
        self._known: dict[tuple[Address, Period], Standing] = {}

    async def refresh(self, subscriber: Address, period: Period) -> Commitment:
        """Read the chain's part; ChainError when it cannot be reached."""
        held = await self._settlement.commitment(subscriber, period, self._operator)
        earned = await self._settlement.earned(subscriber, self._operator)
        standing = self.of(subscriber, period)
        standing.take(payee.Committed(held.confirmed))
        standing.take(payee.Earned(earned))
        standing.take(payee.Owed(self._ledger.owed(subscriber, period)))
        return held

    def known(self) -> tuple[tuple[Address, Period], ...]:
        """Whose standing is remembered, the one used last at the end."""
        return tuple(self._known)

    def account(self, subscriber: Address, period: Period) -> AccountState:
        """What the subscriber is told."""
        state = self.of(subscriber, period).state
        return AccountState(
            period=period,
            committed=state.committed,
            due=state.due,
            credit=state.credit(self._cap),
            voucher=self._ledger.account(subscriber, period).voucher,
        )

    @contextmanager
    def open_tab(
        self, subscriber: Address, period: Period, worst: Units, opening: Units
    ) -> Iterator[Tab]:
        """Hold `worst` and secure `opening` while a call is open."""
        tab = Tab(self.of(subscriber, period), worst, opening)
        try:
            yield tab
        finally:
            tab.close()

    def of(self, subscriber: Address, period: Period) -> Standing:
        """The standing of one subscriber's period."""
        key = (subscriber, period)
        known = self._known.pop(key, None) or self._from_disk(subscriber, period)
        self._known[key] = known  # the last one is the one used last
        if len(self._known) > MAX_KNOWN:
            self._forget_one()
        return known

    def _from_disk(self, subscriber: Address, period: Period) -> Standing:
        account = self._ledger.account(subscriber, period)
        state = Payee(vouchered=account.vouchered, due=account.due)
        return Standing(state, self._cap)

    def _forget_one(self) -> None:
        # A failed relay is remembered as long as possible: forgetting it grants another attempt.
        idle = [key for key, known in self._known.items() if known.idle]
        harmless = (key for key in idle if not self._known[key].state.relay_failed)
        forgotten = next(harmless, None) or next(iter(idle), None)
        if forgotten is not None:
            del self._known[forgotten]
