"""Takes vouchers to the contract in batches, and the income to the operator's payout address.

Vouchers are cumulative and the chain says how much of each it has paid, so a crash between a claim
and the note of it costs nothing: the next round reads the chain first. A chain that cannot be
reached, or a gas account that is empty, is logged and tried again at the next interval.
"""

import asyncio
from typing import Final

import msgspec

from ricochet_node.config import ClaimSettings
from ricochet_node.ledger import Ledger, Unclaimed
from ricochet_node.log import EventLog
from ricochet_protocol.errors import BudgetError, ChainError
from ricochet_protocol.ids import Address
from ricochet_protocol.money import Units
from ricochet_protocol.ports import Outcome, Settlement
from ricochet_settlement.skip import Skip

BATCH: Final = 50
"""Vouchers in one transaction: about 6 million gas, a fifth of a block."""
_HOPELESS: Final = frozenset(
    {Skip.NO_PERIOD, Skip.WINDOW_ENDED, Skip.BAD_SIGNATURE, Skip.NOTHING_PAYABLE}
)
"""Reasons that the same voucher meets again; asking costs gas. A higher voucher is asked anew."""


class Settled(msgspec.Struct, frozen=True):
    """What one round did: vouchers paid by, before commission, and sent to the payout address."""

    claimed: Units
    withdrawn: Units


class Claimer:
    """`run` claims at intervals; `settle` claims now. Both may be used at once."""

    def __init__(
        self,
        settlement: Settlement,
        ledger: Ledger,
        operator: Address,
        settings: ClaimSettings,
        log: EventLog,
    ) -> None:
        self._settlement = settlement
        self._ledger = ledger
        self._operator = operator
        self._settings = settings
        self._log = log
        self._turn = asyncio.Lock()

    async def run(self) -> None:
        """Settle whenever enough has come together; ends only by cancellation."""
        while True:
            await asyncio.sleep(self._settings.interval)
            await self.round()

    async def round(self) -> None:
        """One look: settle if the vouchers add up to the minimum; failures are logged."""
        if self._ledger.unclaimed_sum() < max(1, self._settings.minimum):
            return
        try:
            await self.settle()
        except (ChainError, BudgetError) as error:
            self._log.event("claim_failed", code=error.code, message=error.message, hint=error.hint)

    async def settle(self) -> Settled:
        """Claim every voucher and withdraw; ChainError or BudgetError, by which nothing is lost."""
        async with self._turn:
            claimed = 0
            unclaimed = self._ledger.unclaimed()
            for start in range(0, len(unclaimed), BATCH):
                claimed += await self._claim(unclaimed[start : start + BATCH])
            withdrawn = await self._settlement.withdraw(self._operator)
        if claimed or withdrawn:
            self._log.event("settled", claimed=claimed, withdrawn=withdrawn)
        return Settled(claimed=Units(claimed), withdrawn=withdrawn)

    async def _claim(self, batch: tuple[Unclaimed, ...]) -> int:
        claimed = 0
        outcomes = await self._settlement.claim([entry.voucher for entry in batch])
        for entry, outcome in zip(batch, outcomes, strict=True):
            claimed += await self._note(entry, outcome)
        return claimed

    async def _note(self, entry: Unclaimed, outcome: Outcome) -> int:
        voucher = entry.voucher.voucher
        paid = await self._settlement.commitment(voucher.subscriber, voucher.period, self._operator)
        self._ledger.note_claimed(voucher.subscriber, voucher.period, paid.claimed)
        if not outcome.accepted:
            hopeless = outcome.reason in _HOPELESS
            if hopeless:
                self._ledger.note_void(entry.voucher, outcome.reason)
            self._log.event(
                "claim_skipped",
                subscriber=voucher.subscriber,
                period=voucher.period,
                units=voucher.cumulative - paid.claimed,
                reason=outcome.reason,
                given_up=hopeless,
            )
        return max(0, paid.claimed - entry.claimed)
