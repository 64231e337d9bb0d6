"""Edits of node.yaml take effect while the node runs, within seconds.

Offers, prices, slots, limits, guests, region and the owner's consent to keep what was said
(`monitoring.content`) do; the rest of `FIXED` and offers with keys that the running
vault has not unlocked wait for the next start, which is logged. The file is looked at, because an
editor tells nobody. What cannot be used changes nothing and is logged: what held before stays.

A price holds for whoever has seen it: `serve` bills each ask at the prices of the advert it names.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Protocol

import msgspec

from ricochet_node import config as node_config
from ricochet_node.config import NodeConfig
from ricochet_node.key_rules import KeyRules
from ricochet_node.log import EventLog
from ricochet_node.monitoring import Monitoring
from ricochet_node.offer import Offer
from ricochet_protocol.errors import ConfigurationError, LocalFault

LOOK_SECONDS: Final = 2
FIXED: Final = ("listen", "announce", "door", "claim", "monitoring", "credit_cap", "relay")
"""Fields that hold from the next start on."""
_HINT: Final = "run `ricochet node stop`, then `ricochet node start`"


class Ruled(Protocol):
    """Who enforces rules: a `VaultProcess`."""

    async def change_rules(self, rules: dict[str, KeyRules], /) -> None: ...


class LiveConfig:
    """Looks at one home's node.yaml on behalf of one vault and one node."""

    def __init__(
        self,
        home: Path,
        started: NodeConfig,
        check: Callable[[], NodeConfig],
        vault: Ruled,
        apply: Callable[[NodeConfig], None],
        log: EventLog,
    ) -> None:
        """`started` is what the node and its vault began with, `check` what the file says now.

        `apply` makes the node go by a configuration; its `limits` are those the vault enforces.
        """
        self._home = home
        self._started = started
        self._check = check
        self._vault = vault
        self._apply = apply
        self._log = log
        self._now = started
        self._waiting: tuple[str, ...] = ()
        self._seen = self._mark()

    async def look(self) -> None:
        """Take up what changed; LocalFault when the vault has ended."""
        mark = self._mark()
        if mark == self._seen:
            return
        self._seen = mark
        try:
            wanted = self._check()
        except ConfigurationError as error:
            self._log.event(
                "config_refused", code=error.code, reason=error.message, hint=error.hint
            )
            return
        self._tell_waiting(wanted)
        usable = self._usable(wanted)
        if usable == self._now:
            return
        # First what both need: a call under way must not meet a vault that has lost its model.
        await self._vault.change_rules(_both(usable.limits, self._now.limits))
        self._apply(usable)
        await self._vault.change_rules(dict(usable.limits))
        self._log.event("config_changed", fields=", ".join(_differing(usable, self._now)))
        self._now = usable

    @asynccontextmanager
    async def followed(self) -> AsyncIterator[None]:
        """Look every few seconds inside the context."""
        task = asyncio.create_task(self._follow())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self.look()
            except LocalFault:
                return  # whoever waits for the vault's end says so

    def _usable(self, wanted: NodeConfig) -> NodeConfig:
        """What of it can hold now."""
        unlocked = self._started.keys
        none = KeyRules(models=())
        usable = msgspec.structs.replace(
            self._now,
            limits={key: wanted.limits.get(key, none) for key in unlocked},
            region=wanted.region,
            monitoring=_consenting(self._now.monitoring, wanted.monitoring.content),
        )
        if self._turns_private(wanted):
            return usable
        offers = tuple(_served(wanted.offers, unlocked))
        return msgspec.structs.replace(usable, offers=offers, guests=wanted.guests)

    def _turns_private(self, wanted: NodeConfig) -> bool:
        """Whether it would change between selling and serving only its owner's accounts."""
        return bool(wanted.guests.private) != bool(self._started.guests.private)

    def _tell_waiting(self, wanted: NodeConfig) -> None:
        """Log what holds only from the next start on, once."""
        began = self._started
        monitoring = _consenting(wanted.monitoring, began.monitoring.content)
        fixed = msgspec.structs.replace(wanted, monitoring=monitoring)
        waiting = [field for field in FIXED if getattr(fixed, field) != getattr(began, field)]
        if self._turns_private(wanted):
            waiting.append("private")
        waiting += [f"key {key}" for key in wanted.keys if key not in self._started.keys]
        if tuple(waiting) != self._waiting and waiting:
            self._log.event("restart_needed", fields=", ".join(waiting), hint=_HINT)
        self._waiting = tuple(waiting)

    def _mark(self) -> tuple[int, int, int] | None:
        try:
            stat = (self._home / node_config.FILE_NAME).stat()
        except OSError:
            return None
        return stat.st_mtime_ns, stat.st_size, stat.st_ino


def _consenting(monitoring: Monitoring, content: bool) -> Monitoring:
    return msgspec.structs.replace(monitoring, content=content)


def _served(offers: Iterable[Offer], keys: Collection[str]) -> Iterable[Offer]:
    """The offers as far as these keys serve them."""
    for offer in offers:
        sources = [source for source in offer.sources if source.key in keys]
        if len(sources) == len(offer.sources):
            yield offer
        elif sources:
            yield offer.over(sources)


def _both(new: Mapping[str, KeyRules], old: Mapping[str, KeyRules]) -> dict[str, KeyRules]:
    """The new rules for the models of both."""
    return {
        key: msgspec.structs.replace(
            rules,
            models=tuple(dict.fromkeys((*(rules.models or ()), *(old[key].models or ())))),
            prices=old[key].prices | rules.prices,
        )
        for key, rules in new.items()
    }


def _differing(new: NodeConfig, old: NodeConfig) -> list[str]:
    fields = ("offers", "limits", "guests", "region")
    differing = [field for field in fields if getattr(new, field) != getattr(old, field)]
    if new.monitoring.content != old.monitoring.content:
        differing.append("monitoring.content")
    return differing
