"""Edits of `keys:` in node.yaml take effect while the node runs, within seconds.

The file is looked at, because an editor tells nobody. What cannot be used changes nothing and is
logged: the rules of before stay. Offers are not part of this: a running node's models are those it
started with.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Protocol

import msgspec

from ricochet_node import config as node_config
from ricochet_node.key_limits import with_prices
from ricochet_node.key_rules import KeyRules
from ricochet_node.keystore import FILE_NAME as KEYS
from ricochet_node.keystore import Keystore
from ricochet_node.log import EventLog
from ricochet_protocol.errors import ConfigurationError, LocalFault

LOOK_SECONDS: Final = 2


class Ruled(Protocol):
    """Who enforces rules: a `VaultProcess`."""

    async def change_rules(self, rules: dict[str, KeyRules], /) -> None: ...


class RuleChanges:
    """Looks at one home's node.yaml on behalf of one vault."""

    def __init__(
        self, home: Path, rules: Mapping[str, KeyRules], vault: Ruled, log: EventLog
    ) -> None:
        """`rules` are those that the vault has now, of every key it has unlocked."""
        self._home = home
        self._vault = vault
        self._log = log
        self._rules = dict(rules)
        self._seen = self._mark()

    async def look(self) -> None:
        """Hand over the rules if they changed; LocalFault when the vault has ended."""
        mark = self._mark()
        if mark == self._seen:
            return
        self._seen = mark
        try:
            rules = self._read()
        except ConfigurationError as error:
            self._log.event("limits_refused", reason=str(error))
            return
        if rules != self._rules:
            await self._vault.change_rules(rules)
            self._rules = rules
            self._log.event("limits_changed", keys=", ".join(rules))

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

    def _read(self) -> dict[str, KeyRules]:
        limits = node_config.load(self._home).limits
        providers = {info.id: info.provider for info in Keystore(self._home / KEYS).list()}
        rules = {}
        for key, old in self._rules.items():
            new = msgspec.structs.replace(limits.get(key, KeyRules()), models=old.models)
            rules[key] = with_prices(new, key, providers.get(key, ""))
        return rules

    def _mark(self) -> tuple[int, int, int] | None:
        try:
            stat = (self._home / node_config.FILE_NAME).stat()
        except OSError:
            return None
        return stat.st_mtime_ns, stat.st_size, stat.st_ino
