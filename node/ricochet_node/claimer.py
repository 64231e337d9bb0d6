"""Takes vouchers to the contract, rarely and in batches, and the income to the payout address.

Vouchers are cumulative and the chain says how much of each it has paid, so a crash at any point
costs nothing: every round reads the chain first and claims what is missing. What must be claimed,
and what is worth its gas, is decided in `claiming.py`.

A chain that cannot be reached, or a gas account that is empty, is logged and tried again: soon at
first, then at the usual interval. A voucher that the contract would not pay is noted with the
reason and not sent again until the budget or the node's commitment grows, or a higher one comes.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from ricochet_node import claiming
from ricochet_node.claiming import Claimable
from ricochet_node.config import ClaimSettings
from ricochet_node.ledger import Entry, Ledger
from ricochet_node.log import EventLog
from ricochet_protocol.eip712 import Voucher
from ricochet_protocol.errors import BudgetError, ChainError, LocalFault
from ricochet_protocol.ids import Address
from ricochet_protocol.money import CLAIM_WINDOW, Units, node_share
from ricochet_protocol.ports import Commitment, Outcome, Settlement
from ricochet_settlement.skip import Skip

BATCH: Final = 50
"""Vouchers in one transaction: about 6 million gas, a fifth of a block."""
FIRST_RETRY: Final = 15
"""Seconds until a failed round is tried again; doubled at each failure up to the interval."""
LAST_CLAIM_SECONDS: Final = 45
"""What a node that stops gives its last claim: with the drain's 30 it stays under the 90 seconds
after which systemd kills."""
_HOPELESS: Final = frozenset({Skip.WINDOW_ENDED, Skip.BAD_SIGNATURE, Skip.NOTHING_PAYABLE})
"""Reasons that the same voucher meets again while its backing stays; asking costs gas."""


class Settled(msgspec.Struct, frozen=True):
    """What one round did: vouchers paid by, before commission, and sent to the payout address."""

    claimed: Units
    withdrawn: Units


class Claimer:
    """`run` claims by the settings; `claim`, `withdraw` and `settle` at once. All may overlap."""

    def __init__(
        self,
        settlement: Settlement,
        ledger: Ledger,
        operator: Address,
        settings: ClaimSettings,
        clock: Callable[[], float],
        log: EventLog,
    ) -> None:
        self._settlement = settlement
        self._ledger = ledger
        self._operator = operator
        self._settings = settings
        self._clock = clock
        self._log = log
        self._turn = asyncio.Lock()
        self._failures = 0
        self._next_look = 0.0

    @property
    def pause(self) -> int:
        """Seconds until the next round."""
        if not self._failures:
            return self._settings.interval
        return min(self._settings.interval, FIRST_RETRY << min(self._failures - 1, 16))

    async def run(self) -> None:
        """One round after another; ends only by cancellation."""
        while True:
            await asyncio.sleep(self.pause)
            await self.round()

    async def round(self) -> None:
        """Claim what is due by the settings; a failure is logged, and shortens the next pause."""
        loop = asyncio.get_running_loop()
        if self._ledger.unclaimed_sum() < self._minimum and loop.time() < self._next_look:
            return
        try:
            async with self._turn:
                await self._claim_due()
        except (ChainError, BudgetError, LocalFault) as error:
            self._failures += 1
            self._log.event("claim_failed", code=error.code, message=error.message, hint=error.hint)
        else:
            self._failures = 0
            self._next_look = loop.time() + self._settings.look

    async def finish(self) -> None:
        """One more round before the node ends, if the minimum is reached; within 45 seconds."""
        if self._ledger.unclaimed_sum() < self._minimum:
            return
        try:
            async with asyncio.timeout(LAST_CLAIM_SECONDS):
                await self.round()
        except TimeoutError:
            self._log.event("last_claim_late", unclaimed=self._ledger.unclaimed_sum())

    async def claim(self) -> Units:
        """Claim every voucher, whatever it costs; ChainError or BudgetError lose nothing."""
        async with self._turn:
            return await self._claim([one for one in await self._look() if one.payable])

    async def withdraw(self) -> Units:
        """Send what is on the contract to the payout address; ChainError or BudgetError."""
        async with self._turn:
            return await self._withdraw()

    async def settle(self) -> Settled:
        """Claim and withdraw."""
        return Settled(claimed=await self.claim(), withdrawn=await self.withdraw())

    @property
    def _minimum(self) -> Units:
        return Units(max(1, self._settings.minimum))

    async def _claim_due(self) -> None:
        chosen = claiming.choose(await self._look(), self._settings)
        for start in range(0, len(chosen), BATCH):
            batch = await self._affordable(chosen[start : start + BATCH])
            await self._claim(batch)
        if await self._settlement.withdrawable(self._operator) >= node_share(self._minimum):
            await self._withdraw()

    async def _look(self) -> list[Claimable]:
        """Read the chain for every live entry, note what it says, and judge the vouchers."""
        time = await self._settlement.chain_time()
        found = []
        for entry in self._ledger.live():
            claimable = await self._look_at(entry, time)
            if claimable is not None:
                found.append(claimable)
        return found

    async def _look_at(self, entry: Entry, time: int) -> Claimable | None:
        period = await self._settlement.period(entry.subscriber, entry.period)
        if period is None:
            return None  # only a reorganisation takes a period away, and it brings it back
        held = await self._settlement.commitment(entry.subscriber, entry.period, self._operator)
        closed = time >= period.end + CLAIM_WINDOW
        self._ledger.note_chain(
            entry.subscriber,
            entry.period,
            claimed=held.claimed,
            ends=period.end,
            backing=Units(period.budget + held.committed),
            closed=closed,
        )
        # Read again: while the chain was asked, a higher voucher may have come.
        account = self._ledger.account(entry.subscriber, entry.period)
        signed = account.voucher
        if signed is None or account.vouchered <= held.claimed or account.void:
            return None
        if closed:
            self._tell(signed.voucher, held.claimed, Skip.WINDOW_ENDED, given_up=True)
            return None
        # An idle development chain mines no blocks, so its time alone can be days behind.
        now = max(time, int(self._clock()))
        signer = signed.signer(self._settlement.domain)
        claimable = claiming.judge(signed, signer, period, held, now, self._settings)
        if not claimable.payable:
            self._give_up(claimable, held, Skip.NOTHING_PAYABLE)
        return claimable

    async def _affordable(self, batch: Sequence[Claimable]) -> Sequence[Claimable]:
        """The batch without those that do not pay for their gas; each leaving changes its price."""
        while batch and self._settings.ether_price:
            wei = await self._settlement.claim_cost([one.voucher for one in batch])
            kept = claiming.affordable(batch, wei, self._settings)
            if len(kept) == len(batch):
                break
            self._log.event("claim_postponed", vouchers=len(batch) - len(kept), wei=wei)
            batch = kept
        return batch

    async def _claim(self, chosen: Sequence[Claimable]) -> Units:
        claimed = 0
        for start in range(0, len(chosen), BATCH):
            batch = chosen[start : start + BATCH]
            outcomes = await self._settlement.claim([one.voucher for one in batch])
            for one, outcome in zip(batch, outcomes, strict=True):
                claimed += await self._note(one, outcome)
        if claimed:
            self._log.event("claimed", claimed=claimed)
        return Units(claimed)

    async def _note(self, one: Claimable, outcome: Outcome) -> int:
        voucher = one.voucher.voucher
        held = await self._settlement.commitment(voucher.subscriber, voucher.period, self._operator)
        self._ledger.note_claimed(voucher.subscriber, voucher.period, held.claimed)
        if not outcome.accepted:
            if outcome.reason in _HOPELESS:
                self._give_up(one, held, outcome.reason)
            else:
                self._tell(voucher, held.claimed, outcome.reason, given_up=False)
        return max(0, held.claimed - one.claimed)

    async def _withdraw(self) -> Units:
        withdrawn = await self._settlement.withdraw(self._operator)
        if withdrawn:
            self._log.event("withdrawn", withdrawn=withdrawn)
        return withdrawn

    def _give_up(self, one: Claimable, held: Commitment, reason: str) -> None:
        self._ledger.note_void(one.voucher, reason, Units(one.budget + held.committed))
        self._tell(one.voucher.voucher, held.claimed, reason, given_up=True)

    def _tell(self, voucher: Voucher, claimed: Units, reason: str, *, given_up: bool) -> None:
        self._log.event(
            "claim_skipped",
            subscriber=voucher.subscriber,
            period=voucher.period,
            units=voucher.cumulative - claimed,
            reason=reason,
            given_up=given_up,
        )
