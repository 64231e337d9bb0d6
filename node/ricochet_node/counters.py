"""What each key has used, written down before it is used: `keys.db`.

Each change is one immediate transaction, in which what was read stays true until it is written;
when it ends it is the system's, so that kill -9 takes nothing back. Where money has a bound it must
outlive power loss too: then `synced` comes before the call. Several processes may have the file
open: a node's vault, the vault of `ricochet keys test`, and `ricochet keys disable`.

A vault shares its transactions (`share`): what one turn of its loop changes, debits of calls that
came together and settlements of others, is one write, and no call is sent before it.

Changes are made on the event loop on purpose, as in `ledger.py`: no other call comes between a
check and its debit.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final

import msgspec

from ricochet_node.shared_sync import SharedSync
from ricochet_node.turn_commit import Turn, TurnCommit
from ricochet_protocol.errors import LocalFault
from ricochet_protocol.money import Units

FILE_NAME: Final = "keys.db"
_BUSY_SECONDS: Final = 2
_SCHEMA: Final = """
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS call (
    id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL, at REAL NOT NULL,
    tokens INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS call_at ON call (key, at);
CREATE TABLE IF NOT EXISTS spent (
    key TEXT, period TEXT, amount INTEGER NOT NULL, calls INTEGER NOT NULL,
    PRIMARY KEY (key, period)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS disabled (key TEXT PRIMARY KEY) WITHOUT ROWID;
COMMIT;
"""
WINDOW: Final = 60.0
"""Seconds over which calls and tokens are limited."""


class Debit(msgspec.Struct, frozen=True):
    """What was written down for a call, and the day and month it counts in."""

    call: int
    key: str
    tokens: int
    amount: Units
    periods: tuple[str, str]


class Spent(msgspec.Struct, frozen=True):
    """What a key used in a day or month; calls still open count at their worst."""

    amount: Units
    calls: int


class Counters:
    """The file; every method but `change` and `close` belongs inside a `change`."""

    def __init__(self, path: Path) -> None:
        """LocalFault `counters_damaged` when it cannot be used."""
        self._path = path
        self._forgot: dict[str, float] = {}
        self._turns: TurnCommit | None = None
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            path.touch(mode=0o600, exist_ok=True)
            self._db = sqlite3.connect(path, isolation_level=None, timeout=_BUSY_SECONDS)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.executescript(_SCHEMA)
            # Commits do not sync, `synced` does; SQLite itself still does before it reuses the log.
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._log = SharedSync(path.with_name(f"{path.name}-wal"))
            _sync_folder(path.parent)
        except (sqlite3.Error, OSError) as error:
            raise LocalFault(
                "counters_damaged",
                f"{path} cannot be used: {error}",
                "free disk space, or move the file away: caps then begin at zero again",
            ) from None

    def close(self) -> None:
        if self._db.in_transaction:
            self._db.execute("COMMIT")  # of the loop's last turn
        self._log.close()
        self._db.close()

    def share(self) -> None:
        """From now on commit the changes of a turn of the running loop together, at its end."""
        self._turns = TurnCommit(self._db)

    async def synced(self) -> None:
        """Wait until all that was changed is on disk; OSError when it is not known to be."""
        await self._log.done()

    def change(self) -> AbstractContextManager[Turn | None]:
        """One transaction; sqlite3.Error when it was not written, and then nothing was.

        What is shared is written with the turn that the context gives.
        """
        return self._alone() if self._turns is None else self._turns

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            # A full disk ends a transaction by itself.
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def window(self, key: str, now: float) -> list[tuple[float, int]]:
        """Time and tokens of the calls of the last minute, oldest first.

        What a clock that was set back left in the future is not waited for.
        """
        return self._db.execute(
            "SELECT at, tokens FROM call WHERE key = ? AND at > ? AND at < ? ORDER BY at",
            (key, now - WINDOW, now + WINDOW),
        ).fetchall()

    def spent(self, key: str, period: str) -> Spent:
        """What was used in a period, such as `2026-11-23` or `2026-11`."""
        row = self._db.execute(
            "SELECT amount, calls FROM spent WHERE key = ? AND period = ?", (key, period)
        ).fetchone()
        return Spent(Units(row[0]), row[1]) if row else Spent(Units(0), 0)

    def debit(
        self, key: str, now: float, tokens: int, amount: Units, periods: tuple[str, str]
    ) -> Debit:
        """Count a call at its worst; what is older than the window is forgotten."""
        if not 0 <= now - self._forgot.get(key, 0.0) < WINDOW:
            self._forgot[key] = now
            self._db.execute("DELETE FROM call WHERE key = ? AND at <= ?", (key, now - 2 * WINDOW))
        cursor = self._db.execute(
            "INSERT INTO call (key, at, tokens) VALUES (?, ?, ?)", (key, now, tokens)
        )
        self._db.executemany(
            "INSERT INTO spent VALUES (?, ?, ?, 1) ON CONFLICT DO UPDATE SET "
            "amount = amount + excluded.amount, calls = calls + 1",
            [(key, period, amount) for period in periods],
        )
        return Debit(int(cursor.lastrowid or 0), key, tokens, amount, periods)

    def settle(self, debit: Debit, tokens: int, amount: Units) -> None:
        """Put the real figures in the place of the worst."""
        self._db.execute("UPDATE call SET tokens = ? WHERE id = ?", (tokens, debit.call))
        self._db.executemany(
            "UPDATE spent SET amount = amount + ? WHERE key = ? AND period = ?",
            [(amount - debit.amount, debit.key, period) for period in debit.periods],
        )

    def is_disabled(self, key: str) -> bool:
        """Whether the owner has switched it off."""
        return bool(
            self._db.execute("SELECT 1 FROM disabled WHERE key = ?", (key,)).fetchone() is not None
        )

    def disable(self, key: str) -> None:
        """Switch it off, for every process, from its next call on."""
        self._db.execute("INSERT OR IGNORE INTO disabled VALUES (?)", (key,))

    def enable(self, key: str) -> None:
        """Let it work again."""
        self._db.execute("DELETE FROM disabled WHERE key = ?", (key,))

    def forget(self, key: str) -> None:
        """Drop all that is known of a key that was removed."""
        for table in ("call", "spent", "disabled"):
            self._db.execute(f"DELETE FROM {table} WHERE key = ?", (key,))  # noqa: S608 - no input


def _sync_folder(folder: Path) -> None:
    """A file that is new must be found after power loss; Windows has no such call."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
