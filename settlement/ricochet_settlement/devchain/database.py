"""The key-value store under py-evm: one SQLite file that one process owns.

A block is written in one SQL transaction together with the clock, so a killed process leaves whole
blocks only. The file is locked for as long as it is open: two chains on one state would fork it.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from eth.db.backends.base import BaseDB

from ricochet_protocol.errors import LocalFault

_SCHEMA: Final = """
PRAGMA locking_mode = EXCLUSIVE;
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
CREATE TABLE IF NOT EXISTS pairs (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
"""


class SqliteDatabase(BaseDB):
    """Bytes to bytes; closed by its owner.

    LocalFault `state_in_use` when another process has the file, `state_damaged` when it is none.
    """

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Autocommit: `transaction` says where one begins and ends.
            self._connection = sqlite3.connect(
                path, timeout=0, isolation_level=None, check_same_thread=False
            )
        except (OSError, sqlite3.OperationalError) as error:
            raise LocalFault(
                "state_unwritable", f"cannot open {path}: {error}", "Choose another --state file."
            ) from None
        try:
            self._connection.executescript(_SCHEMA)
            # The lock is taken by the first write and kept.
            self._connection.execute("BEGIN EXCLUSIVE")
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._connection.close()
            raise _refusal(path, error) from None

    def __getitem__(self, key: bytes) -> bytes:
        row = self._connection.execute("SELECT value FROM pairs WHERE key = ?", (key,)).fetchone()
        if row is None:
            raise KeyError(key)
        return bytes(row[0])

    def __setitem__(self, key: bytes, value: bytes) -> None:
        self._connection.execute("INSERT OR REPLACE INTO pairs VALUES (?, ?)", (key, value))

    def __delitem__(self, key: bytes) -> None:
        if not self._connection.execute("DELETE FROM pairs WHERE key = ?", (key,)).rowcount:
            raise KeyError(key)

    def _exists(self, key: bytes) -> bool:
        found = self._connection.execute("SELECT 1 FROM pairs WHERE key = ?", (key,)).fetchone()
        return found is not None

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything written inside reaches the file together, or not at all."""
        self._connection.execute("BEGIN")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def close(self) -> None:
        """Release the file; may be called twice."""
        self._connection.close()


def _refusal(path: Path, error: sqlite3.Error) -> LocalFault:
    if "locked" in str(error):
        return LocalFault(
            "state_in_use",
            f"another dev chain is running on {path}",
            "Use the one that is running, stop it, or choose another --state file.",
        )
    return LocalFault(
        "state_damaged",
        f"{path} is not the state of a dev chain: {error}",
        "Choose another --state file, or move this one away.",
    )
