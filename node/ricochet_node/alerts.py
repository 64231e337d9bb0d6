"""Tells the owner what should not wait until he looks: by webhook, and on his desktop.

The node's events are many; four kinds are alerts (`EVENTS`). Each goes to every channel the owner
chose, at most once in `REPEAT` seconds for the same thing, so that a refused key that a thousand
calls meet is one message. Sending never holds up the node: alerts wait in a bounded queue, a
webhook is tried three times, and what cannot be delivered is logged.

A message holds event names, ids and amounts, as the log does: no prompt, answer, key or passphrase.
"""

import asyncio
import shutil
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final

import aiohttp
import msgspec

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
PAUSES: Final = (1.0, 5.0)
"""Seconds before the second and the third try of a webhook."""
_TIMEOUT: Final = aiohttp.ClientTimeout(total=10)


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
        for pause in (*PAUSES, None):
            reason = await self._try_post(alert)
            if not reason:
                return
            if pause is not None:
                await asyncio.sleep(pause)
        self._log.event("alert_undelivered", alert=alert.kind, channel="webhook", reason=reason)

    async def _try_post(self, alert: Alert) -> str:
        """Empty when the webhook took it, else why not."""
        try:
            async with self._client.post(
                self._settings.webhook,
                data=msgspec.json.encode(alert),
                headers={"Content-Type": "application/json", "User-Agent": "ricochet"},
                allow_redirects=False,
                timeout=_TIMEOUT,
            ) as response:
                return "" if response.status < 300 else f"status {response.status}"
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return type(error).__name__

    async def _show(self, alert: Alert) -> None:
        command = desktop_command(alert)
        if command is None:
            self._log.event(
                "alert_undelivered", alert=alert.kind, channel="desktop", reason="no notifier"
            )
            return
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            async with asyncio.timeout(10):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


def desktop_command(alert: Alert) -> list[str] | None:
    """The system's own program that shows a notification; None where there is none."""
    if sys.platform == "darwin":
        program = shutil.which("osascript")
        # Title and text are arguments of the script, never part of its source.
        script = (
            "on run argv\n"
            "display notification (item 2 of argv) with title (item 1 of argv)\n"
            "end run"
        )
        arguments = ["-e", script, "Ricochet", alert.line()]
    else:
        program = shutil.which("notify-send")
        arguments = ["--app-name=Ricochet", "--", "Ricochet", alert.line()]
    return None if program is None else [program, *arguments]
