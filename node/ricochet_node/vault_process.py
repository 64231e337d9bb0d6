"""Starts the vault and stops it: the parent's side of `vault.py`.

It is started in isolation (`isolated.py`); what it must know goes through its stdin, which stays
open as its lifeline.
"""

import asyncio
import contextlib
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

import msgspec

from ricochet_node.isolated import start_isolated
from ricochet_node.key_rules import KeyRules
from ricochet_node.vault import Boot, Control, Ready
from ricochet_node.vault_link import VaultLink
from ricochet_protocol.errors import ConfigurationError, ExitCode, LocalFault, UsageError

_NO_RULES: Final[Mapping[str, KeyRules]] = MappingProxyType({})
_READY_SECONDS: Final = 60
_STOP_SECONDS: Final = 5
_BLAME: Final = {ExitCode.CONFIGURATION: ConfigurationError, ExitCode.USAGE: UsageError}


class VaultProcess:
    """A running vault; `token` opens the keys it was started for and no others."""

    def __init__(self, process: asyncio.subprocess.Process, ready: Ready, token: str) -> None:
        self._process = process
        self._talking = asyncio.Lock()
        self.base_url = f"http://127.0.0.1:{ready.port}"
        self.link = VaultLink(ready.frames, token)
        """For the node itself; closed with the vault."""
        self.open_keys = ready.open
        """The sealed origins of the keys that hold no secret, by key id."""
        self.token = token

    @property
    def pid(self) -> int:
        return self._process.pid

    @classmethod
    async def start(
        cls,
        keystore: Path,
        passphrase: str,
        keys: Sequence[str],
        rules: Mapping[str, KeyRules] = _NO_RULES,
    ) -> "VaultProcess":
        """A vault that has unlocked `keys`; one without `rules` may do whatever its routes allow.

        ConfigurationError as from `Keystore.unlock` (`wrong_passphrase`, `no_key`, …); LocalFault
        `vault_failed` when the process cannot start.
        """
        token = secrets.token_urlsafe(32)
        process = await start_isolated("ricochet_node.vault")
        try:
            ruled = {key: rules.get(key, KeyRules()) for key in keys}
            ready = await _boot(process, keystore, passphrase, token, ruled)
        except BaseException:
            await _end(process)
            raise
        return cls(process, ready, token)

    async def change_rules(self, rules: Mapping[str, KeyRules]) -> None:
        """Make new rules hold from the next call on; LocalFault `vault_ended` when it is gone."""
        process = self._process
        assert process.stdin is not None and process.stdout is not None
        async with self._talking:
            try:
                process.stdin.write(msgspec.json.encode(Control(keys=dict(rules))) + b"\n")
                async with asyncio.timeout(_STOP_SECONDS):
                    await process.stdin.drain()
                    line = await process.stdout.readline()
                if msgspec.json.decode(line, type=Ready).code:
                    raise ConnectionError
            except (TimeoutError, ConnectionError, msgspec.DecodeError):
                raise LocalFault(
                    "vault_ended", "the vault process does not answer", "start the node again"
                ) from None

    async def exited(self) -> int:
        """Wait until the process ends, whoever ended it; its exit code."""
        return await self._process.wait()

    async def stop(self) -> None:
        """End it, cutting calls still open; may be called twice."""
        self.link.close()
        await _end(self._process)


async def _boot(
    process: asyncio.subprocess.Process,
    keystore: Path,
    passphrase: str,
    token: str,
    keys: dict[str, KeyRules],
) -> Ready:
    assert process.stdin is not None and process.stdout is not None
    boot = Boot(passphrase=passphrase, token=token, keystore=str(keystore), keys=keys)
    try:
        process.stdin.write(msgspec.json.encode(boot) + b"\n")
        async with asyncio.timeout(_READY_SECONDS):
            await process.stdin.drain()
            line = await process.stdout.readline()
        ready = msgspec.json.decode(line, type=Ready)
    except (TimeoutError, ConnectionError, msgspec.DecodeError):
        raise LocalFault(
            "vault_failed",
            "the vault process does not start",
            "check free memory, and reinstall the program if its files were changed",
        ) from None
    if ready.code:
        blame = _BLAME.get(ExitCode(ready.exit_code), LocalFault)
        raise blame(ready.code, ready.message, ready.hint)
    return ready


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.stdin is not None:
        process.stdin.close()
    try:
        async with asyncio.timeout(_STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
