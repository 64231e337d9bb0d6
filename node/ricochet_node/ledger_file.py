"""The file under the ledger, `node.db`: how it is opened, brought up to date, and only read.

Its shape has a number (`user_version`), and each step from one number to the next is a transaction:
an older file is brought up to date when the node starts. Reading alone changes nothing, so it needs
a file that is up to date already.
"""

import sqlite3
from pathlib import Path
from typing import Final

from ricochet_protocol.errors import LocalFault

FILE_NAME: Final = "node.db"

_STEPS: Final = (
    """
CREATE TABLE IF NOT EXISTS account (
    subscriber TEXT, period INTEGER,
    due INTEGER NOT NULL DEFAULT 0,
    vouchered INTEGER NOT NULL DEFAULT 0, voucher BLOB,
    claimed INTEGER NOT NULL DEFAULT 0, void TEXT,
    PRIMARY KEY (subscriber, period)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS answer (
    subscriber TEXT, request_id TEXT,
    ask BLOB NOT NULL, text TEXT NOT NULL, answered BLOB NOT NULL,
    bytes INTEGER NOT NULL, at REAL NOT NULL,
    PRIMARY KEY (subscriber, request_id)
);
CREATE INDEX IF NOT EXISTS answer_at ON answer (at);
CREATE TABLE IF NOT EXISTS sales (
    model TEXT PRIMARY KEY,
    calls INTEGER NOT NULL, tokens_in INTEGER NOT NULL, tokens_out INTEGER NOT NULL,
    earned INTEGER NOT NULL
) WITHOUT ROWID;
""",
    """
ALTER TABLE account ADD COLUMN ends INTEGER;
ALTER TABLE account ADD COLUMN closed INTEGER NOT NULL DEFAULT 0;
ALTER TABLE account ADD COLUMN void_backing INTEGER;
UPDATE account SET void = NULL;
""",
    """
ALTER TABLE answer ADD COLUMN calls BLOB NOT NULL DEFAULT x'90';
""",
)


def open_file(path: Path) -> sqlite3.Connection:
    """The file for its one writer; LocalFault `already_running` or `ledger_damaged`."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # SQLite would create it readable by all; answers are the subscribers' business.
    path.touch(mode=0o600, exist_ok=True)
    try:
        db = sqlite3.connect(path, isolation_level=None, timeout=0)
        # Exclusive, so that two nodes cannot serve from one ledger; the lock dies with the process.
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        _bring_up_to_date(db, path)
    except sqlite3.DatabaseError as error:
        raise fault(path, error) from error
    return db


def open_to_read(path: Path) -> sqlite3.Connection:
    """The file of a node that does not run; the errors of `open_file`, and `ledger_old`."""
    try:
        db = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=0
        )
        version = _version(db, path)
    except sqlite3.DatabaseError as error:
        raise fault(path, error) from error
    if version < len(_STEPS):
        db.close()
        raise LocalFault(
            "ledger_old",
            f"{path} was written by an older version",
            "start the node once, which brings it up to date",
        )
    return db


def _bring_up_to_date(db: sqlite3.Connection, path: Path) -> None:
    for number in range(_version(db, path), len(_STEPS)):
        db.executescript(
            f"BEGIN IMMEDIATE; {_STEPS[number]} PRAGMA user_version = {number + 1}; COMMIT;"
        )
    # Takes the lock now: it is what keeps a second node out.
    db.executescript("BEGIN IMMEDIATE; COMMIT;")


def _version(db: sqlite3.Connection, path: Path) -> int:
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version > len(_STEPS):
        db.close()
        raise LocalFault(
            "ledger_new",
            f"{path} was written by a newer version of Ricochet",
            "install that version again; this one cannot read its vouchers",
        )
    return int(version)


def fault(path: Path, error: sqlite3.DatabaseError) -> LocalFault:
    """What a failure to open or read the file means to its owner."""
    if isinstance(error, sqlite3.OperationalError) and "locked" in str(error):
        return LocalFault(
            "already_running",
            f"another node is running with {path.parent}",
            "stop it first, or give this one a --home of its own",
        )
    return LocalFault(
        "ledger_damaged",
        f"{path} cannot be used: {error}",
        "restore it from a backup; it holds the vouchers that were not claimed yet",
    )
