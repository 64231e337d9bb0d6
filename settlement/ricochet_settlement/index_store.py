"""`chain.db`: what the contract's events said, block by block, as far as the chain was followed.

Everything in it can be read from the chain again, so a file of another network, or of a dev chain
that was started anew, is emptied rather than refused. A block and its events are written in one
transaction, with the hash of the block that has to be the newest one then: of two processes that
follow the chain into one file, the second finds that the first was faster and looks again.

`head` is the newest block that the server shows now. It may lie below the newest one stored, while
the server lags; readers never see beyond it.
"""

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from ricochet_protocol.errors import LocalFault
from ricochet_settlement.index_events import Row

FILE_NAME: Final = "chain.db"
_BUSY_SECONDS: Final = 10
_VERSION: Final = 1
"""Of the tables below and of the rows in them; a file of another version is emptied."""
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value ANY) STRICT;
CREATE TABLE IF NOT EXISTS blocks (
    number INTEGER PRIMARY KEY, hash BLOB NOT NULL, time INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS events (
    block INTEGER NOT NULL, position INTEGER NOT NULL, kind TEXT NOT NULL,
    account TEXT NOT NULL, other TEXT, period INTEGER NOT NULL,
    amount INTEGER NOT NULL, share INTEGER NOT NULL, commission INTEGER NOT NULL,
    detail BLOB NOT NULL,
    PRIMARY KEY (block, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS events_of ON events (account, kind, period);
CREATE INDEX IF NOT EXISTS events_with ON events (other, kind);
"""


class Mark(msgspec.Struct, frozen=True):
    """A block that was seen; all events up to it are stored."""

    number: int
    hash: bytes
    time: int


class Placed(msgspec.Struct, frozen=True):
    """A row and where it stands."""

    block: int
    position: int
    row: Row


class Overtaken(Exception):
    """Another process has followed the chain further meanwhile."""


class IndexStore:
    """The file of one home, or a database in memory; closed by its owner.

    LocalFault `index_unwritable` when it cannot be written, `index_damaged` when it is none.
    """

    def __init__(self, home: Path | None, network: str) -> None:
        path = None if home is None else home / FILE_NAME
        self._path = path
        self._db = _open(path)
        try:
            self._adopt(network)
        except BaseException:
            self._db.close()
            raise

    def close(self) -> None:
        """Release the file; may be called twice."""
        self._db.close()

    @property
    def head(self) -> Mark | None:
        """The newest block that readers see; None before the first."""
        return self.newest_to(self._shown)

    @property
    def _shown(self) -> int:
        found = self._db.execute("SELECT value FROM facts WHERE name = 'head'").fetchone()
        return found[0] if found else -1

    @property
    def newest(self) -> Mark | None:
        """The newest block stored."""
        marks = self._marks("TRUE", 1)
        return marks[0] if marks else None

    def newest_to(self, number: int) -> Mark | None:
        """The newest block stored that is not above that one."""
        marks = self._marks("number <= ?", 1, number)
        return marks[0] if marks else None

    def marks_to(self, number: int) -> tuple[Mark, ...]:
        """All blocks stored up to that one, the newest first."""
        return self._marks("number <= ?", -1, number)

    def append(self, after: Mark | None, mark: Mark, placed: Sequence[Placed]) -> None:
        """Events up to and in `mark`, which becomes the newest block; Overtaken."""
        with self._changing() as db:
            if self.newest != after:
                raise Overtaken
            db.execute("INSERT INTO blocks VALUES (?, ?, ?)", (mark.number, mark.hash, mark.time))
            db.executemany(
                "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [(one.block, one.position, *msgspec.structs.astuple(one.row)) for one in placed],
            )
            self._show(db, mark.number)

    def drop(self, newest: Mark, above: int) -> None:
        """Forget all blocks above that one, and their events; Overtaken."""
        with self._changing() as db:
            if self.newest != newest:
                raise Overtaken
            db.execute("DELETE FROM blocks WHERE number > ?", (above,))
            db.execute("DELETE FROM events WHERE block > ?", (above,))
            self._show(db, above)

    def show(self, number: int) -> None:
        """Let readers see up to that block."""
        if self._shown != number:
            with self._changing() as db:
                self._show(db, number)

    def thin(self, below: int, bucket: int) -> None:
        """Of the blocks below that one, keep the newest in each `bucket`; events stay."""
        with self._changing() as db:
            db.execute(
                "DELETE FROM blocks WHERE number < ?"
                " AND number NOT IN (SELECT max(number) FROM blocks GROUP BY number / ?)",
                (below, bucket),
            )

    def select(self, columns: str, rest: str, *values: object) -> list[tuple[Any, ...]]:
        """Rows of `events`; `columns` and `rest` are this package's own SQL."""
        query = f"SELECT {columns} FROM events {rest}"  # noqa: S608 - no outside text in it
        return self._db.execute(query, values).fetchall()

    def _adopt(self, network: str) -> None:
        """Make the file this network's, emptying one that is not."""
        wanted = f"{_VERSION} {network}"
        with self._changing() as db:
            found = db.execute("SELECT value FROM facts WHERE name = 'network'").fetchone()
            if found is None or found[0] != wanted:
                for table in ("facts", "blocks", "events"):
                    db.execute(f"DELETE FROM {table}")  # noqa: S608 - ours
                db.execute("INSERT INTO facts VALUES ('network', ?)", (wanted,))

    def _show(self, db: sqlite3.Connection, number: int) -> None:
        db.execute("INSERT OR REPLACE INTO facts VALUES ('head', ?)", (number,))

    def _marks(self, condition: str, limit: int, *values: object) -> tuple[Mark, ...]:
        rows = self._db.execute(
            f"SELECT number, hash, time FROM blocks WHERE {condition}"  # noqa: S608 - ours
            f" ORDER BY number DESC LIMIT {limit}",
            values,
        )
        return tuple(Mark(*row) for row in rows)

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        """Everything written inside is in the file together when it ends, or not at all."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")
        except sqlite3.OperationalError as error:
            raise LocalFault(
                "index_unwritable",
                f"cannot write {self._path}: {error}",
                "Free some space on its disk. Nothing is lost: the chain has it all.",
            ) from error


def _open(path: Path | None) -> sqlite3.Connection:
    if path is not None:
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Made here so that nobody else can read it; SQLite gives its side files the same mode.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise LocalFault(
                "index_unwritable",
                f"cannot write {path}: {error.strerror}",
                "Check free space and permissions, or choose another folder with --home.",
            ) from None
    db = sqlite3.connect(path or ":memory:", timeout=_BUSY_SECONDS, isolation_level=None)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        # A power cut may cost the last blocks, never half of one; they are read again.
        db.execute("PRAGMA synchronous = NORMAL")
        db.executescript(_SCHEMA)
    except sqlite3.Error as error:
        db.close()
        raise LocalFault(
            "index_damaged",
            f"{path} cannot be used: {error}",
            f"Delete it with its side files: `rm {path}*`. The chain has all that is in it.",
        ) from None
    return db
