"""What the owner's own calls used, by model: the part of `sales` that brings nothing.

Nothing hangs on these figures, and the request log has each call, so they are written once a second
for all calls that ended since, and at the end; a crash takes a second's count.
"""

import asyncio
from typing import Final

from ricochet_node.ledger import Ledger
from ricochet_protocol.errors import LocalFault
from ricochet_protocol.ids import ModelId

PAUSE: Final = 1.0
"""Seconds between writes."""


class OwnTally:
    """Adds up, and writes into the ledger."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._open: dict[ModelId, tuple[int, int, int]] = {}

    def add(self, model: ModelId, tokens_in: int, tokens_out: int) -> None:
        """One call that was answered."""
        calls, before_in, before_out = self._open.get(model, (0, 0, 0))
        self._open[model] = (calls + 1, before_in + tokens_in, before_out + tokens_out)

    def write(self) -> None:
        """Hand over what there is; a ledger that cannot be written gets it with the next time."""
        if not self._open:
            return
        try:
            self._ledger.use(self._open)
        except LocalFault:
            return
        self._open = {}

    async def run(self) -> None:
        """Write again and again; ends only by cancellation, and then with all written."""
        try:
            while True:
                await asyncio.sleep(PAUSE)
                self.write()
        finally:
            self.write()
