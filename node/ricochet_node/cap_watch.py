"""Tells the owner, once for each, that a cap of his keeps a key from working.

The vault refuses a call as soon as its worst case does not fit under the cap, and says until when.
So the event comes when calls begin to be turned away, which is before the last unit is spent.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from ricochet_node.faults import ProviderFault
from ricochet_node.log import EventLog

_CAPS: Final = {"cap_day": "day", "cap_month": "month"}


class CapWatch:
    """Hears every refusal of the vault; `clock` tells Unix seconds."""

    def __init__(self, clock: Callable[[], float], log: EventLog) -> None:
        self._clock = clock
        self._log = log
        self._until: dict[tuple[str, str], float] = {}

    def hear(self, key: str, fault: ProviderFault) -> None:
        """Log `cap_reached` with key, period and renewal, unless it was told of this period."""
        period = _CAPS.get(fault.refusal)
        if period is None:
            return
        now = self._clock()
        if now < self._until.get((key, period), now):
            return
        renews = now + (fault.retry_after or 0)
        self._until[key, period] = renews
        self._log.event(
            "cap_reached",
            key=key,
            period=period,
            renews=datetime.fromtimestamp(renews, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            hint=f"it works again then; to raise the cap, edit `keys: {{{key}: "
            f"{{per_{period}: ...}}}}` in node.yaml",
        )
