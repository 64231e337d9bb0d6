"""Starts the vault and stops it: the parent's side of `vault.py`.

The child runs as `python -I -S` with an explicit path and almost no environment, so that neither a
`.pth` file of some installed package nor a variable of this shell runs code in it. What it must
know goes through its stdin, which stays open as its lifeline.
"""

import asyncio
import contextlib
import os
import secrets
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Final

import msgspec

from ricochet_node.key_rules import KeyRules
from ricochet_node.vault import Boot, Control, Ready
from ricochet_protocol.errors import ConfigurationError, ExitCode, LocalFault, UsageError

_PACKAGES: Final = ("ricochet_node", "ricochet_protocol", "ricochet_settlement", "aiohttp")
_START: Final = "import sys; sys.path += sys.argv[1:]; from ricochet_node.vault import main; main()"
_KEPT_VARIABLES: Final = ("SSL_CERT_FILE", "SSL_CERT_DIR", "SYSTEMROOT", "TZ")
"""Where a company keeps its certificates, what Windows needs for a socket, and the time zone."""
_NO_RULES: Final[Mapping[str, KeyRules]] = MappingProxyType({})
_READY_SECONDS: Final = 60
_STOP_SECONDS: Final = 5
_BLAME: Final = {ExitCode.CONFIGURATION: ConfigurationError, ExitCode.USAGE: UsageError}


class VaultProcess:
    """A running vault; `token` opens the keys it was started for and no others."""

    def __init__(self, process: asyncio.subprocess.Process, port: int, token: str) -> None:
        self._process = process
        self._talking = asyncio.Lock()
        self.base_url = f"http://127.0.0.1:{port}"
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
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", "-c", _START, *_import_path()),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ},
        )
        try:
            ruled = {key: rules.get(key, KeyRules()) for key in keys}
            port = await _boot(process, keystore, passphrase, token, ruled)
        except BaseException:
            await _end(process)
            raise
        return cls(process, port, token)

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
        await _end(self._process)


async def _boot(
    process: asyncio.subprocess.Process,
    keystore: Path,
    passphrase: str,
    token: str,
    keys: dict[str, KeyRules],
) -> int:
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
    return ready.port


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


def _import_path() -> list[str]:
    folders = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    for package in _PACKAGES:
        spec = find_spec(package)
        if spec is not None and spec.origin is not None:
            folders.append(str(Path(spec.origin).parent.parent))
    return list(dict.fromkeys(folders))
