"""Tells the owner what should not wait until he looks: by webhook, and on his desktop.

The node's events are many; four kinds are alerts (`EVENTS`). Each goes to every channel the owner
chose, at most once in `REPEAT` seconds for the same thing, so that a refused key that a thousand
calls meet is one message. Sending never holds up the node: alerts wait in a bounded queue, a
webhook is tried three times, and what cannot be delivered is logged.

A message holds event names, ids and amounts, as the log does: no prompt, answer, key or passphrase.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final

import aiohttp
import msgspec

from ricochet_network.notices import post_notice, show_notice
from ricochet_node.log import EventLog, Field
from ricochet_node.monitoring import AlertKind, Monitoring

EVENTS: Final[Mapping[str, AlertKind]] = {
    "key_refused": "key_refused",
    "offer_withdrawn": "key_refused",
    "cap_reached": "cap_reached",
    "withdrawn": "payout_confirmed",
    "unreachable": "node_unreachable",
}
"""Which logged events are alerts."""
TITLES: Final[Mapping[AlertKind, str]] = {
    "key_refused": "a provider refuses your key",
    "cap_reached": "a spending cap is reached",
    "payout_confirmed": "a payout has arrived",
    "node_unreachable": "your node is cut off from all other peers",
}
REPEAT: Final = 3600.0
"""Seconds before the same alert about the same thing is sent again."""
QUEUE: Final = 100


class Alert(msgspec.Struct, frozen=True):
    """One message. `fields` are those of the event in the log."""

    kind: AlertKind
    title: str
    time: float
    fields: dict[str, Field]

    @property
    def about(self) -> tuple[Field, ...]:
        """What makes it the same alert again: its kind, and the key, period or sum it names."""
        return (self.kind, *(self.fields.get(name) for name in ("key", "period", "withdrawn")))

    def line(self) -> str:
        """For a person."""
        rest = ", ".join(f"{name} {value}" for name, value in self.fields.items())
        return f"{self.title}: {rest}" if rest else self.title


class Alerts:
    """Listens to an `EventLog`; `sending` delivers."""

    def __init__(
        self,
        settings: Monitoring,
        client: aiohttp.ClientSession,
        clock: Callable[[], float],
        log: EventLog,
    ) -> None:
        self._settings = settings
        self._client = client
        self._clock = clock
        self._log = log
        self._queue: asyncio.Queue[Alert] = asyncio.Queue(QUEUE)
        self._sent: dict[tuple[Field, ...], float] = {}

    def hear(self, event: str, fields: Mapping[str, Field]) -> None:
        """Queue an alert when the event is one that is wanted and was not told lately."""
        kind = EVENTS.get(event)
        if kind is None or kind not in self._settings.alerts:
            return
        alert = Alert(kind=kind, title=TITLES[kind], time=self._clock(), fields=dict(fields))
        if self._sent.get(alert.about, -REPEAT) + REPEAT > alert.time:
            return
        try:
            self._queue.put_nowait(alert)
        except asyncio.QueueFull:
            return  # `QUEUE` alerts wait already, and all are in the log
        self._sent = {
            about: time for about, time in self._sent.items() if time + REPEAT > alert.time
        }
        self._sent[alert.about] = alert.time

    @asynccontextmanager
    async def sending(self) -> AsyncIterator[None]:
        """Send what is queued while the context lasts."""
        task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            alert = await self._queue.get()
            if self._settings.webhook:
                await self._post(alert)
            if self._settings.desktop:
                await self._show(alert)

    async def _post(self, alert: Alert) -> None:
        body = msgspec.json.encode(alert)
        self._note(alert, "webhook", await post_notice(self._client, self._settings.webhook, body))

    async def _show(self, alert: Alert) -> None:
        self._note(alert, "desktop", await show_notice(alert.line()))

    def _note(self, alert: Alert, channel: str, reason: str) -> None:
        if reason:
            self._log.event("alert_undelivered", alert=alert.kind, channel=channel, reason=reason)
