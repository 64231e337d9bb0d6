"""Switches the encryption of `runs.db` on and off, and changes its passphrase.

All content is rewritten in one transaction, so that a crash leaves the file as it was. Whoever has
the file open with the seal of before writes no more: the store compares it in each transaction.
Afterwards the file is written anew, so that nothing that was content stays in free pages.
"""

from pathlib import Path
from typing import Final

import msgspec
from sqlalchemy import Connection, Table

from ricochet_orchestrator.database import migrate, open_engine, translated
from ricochet_orchestrator.tables import METADATA, SEALED
from ricochet_orchestrator.text_seal import (
    Plain,
    SealedBytes,
    SealedText,
    SealRecord,
    TextSeal,
    new_seal,
    opened,
    unlock,
)
from ricochet_protocol.errors import UsageError

_RECORD: Final = "SELECT record FROM seal"


def is_encrypted(path: Path) -> bool:
    """Whether what runs keep in `path` is encrypted; false for a file that is not there."""
    if not path.exists():
        return False
    engine = open_engine(path)
    try:
        migrate(engine, path)
        with translated(path), engine.begin() as connection:
            return connection.exec_driver_sql(_RECORD).fetchone() is not None
    finally:
        engine.dispose()


def encrypt(path: Path, passphrase: str) -> None:
    """Encrypt the contents of `path`, made if it is not there, or give them a new passphrase.

    ConfigurationError when it is encrypted and the passphrase of before is not known; LocalFault.
    """
    record, seal = new_seal(passphrase)
    _rewrite(path, record, seal)


def check_passphrase(path: Path, passphrase: str) -> None:
    """ConfigurationError `wrong_passphrase` unless it opens `path`; UsageError `not_encrypted`."""
    engine = open_engine(path)
    try:
        migrate(engine, path)
        with translated(path), engine.begin() as connection:
            found = connection.exec_driver_sql(_RECORD).fetchone()
    finally:
        engine.dispose()
    if found is None:
        raise _not_encrypted(path)
    unlock(msgspec.msgpack.decode(bytes(found[0]), type=SealRecord), passphrase)


def decrypt(path: Path) -> None:
    """Keep contents in the clear again; UsageError `not_encrypted`, and as from `encrypt`."""
    if not is_encrypted(path):
        raise _not_encrypted(path)
    _rewrite(path, None, Plain())


def _rewrite(path: Path, record: SealRecord | None, new: TextSeal) -> None:
    engine = open_engine(path)
    try:
        migrate(engine, path)
        with translated(path), engine.begin() as connection:
            found = connection.exec_driver_sql(_RECORD).fetchone()
            old: TextSeal = Plain()
            if found is not None:
                old = opened(path, msgspec.msgpack.decode(bytes(found[0]), type=SealRecord))
            for row, name in SEALED:
                _rewrite_column(connection, METADATA.tables[row.__tablename__], name, old, new)
            connection.exec_driver_sql("DELETE FROM seal")
            if record is not None:
                encoded = msgspec.msgpack.encode(record)
                connection.exec_driver_sql("INSERT INTO seal VALUES (1, ?)", (encoded,))
        with translated(path):
            raw = engine.raw_connection()
            raw.cursor().execute("VACUUM")
            raw.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
            raw.close()
    finally:
        engine.dispose()


def _rewrite_column(
    connection: Connection, table: Table, name: str, old: TextSeal, new: TextSeal
) -> None:
    kind = table.c[name].type
    assert isinstance(kind, SealedText | SealedBytes)
    query = f"SELECT rowid FROM {table.name} WHERE {name} IS NOT NULL"  # noqa: S608 - no input
    for (row,) in connection.exec_driver_sql(query).fetchall():
        where = f"{table.name} WHERE rowid = ?"
        (stored,) = connection.exec_driver_sql(f"SELECT {name} FROM {where}", (row,)).one()  # noqa: S608
        value: str | bytes
        if isinstance(kind, SealedText):
            value = kind.stored(kind.value(stored, old), new)
        else:
            value = kind.stored(kind.value(bytes(stored), old), new)
        change = f"UPDATE {table.name} SET {name} = ? WHERE rowid = ?"  # noqa: S608
        connection.exec_driver_sql(change, (value, row))


def _not_encrypted(path: Path) -> UsageError:
    return UsageError("not_encrypted", f"{path} is not encrypted.", "ricochet chain encryption on")
