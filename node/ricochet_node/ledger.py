"""What the node is owed and what it promised, on disk before anybody is told: `node.db`.

Each transaction is one promise: an answer with its receipt and the rise of what is due, before
`Answered` is sent; a voucher, before `AccountState` acknowledges it. SQLite in WAL mode with full
synchronisation keeps both through kill -9 and power loss. The file is locked for one process.

Calls are made on the event loop on purpose. One costs a single sync of the log (0.2 to 2 ms on an
SSD), for calls to models that take seconds; and with no pause between a check and its write, no
other call can come between the two.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from ricochet_protocol.eip712 import SignedVoucher
from ricochet_protocol.errors import LocalFault
from ricochet_protocol.ids import Address, Hash32, ModelId, Period, RequestId
from ricochet_protocol.messages import Answered
from ricochet_protocol.money import Units, node_share

FILE_NAME: Final = "node.db"
MAX_AMOUNT: Final = 2**63 - 1
"""What a column holds: nine trillion dollars. Amounts above it are refused at the door."""
MAX_ANSWER_BYTES: Final = 256 * 1024 * 1024
MAX_ANSWER_AGE: Final = 24 * 3600
"""Seconds a client may take to repeat an ask whose answer it lost."""

_SCHEMA: Final = """
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
"""


class Account(msgspec.Struct, frozen=True):
    """One subscriber's period here: what was served, and the highest voucher for it."""

    due: Units = Units(0)
    vouchered: Units = Units(0)
    voucher: SignedVoucher | None = None

    @property
    def unpaid(self) -> Units:
        """What was served without a voucher so far."""
        return Units(max(0, self.due - self.vouchered))


class StoredAnswer(msgspec.Struct, frozen=True):
    """An answer as it was given; `ask` is the digest of the ask it belongs to."""

    ask: Hash32
    text: str
    answered: Answered


class Unclaimed(msgspec.Struct, frozen=True):
    """A voucher and how much of it the chain is known to have paid."""

    voucher: SignedVoucher
    claimed: Units


class Sales(msgspec.Struct, frozen=True):
    """What was sold of one model since the beginning; `earned` before commission."""

    model: ModelId
    calls: int
    tokens_in: int
    tokens_out: int
    earned: Units


class Ledger:
    """The open file; LocalFault `already_running` when another process has it."""

    def __init__(
        self,
        path: Path,
        *,
        max_bytes: int = MAX_ANSWER_BYTES,
        max_age: float = MAX_ANSWER_AGE,
    ) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._max_age = max_age
        self._db = _open(path)
        (self._bytes,) = self._db.execute("SELECT COALESCE(SUM(bytes), 0) FROM answer").fetchone()

    def close(self) -> None:
        """Release the file; may be called twice."""
        self._db.close()

    def account(self, subscriber: Address, period: Period) -> Account:
        """Zeroes for a stranger."""
        row = self._db.execute(
            "SELECT due, vouchered, voucher FROM account WHERE subscriber = ? AND period = ?",
            (subscriber, period),
        ).fetchone()
        if row is None:
            return Account()
        voucher = None if row[2] is None else _decode_voucher(row[2])
        return Account(due=row[0], vouchered=row[1], voucher=voucher)

    def answer(self, subscriber: Address, request_id: RequestId) -> StoredAnswer | None:
        """The stored answer of a call that was completed, while it is kept."""
        row = self._db.execute(
            "SELECT ask, text, answered FROM answer WHERE subscriber = ? AND request_id = ?",
            (subscriber, request_id),
        ).fetchone()
        if row is None:
            return None
        answered = msgspec.msgpack.decode(row[2], type=Answered)
        return StoredAnswer(ask=Hash32(row[0]), text=row[1], answered=answered)

    def record(self, model: ModelId, answer: StoredAnswer, now: float) -> None:
        """Keep an answer with its receipt and raise what is due to the receipt's `due`.

        `now` is Unix seconds; answers that are too old or too many are dropped on the way.
        """
        receipt = answer.answered.receipt.receipt
        size = len(answer.text.encode())
        with self._transaction() as db:
            db.execute(
                "INSERT INTO account (subscriber, period, due) VALUES (?, ?, ?)"
                " ON CONFLICT DO UPDATE SET due = excluded.due",
                (receipt.subscriber, receipt.period, receipt.due),
            )
            db.execute(
                "INSERT INTO answer VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    receipt.subscriber,
                    receipt.request_id,
                    answer.ask,
                    answer.text,
                    msgspec.msgpack.encode(answer.answered),
                    size,
                    now,
                ),
            )
            db.execute(
                "INSERT INTO sales VALUES (?, 1, ?, ?, ?) ON CONFLICT DO UPDATE SET"
                " calls = calls + 1, tokens_in = tokens_in + excluded.tokens_in,"
                " tokens_out = tokens_out + excluded.tokens_out,"
                " earned = earned + excluded.earned",
                (model, receipt.tokens_in, receipt.tokens_out, receipt.cost),
            )
            dropped = self._drop_answers(db, self._bytes + size, now)
        self._bytes += size - dropped

    def accept(self, signed: SignedVoucher) -> bool:
        """Keep a checked voucher if it is higher than the one kept; whether it was."""
        voucher = signed.voucher
        with self._transaction() as db:
            changed = db.execute(
                "INSERT INTO account (subscriber, period, vouchered, voucher) VALUES (?, ?, ?, ?)"
                " ON CONFLICT DO UPDATE SET vouchered = excluded.vouchered,"
                " voucher = excluded.voucher, void = NULL"
                " WHERE excluded.vouchered > vouchered",
                (
                    voucher.subscriber,
                    voucher.period,
                    voucher.cumulative,
                    msgspec.msgpack.encode(signed),
                ),
            ).rowcount
        return changed > 0

    def unclaimed(self) -> tuple[Unclaimed, ...]:
        """Vouchers above what the chain has paid for them, largest difference first."""
        rows = self._db.execute(
            "SELECT voucher, claimed FROM account WHERE vouchered > claimed AND void IS NULL"
            " ORDER BY vouchered - claimed DESC"
        )
        return tuple(Unclaimed(_decode_voucher(row[0]), Units(row[1])) for row in rows)

    def unclaimed_sum(self) -> Units:
        """What the unclaimed vouchers add up to, before commission."""
        (total,) = self._db.execute(
            "SELECT COALESCE(SUM(vouchered - claimed), 0) FROM account"
            " WHERE vouchered > claimed AND void IS NULL"
        ).fetchone()
        return Units(total)

    def note_claimed(self, subscriber: Address, period: Period, claimed: Units) -> None:
        """Remember what the chain says it has paid; it only grows."""
        with self._transaction() as db:
            db.execute(
                "UPDATE account SET claimed = MAX(claimed, ?) WHERE subscriber = ? AND period = ?",
                (claimed, subscriber, period),
            )

    def note_void(self, signed: SignedVoucher, reason: str) -> None:
        """Stop claiming a voucher that is not paid again; a higher one, come meanwhile, is kept."""
        voucher = signed.voucher
        with self._transaction() as db:
            db.execute(
                "UPDATE account SET void = ? WHERE subscriber = ? AND period = ? AND vouchered = ?",
                (reason, voucher.subscriber, voucher.period, voucher.cumulative),
            )

    def earned(self) -> Units:
        """The operator's share of all vouchers, claimed or not."""
        rows = self._db.execute("SELECT vouchered FROM account WHERE void IS NULL")
        return Units(sum(node_share(Units(row[0])) for row in rows))

    def sales(self) -> tuple[Sales, ...]:
        """Sales by model."""
        rows = self._db.execute("SELECT * FROM sales ORDER BY model")
        return tuple(Sales(*row) for row in rows)

    def _drop_answers(self, db: sqlite3.Connection, total: int, now: float) -> int:
        dropped = 0
        oldest = db.execute("SELECT rowid, bytes, at FROM answer ORDER BY at, rowid")
        for rowid, size, at in oldest.fetchmany(64):
            if at > now - self._max_age and total - dropped <= self._max_bytes:
                break
            db.execute("DELETE FROM answer WHERE rowid = ?", (rowid,))
            dropped += size
        return dropped

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
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
                "ledger_unwritable",
                f"cannot write {self._path}: {error}",
                "free some space on its disk; nothing that was promised is lost",
            ) from error


def _open(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # SQLite would create it readable by all; answers are the subscribers' business.
    path.touch(mode=0o600, exist_ok=True)
    try:
        db = sqlite3.connect(path, isolation_level=None, timeout=0)
        # Exclusive, so that two nodes cannot serve from one ledger; the lock dies with the process.
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.executescript("BEGIN IMMEDIATE;" + _SCHEMA + "COMMIT;")
    except sqlite3.OperationalError as error:
        if "locked" not in str(error):
            raise _damaged(path, error) from error
        raise LocalFault(
            "already_running",
            f"another node is running with {path.parent}",
            "stop it first, or give this one a --home of its own",
        ) from error
    except sqlite3.DatabaseError as error:
        raise _damaged(path, error) from error
    return db


def _damaged(path: Path, error: sqlite3.DatabaseError) -> LocalFault:
    return LocalFault(
        "ledger_damaged",
        f"{path} cannot be used: {error}",
        "restore it from a backup; it holds the vouchers that were not claimed yet",
    )


def _decode_voucher(data: bytes) -> SignedVoucher:
    return msgspec.msgpack.decode(data, type=SignedVoucher)
