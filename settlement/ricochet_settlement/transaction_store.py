"""`transactions.db`: every transaction of a home's keys, on disk before the chain hears of it.

One process at a time writes for an account: it holds `transactions.<account>.lock`, which the
system releases when the process dies. Different accounts share the file. WAL with full
synchronisation keeps what was written through kill -9 and power loss. A nonce belongs to one
transaction, and a key of an intent to one that has not failed; the file itself enforces both.

Rows are kept by chain, named by its id and first block: a dev chain that was started anew is
another chain, and nothing of the old one is sent to it.
"""

import fcntl
import os
import sqlite3
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from ricochet_protocol.errors import LocalFault, UsageError
from ricochet_protocol.ids import Address
from ricochet_settlement.transaction import MOVES, Attempt, Intent, Status, Transaction

FILE_NAME: Final = "transactions.db"
_BUSY_SECONDS: Final = 10
"""Writes take milliseconds; another account's writer is waited for."""
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS transactions (
    number INTEGER PRIMARY KEY,
    chain TEXT NOT NULL, account TEXT NOT NULL,
    label TEXT NOT NULL, recipient TEXT, data BLOB NOT NULL, value TEXT NOT NULL, key TEXT,
    status TEXT NOT NULL DEFAULT 'queued',
    nonce INTEGER, head INTEGER NOT NULL DEFAULT 0, hash BLOB, block INTEGER,
    code TEXT NOT NULL DEFAULT '', why TEXT NOT NULL DEFAULT '', hint TEXT NOT NULL DEFAULT '',
    queued_at INTEGER NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS one_for_a_key ON transactions (chain, account, key)
    WHERE status != 'failed';
CREATE UNIQUE INDEX IF NOT EXISTS one_for_a_nonce ON transactions (chain, account, nonce);
CREATE TABLE IF NOT EXISTS attempts (
    hash BLOB PRIMARY KEY, number INTEGER NOT NULL REFERENCES transactions,
    raw BLOB NOT NULL, gas INTEGER NOT NULL, fee TEXT NOT NULL, tip TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS attempts_of ON attempts (number);
"""
_COLUMNS: Final = (
    "number, chain, account, label, recipient, data, value, key, status, nonce, head, hash, block,"
    " code, why, hint, queued_at"
)


class TransactionStore:
    """The rows of one account on one chain; LocalFault `queue_in_use` while another process has it.

    Without a home they are in memory, for keys that are used once. Closed by its owner.
    """

    def __init__(self, home: Path | None, chain: str, account: Address) -> None:
        self._scope = (chain, account)
        self._lock = None if home is None else _lock(home, account)
        try:
            self._db = _open(None if home is None else home / FILE_NAME)
        except BaseException:
            self._release()
            raise

    def close(self) -> None:
        """Release file and lock; may be called twice."""
        self._db.close()
        self._release()

    def enqueue(self, intent: Intent, taken: Collection[int]) -> Transaction:
        """The transaction of this intent, written down now unless it was before.

        `taken` are numbers that callers wait for: one without a key joins none of those. UsageError
        `intent_conflict` when the key stands for something else.
        """
        known = self._same(intent, taken)
        if known is not None:
            return known
        with self._changing() as db:
            number = db.execute(
                "INSERT INTO transactions"
                " (chain, account, label, recipient, data, value, key, queued_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (*self._scope, *_fields(intent), intent.key, int(time.time())),
            ).lastrowid
        return self.read(number or 0)

    def read(self, number: int) -> Transaction:
        """The row of that number."""
        (found,) = self._select("number = ?", number)
        return found

    def with_status(self, *statuses: Status) -> tuple[Transaction, ...]:
        """Rows in these states, by nonce, those without in the order in which they came."""
        marks = ", ".join("?" * len(statuses))
        return self._select(f"status IN ({marks}) ORDER BY nonce, number", *statuses)

    def confirmed_from(self, nonce: int) -> tuple[Transaction, ...]:
        """Rows that were confirmed with that nonce or a higher one."""
        return self._select("status = 'confirmed' AND nonce >= ? ORDER BY nonce", nonce)

    def attempts(self, number: int) -> tuple[Attempt, ...]:
        """All signed forms of a transaction, the newest first."""
        rows = self._db.execute(
            "SELECT hash, raw, gas, fee, tip FROM attempts WHERE number = ? ORDER BY rowid DESC",
            (number,),
        )
        return tuple(Attempt(row[0], row[1], row[2], int(row[3]), int(row[4])) for row in rows)

    def owner(self, transaction_hash: bytes) -> Transaction | None:
        """Whose form that is; None when it was not signed here."""
        found = self._select(
            "number = (SELECT number FROM attempts WHERE hash = ?)", transaction_hash
        )
        return found[0] if found else None

    def free_nonce(self, mined: int) -> int:
        """The next nonce for an account with that many mined transactions."""
        rows = self._db.execute(
            "SELECT nonce FROM transactions WHERE chain = ? AND account = ? AND nonce >= ?",
            (*self._scope, mined),
        )
        held = {row[0] for row in rows}
        while mined in held:
            mined += 1
        return mined

    def sent(self, row: Transaction, nonce: int, head: int, attempt: Attempt) -> Transaction:
        """It has a nonce and a signature, and will be given to the chain next."""
        with self._changing() as db:
            self._add(db, row, attempt)
            return self._move(db, row, Status.SENT, nonce=nonce, head=head, hash=attempt.hash)

    def replaced(self, row: Transaction, attempt: Attempt, why: str) -> Transaction:
        """It has another signature, of the same nonce, and will be given to the chain next."""
        with self._changing() as db:
            self._add(db, row, attempt)
            return self._move(db, row, Status.STUCK, hash=attempt.hash, why=why)

    def stuck(self, row: Transaction, why: str) -> Transaction:
        """It is not mined, and this is why."""
        with self._changing() as db:
            return self._move(db, row, Status.STUCK, why=why)

    def confirmed(self, row: Transaction, transaction_hash: bytes, block: int) -> Transaction:
        """It was mined in that block, in that form."""
        changes = {"hash": transaction_hash, "block": block, "code": "", "why": "", "hint": ""}
        with self._changing() as db:
            return self._move(db, row, Status.CONFIRMED, **changes)

    def failed(
        self, row: Transaction, code: str, why: str, hint: str, block: int | None = None
    ) -> Transaction:
        """It will not happen: mined in vain in `block`, or never taken (its nonce is free)."""
        nonce = None if block is None else row.nonce
        changes = {"nonce": nonce, "block": block, "code": code, "why": why, "hint": hint}
        with self._changing() as db:
            return self._move(db, row, Status.FAILED, **changes)

    def requeued(self, row: Transaction, why: str) -> Transaction:
        """Another transaction used its nonce: it gets a new one."""
        with self._changing() as db:
            return self._move(db, row, Status.QUEUED, nonce=None, hash=None, why=why)

    def undone(self, row: Transaction) -> Transaction:
        """The chain dropped the block it was in: it has to be mined again."""
        with self._changing() as db:
            why = f"the chain dropped block {row.block}, in which it was"
            return self._move(db, row, Status.SENT, block=None, why=why)

    def _same(self, intent: Intent, taken: Collection[int]) -> Transaction | None:
        if intent.key is None:
            for row in self._select(
                "label = ? AND recipient IS ? AND data = ? AND value = ? AND key IS NULL"
                " AND status IN ('queued', 'sent', 'stuck') ORDER BY number",
                *_fields(intent),
            ):
                if row.number not in taken:
                    return row
            return None
        for row in self._select("key = ? AND status != 'failed'", intent.key):
            if _fields(row.intent)[1:] != _fields(intent)[1:]:
                raise UsageError(
                    "intent_conflict",
                    f"`{row.intent.label}` is under way with other values ({row.status})",
                    "See `ricochet wallet transactions`; wait until that one has ended.",
                )
            return row
        return None

    def _move(
        self, db: sqlite3.Connection, row: Transaction, status: Status, **changes: object
    ) -> Transaction:
        if status not in MOVES[row.status]:
            raise AssertionError(f"a transaction cannot go from {row.status} to {status}")
        changes = {"status": status, **changes}
        names = ", ".join(f"{name} = ?" for name in changes)
        db.execute(
            f"UPDATE transactions SET {names} WHERE number = ?",  # noqa: S608 - names are ours
            (*changes.values(), row.number),
        )
        return self.read(row.number)

    def _add(self, db: sqlite3.Connection, row: Transaction, attempt: Attempt) -> None:
        # The same form comes again when a refused transaction's nonce, fee and text do.
        db.execute(
            "INSERT OR REPLACE INTO attempts VALUES (?, ?, ?, ?, ?, ?)",
            (
                attempt.hash,
                row.number,
                attempt.raw,
                attempt.gas,
                str(attempt.fee),
                str(attempt.tip),
            ),
        )

    def _select(self, condition: str, *values: object) -> tuple[Transaction, ...]:
        return _select(
            self._db, f"chain = ? AND account = ? AND {condition}", *self._scope, *values
        )

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        """Everything written inside is on disk together when it ends, or not at all."""
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
                "queue_unwritable",
                f"cannot write {FILE_NAME}: {error}",
                "Free some space on its disk. What was not written was not sent.",
            ) from error

    def _release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def read_transactions(home: Path) -> tuple[Transaction, ...]:
    """All transactions of a home, the oldest first, also while a process writes them."""
    path = home / FILE_NAME
    if not path.exists():
        return ()
    db = _open(path)
    try:
        return _select(db, "TRUE ORDER BY number")
    finally:
        db.close()


def _open(path: Path | None) -> sqlite3.Connection:
    if path is not None:
        # Made here so that nobody else can read it; SQLite gives its side files the same mode.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    db = sqlite3.connect(path or ":memory:", timeout=_BUSY_SECONDS, isolation_level=None)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.executescript(_SCHEMA)
    except sqlite3.Error as error:
        db.close()
        raise LocalFault(
            "queue_damaged",
            f"{path} cannot be used: {error}",
            "Restore it from a backup. Moving it away forgets transactions that are under way.",
        ) from None
    return db


def _lock(home: Path, account: Address) -> int:
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = home / f"transactions.{account}.lock"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise LocalFault(
            "queue_unwritable",
            f"cannot write to {home}: {error.strerror}",
            "Check free space and permissions, or choose another folder with --home.",
        ) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise LocalFault(
            "queue_in_use",
            f"another process sends transactions of {account} from {home}",
            "Wait until it has ended, or stop it: two writers would use the same nonces.",
        ) from None
    return descriptor


def _fields(intent: Intent) -> tuple[object, ...]:
    return intent.label, intent.to, intent.data, str(intent.value)


def _select(db: sqlite3.Connection, condition: str, *values: object) -> tuple[Transaction, ...]:
    rows = db.execute(
        f"SELECT {_COLUMNS} FROM transactions WHERE {condition}",  # noqa: S608 - ours alone
        values,
    )
    return tuple(_transaction(*row) for row in rows)


def _transaction(
    number: int,
    chain: str,
    account: str,
    label: str,
    recipient: str | None,
    data: bytes,
    value: str,
    key: str | None,
    status: str,
    *rest: Any,
) -> Transaction:
    to = None if recipient is None else Address(recipient)
    intent = Intent(label=label, to=to, data=data, value=int(value), key=key)
    return Transaction(number, chain, Address(account), intent, Status(status), *rest)
