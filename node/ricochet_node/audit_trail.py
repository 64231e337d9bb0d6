"""One line for each call of a key: `keys.log`, JSON, appended by the vault.

A line says when, which key and model, how it ended, tokens and cost (units, worst and real); never
what was asked or answered. A line that cannot be written is kept, and until it is written no
further call is sent: a full disk stops the key, it does not hide what it does.
"""

import os
from pathlib import Path
from typing import Final

import msgspec

from ricochet_node.vault_request import Refusal
from ricochet_protocol.errors import LocalFault

FILE_NAME: Final = "keys.log"
_ROTATE_BYTES: Final = 16 * 1024 * 1024
"""About 80,000 calls; the file before stays as `keys.log.1`."""


class Line(msgspec.Struct, frozen=True):
    """What is told of a call; `status` is what the caller got, `refusal` the vault's own reason."""

    time: str
    key: str
    model: str | None
    status: int
    refusal: str = ""
    tokens_in: int | None = None
    tokens_out: int | None = None
    worst: int = 0
    cost: int = 0


class AuditTrail:
    """The open file."""

    def __init__(self, path: Path) -> None:
        """LocalFault `audit_unwritable`."""
        self._waiting = b""
        try:
            if path.exists() and path.stat().st_size > _ROTATE_BYTES:
                path.replace(path.with_name(f"{path.name}.1"))
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            self._file = os.open(path, flags, 0o600)
        except OSError as error:
            raise LocalFault(
                "audit_unwritable",
                f"cannot write {path}: {error.strerror}",
                "free disk space, or correct the owner of the file",
            ) from None

    def close(self) -> None:
        os.close(self._file)

    def add(self, line: Line) -> None:
        """Write a line, or keep it for later."""
        self._waiting += msgspec.json.encode(line) + b"\n"
        self._flush()

    def check(self) -> None:
        """Refusal `audit` while there is a line that could not be written."""
        self._flush()
        if self._waiting:
            raise Refusal(503, "audit")

    def _flush(self) -> None:
        try:
            while self._waiting:
                self._waiting = self._waiting[os.write(self._file, self._waiting) :]
        except OSError:
            return  # `check` tells it to the next caller
