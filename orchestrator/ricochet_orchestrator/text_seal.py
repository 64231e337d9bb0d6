"""Encrypts what people wrote, in `runs.db`, where its owner chose so.

Columns of type `SealedText` and `SealedBytes` hold documents, requests, answers and the values of
placeholders: all that is content. Under a seal they are AES-256-GCM with a random key of the file,
bound to their column; that key is in the file as well, under Argon2id of a passphrase. Without one
they are as they are. Ids, sizes, times, costs and proofs of payment are never sealed.

A store has one seal for all its columns: it is set on the engine's dialect, which is what the type
of a column gets to see.
"""

import base64
import os
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec
from sqlalchemy import Dialect, Engine, LargeBinary, String
from sqlalchemy.types import TypeDecorator

from ricochet_protocol.errors import ConfigurationError
from ricochet_settlement.sealing import Box, Kdf, SealBroken, master_key, new_kdf, seal, unseal

PASSPHRASE_FILE: Final = "RICOCHET_RUNS_PASSPHRASE_FILE"  # noqa: S105 - a variable's name
_KEY: Final = b"ricochet runs.db key"


class SealRecord(msgspec.Struct, frozen=True):
    """How a file's key is kept."""

    kdf: Kdf
    box: Box


class TextSeal(Protocol):
    """Closes and opens the contents of a column; `place` is its name."""

    def close(self, place: str, data: bytes) -> bytes: ...

    def open(self, place: str, data: bytes) -> bytes: ...


class Plain:
    """No encryption."""

    def close(self, place: str, data: bytes) -> bytes:
        return data

    def open(self, place: str, data: bytes) -> bytes:
        return data


class Sealed:
    """Under a key that is asked for when it is first needed."""

    def __init__(self, key: Callable[[], bytes]) -> None:
        self._ask = key

    @cached_property
    def _key(self) -> bytes:
        return self._ask()

    def close(self, place: str, data: bytes) -> bytes:
        box = seal(self._key, data, place.encode())
        return box.nonce + box.ciphertext

    def open(self, place: str, data: bytes) -> bytes:
        try:
            return unseal(self._key, Box(data[:12], data[12:]), place.encode())
        except (SealBroken, ValueError):
            raise _tampered(place) from None


class SealedText(TypeDecorator[str]):
    """A text column; `place` names it."""

    impl = String
    cache_ok = True

    def __init__(self, place: str) -> None:
        super().__init__()
        self.place = place

    def stored(self, value: str, found: TextSeal) -> str:
        """What the file holds for a value."""
        if isinstance(found, Plain):
            return value
        return base64.b64encode(found.close(self.place, value.encode())).decode()

    def value(self, stored: str, found: TextSeal) -> str:
        """The value that the file holds."""
        if isinstance(found, Plain):
            return stored
        try:
            data = base64.b64decode(stored, validate=True)
        except ValueError:
            raise _tampered(self.place) from None
        return found.open(self.place, data).decode()

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else self.stored(value, seal_of(dialect))

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else self.value(value, seal_of(dialect))


class SealedBytes(TypeDecorator[bytes]):
    """A column of bytes; `place` names it."""

    impl = LargeBinary
    cache_ok = True

    def __init__(self, place: str) -> None:
        super().__init__()
        self.place = place

    def stored(self, value: bytes, found: TextSeal) -> bytes:
        """What the file holds for a value."""
        return found.close(self.place, value)

    def value(self, stored: bytes, found: TextSeal) -> bytes:
        """The value that the file holds."""
        return found.open(self.place, stored)

    def process_bind_param(self, value: bytes | None, dialect: Dialect) -> bytes | None:
        return None if value is None else self.stored(value, seal_of(dialect))

    def process_result_value(self, value: Any, dialect: Dialect) -> bytes | None:
        return None if value is None else self.value(bytes(value), seal_of(dialect))


def seal_of(dialect: Dialect) -> TextSeal:
    """The seal of the store whose engine this dialect is."""
    found: TextSeal = getattr(dialect, "ricochet_seal", _PLAIN)
    return found


def set_seal(engine: Engine, found: TextSeal) -> None:
    """Have the columns of this engine's store under a seal from now on."""
    engine.dialect.ricochet_seal = found  # type: ignore[attr-defined]  # ours: see above


def new_seal(passphrase: str) -> tuple[SealRecord, Sealed]:
    """A seal with a fresh key, and what opens it again; UsageError for no passphrase."""
    key, kdf = os.urandom(32), new_kdf()
    record = SealRecord(kdf, seal(master_key(passphrase, kdf), key, _KEY))
    return record, Sealed(lambda: key)


def opened(path: Path, record: SealRecord) -> Sealed:
    """The seal of the store at `path`; its passphrase is looked for when a text is needed."""
    return Sealed(lambda: unlock(record, passphrase_for(path)))


def passphrase_for(path: Path) -> str:
    """From the file that the environment names, else the system's keyring; ConfigurationError."""
    if file := os.environ.get(PASSPHRASE_FILE):
        try:
            lines = Path(file).read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(
                "secret_file", f"cannot read the passphrase from {file}", f"check {PASSPHRASE_FILE}"
            ) from error
        if lines and lines[0].strip():
            return lines[0].strip()
    from ricochet_settlement.remembered import recall

    if kept := recall(path):
        return kept
    raise ConfigurationError(
        "store_sealed",
        f"what runs keep in {path} is encrypted",
        f"Name a file with the passphrase in {PASSPHRASE_FILE}, or let the system's keyring keep "
        "it: `ricochet chain encryption remember`.",
    )


def unlock(record: SealRecord, passphrase: str) -> bytes:
    """The file's key; ConfigurationError `wrong_passphrase`."""
    try:
        return unseal(master_key(passphrase, record.kdf), record.box, _KEY)
    except SealBroken:
        raise ConfigurationError(
            "wrong_passphrase", "the passphrase does not open runs.db", "Give the right one."
        ) from None


def _tampered(place: str) -> ConfigurationError:
    return ConfigurationError(
        "store_tampered",
        f"runs.db holds a {place} that its key does not open",
        "Restore the file from a copy; answers can also be asked for again.",
    )


_PLAIN: Final = Plain()
