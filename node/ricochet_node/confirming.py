"""Reads again what the chain has confirmed for those who are served here, from time to time.

Blocks that come confirm a reservation, and a reorganisation takes one back, without any message
from the subscriber: what counts as payment has to follow both.
"""

import asyncio
from typing import Final

from ricochet_node.log import EventLog
from ricochet_node.standings import Standings
from ricochet_protocol.errors import ChainError, LocalFault

PAUSE: Final = 15
"""Seconds between readings; a block of Ethereum takes 12."""
MOST: Final = 64
"""Subscribers read in one round, those used last; the others are read at their next Hello."""


class Confirming:
    """`run` reads again and again; a chain that cannot be reached changes nothing."""

    def __init__(self, standings: Standings, log: EventLog) -> None:
        self._standings = standings
        self._log = log
        self._failed = ""

    async def run(self) -> None:
        """One round after another; ends only by cancellation."""
        while True:
            await asyncio.sleep(PAUSE)
            await self.round()

    async def round(self) -> None:
        """Read the commitments used last; the first failure ends the round, and is logged once."""
        try:
            for subscriber, period in self._standings.known()[-MOST:]:
                await self._standings.refresh(subscriber, period)
        except (ChainError, LocalFault) as error:
            if self._failed != error.code:
                self._log.event(
                    "chain_unread", code=error.code, message=error.message, hint=error.hint
                )
            self._failed = error.code
        else:
            self._failed = ""
