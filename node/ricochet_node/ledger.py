"""What the node is owed and what it promised, on disk before anybody is told: `node.db`.

Each transaction is one promise: an answer with its receipt and the rise of what is due, before
`Answered` is sent; a voucher, before `AccountState` acknowledges it. SQLite in WAL mode with full
synchronisation keeps both through kill -9 and power loss. The file is locked for one process. What
the chain has paid is only noted here: the chain's word replaces the note whenever it is read.

Calls are made on the event loop on purpose. One costs a single sync of the log (0.2 to 2 ms on an
SSD), which answers that end together share; and with no pause between a check and its write, no
other call can come between the two.
"""

import sqlite3
from collections.abc import Awaitable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from ricochet_node.group_commit import GroupCommit, Written
from ricochet_node.ledger_file import fault, open_file, open_to_read
from ricochet_protocol.answer import Answer
from ricochet_protocol.conversation import ToolCall
from ricochet_protocol.eip712 import SignedVoucher
from ricochet_protocol.errors import LocalFault
from ricochet_protocol.ids import Address, Hash32, ModelId, Period, RequestId
from ricochet_protocol.messages import Answered
from ricochet_protocol.money import Units, node_share

MAX_AMOUNT: Final = 2**63 - 1
"""What a column holds: nine trillion dollars. Amounts above it are refused at the door."""
MAX_ANSWER_BYTES: Final = 256 * 1024 * 1024
MAX_ANSWER_AGE: Final = 24 * 3600
"""Seconds a client may take to repeat an ask whose answer it lost."""


class Account(msgspec.Struct, frozen=True):
    """One subscriber's period here: what was served, and the highest voucher for it.

    `void` says why that voucher is not claimed, "" when it can be.
    """

    due: Units = Units(0)
    vouchered: Units = Units(0)
    voucher: SignedVoucher | None = None
    void: str = ""


class StoredAnswer(msgspec.Struct, frozen=True):
    """An answer as it was given; `ask` is the digest of the ask it belongs to."""

    ask: Hash32
    answer: Answer
    answered: Answered


class Entry(msgspec.Struct, frozen=True):
    """One subscriber's period as it stands in the books.

    `claimed`, `ends` and `closed` (its claim window is over) are what the chain said last; `ends`
    is None before it was asked. `void` says why the voucher is not claimed, "" when it can be.
    """

    subscriber: Address
    period: Period
    due: Units
    vouchered: Units
    voucher: SignedVoucher | None
    claimed: Units
    ends: int | None = None
    closed: bool = False
    void: str = ""


class Sales(msgspec.Struct, frozen=True):
    """What was sold of one model since the beginning; `earned` before commission."""

    model: ModelId
    calls: int
    tokens_in: int
    tokens_out: int
    earned: Units


class Books(msgspec.Struct, frozen=True):
    """Everything owed and paid at one moment; `served` is the sum of the sales."""

    entries: tuple[Entry, ...]
    served: Units


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
        self._db = open_file(path)
        self._group = GroupCommit(self._db)
        self._bytes = self._sum()

    def close(self) -> None:
        """Release the file; may be called twice."""
        self._db.close()

    def account(self, subscriber: Address, period: Period) -> Account:
        """Zeroes for a stranger."""
        row = self._db.execute(
            "SELECT due, vouchered, voucher, void FROM account WHERE subscriber = ? AND period = ?",
            (subscriber, period),
        ).fetchone()
        if row is None:
            return Account()
        voucher = None if row[2] is None else _decode_voucher(row[2])
        return Account(due=row[0], vouchered=row[1], voucher=voucher, void=row[3] or "")

    def answer(self, subscriber: Address, request_id: RequestId) -> StoredAnswer | None:
        """The stored answer of a call that was completed, while it is kept."""
        row = self._db.execute(
            "SELECT ask, text, answered, calls FROM answer WHERE subscriber = ? AND request_id = ?",
            (subscriber, request_id),
        ).fetchone()
        if row is None:
            return None
        answered = msgspec.msgpack.decode(row[2], type=Answered)
        answer = Answer(text=row[1], calls=_decode_calls(row[3]))
        return StoredAnswer(ask=Hash32(row[0]), answer=answer, answered=answered)

    def record(self, model: ModelId, answer: StoredAnswer, now: float) -> None:
        """Keep an answer with its receipt and raise what is due to the receipt's `due`.

        `now` is Unix seconds; answers that are too old or too many are dropped on the way.
        """
        with self._transaction():
            self._record(model, answer, now)

    def record_together(self, model: ModelId, answer: StoredAnswer, now: float) -> Awaitable[None]:
        """The same, on disk with what others record at this moment: when the result is awaited.

        What is due has risen for whoever reads next. LocalFault `ledger_unwritable`, from here or
        from the result: then nothing was recorded.
        """
        with self._unwritable(), self._group.join() as written:
            self._record(model, answer, now)
        return self._written(written)

    async def _written(self, written: Written) -> None:
        try:
            with self._unwritable():
                await written
        except LocalFault:
            self._bytes = self._sum()
            raise

    def _record(self, model: ModelId, answer: StoredAnswer, now: float) -> None:
        db = self._db
        receipt = answer.answered.receipt.receipt
        calls = _encode(answer.answer.calls)
        size = len(answer.answer.text.encode()) + len(calls)
        db.execute(
            "INSERT INTO account (subscriber, period, due) VALUES (?, ?, ?)"
            " ON CONFLICT DO UPDATE SET due = excluded.due",
            (receipt.subscriber, receipt.period, receipt.due),
        )
        db.execute(
            "INSERT INTO answer VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                receipt.subscriber,
                receipt.request_id,
                answer.ask,
                answer.answer.text,
                _encode(answer.answered),
                size,
                now,
                calls,
            ),
        )
        _sell(db, model, receipt.tokens_in, receipt.tokens_out, receipt.cost)
        dropped = self._drop_answers(db, self._bytes + size, now)
        self._bytes += size - dropped

    def _sum(self) -> int:
        (total,) = self._db.execute("SELECT COALESCE(SUM(bytes), 0) FROM answer").fetchone()
        return int(total)

    def charge(
        self,
        subscriber: Address,
        period: Period,
        model: ModelId,
        tokens: tuple[int, int],
        cost: Units,
    ) -> None:
        """Raise what is due by what a client was given who left; `tokens` are those in and out."""
        with self._transaction() as db:
            db.execute(
                "INSERT INTO account (subscriber, period, due) VALUES (?, ?, ?)"
                " ON CONFLICT DO UPDATE SET due = due + excluded.due",
                (subscriber, period, cost),
            )
            _sell(db, model, *tokens, cost)

    def use(self, own: Mapping[ModelId, tuple[int, int, int]]) -> None:
        """Add calls, tokens in and tokens out, by model, that nobody pays for."""
        with self._transaction() as db:
            for model, (calls, tokens_in, tokens_out) in own.items():
                _sell(db, model, tokens_in, tokens_out, Units(0), calls)

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

    def live(self) -> tuple[Entry, ...]:
        """Entries on which the chain's last word is not spoken: their claim window is open."""
        return _entries(self._db, and_closed=False)

    def books(self) -> Books:
        """All entries and the sum of all sales."""
        return _books(self._db)

    def unclaimed_sum(self) -> Units:
        """What the vouchers that can be claimed add up to, before commission."""
        (total,) = self._db.execute(
            "SELECT COALESCE(SUM(vouchered - claimed), 0) FROM account"
            " WHERE vouchered > claimed AND void IS NULL AND closed = 0"
        ).fetchone()
        return Units(total)

    def note_chain(
        self,
        subscriber: Address,
        period: Period,
        *,
        claimed: Units,
        ends: int,
        backing: Units,
        closed: bool,
    ) -> None:
        """Note what the chain says; a voucher given up at a smaller `backing` is claimable again.

        `backing` is the period's budget plus this node's commitment: while it stands still, so does
        what the contract would pay. `claimed` replaces the note also downward: a reorganisation can
        take a claim back.
        """
        values = {
            "subscriber": subscriber, "period": period,
            "claimed": claimed, "ends": ends, "backing": backing, "closed": closed,
        }  # fmt: skip
        (known,) = self._db.execute(
            "SELECT COUNT(*) FROM account WHERE subscriber = :subscriber AND period = :period"
            " AND claimed = :claimed AND ends IS :ends AND closed = :closed"
            " AND (void IS NULL OR void_backing >= :backing)",
            values,
        ).fetchone()
        if known:
            return  # a look at many accounts costs no write for those that stand still
        with self._transaction() as db:
            db.execute(
                "UPDATE account SET claimed = :claimed, ends = :ends, closed = :closed,"
                " void = CASE WHEN void_backing >= :backing THEN void END"
                " WHERE subscriber = :subscriber AND period = :period",
                values,
            )

    def note_claimed(self, subscriber: Address, period: Period, claimed: Units) -> None:
        """Note what the chain says it has paid after a claim."""
        with self._transaction() as db:
            db.execute(
                "UPDATE account SET claimed = ? WHERE subscriber = ? AND period = ?",
                (claimed, subscriber, period),
            )

    def note_void(self, signed: SignedVoucher, reason: str, backing: Units) -> None:
        """Give a voucher up until its backing exceeds `backing` or a higher one comes."""
        voucher = signed.voucher
        with self._transaction() as db:
            db.execute(
                "UPDATE account SET void = ?, void_backing = ?"
                " WHERE subscriber = ? AND period = ? AND vouchered = ?",
                (reason, backing, voucher.subscriber, voucher.period, voucher.cumulative),
            )

    def earned(self) -> Units:
        """The operator's share of what the chain has paid, or will for vouchers not given up."""
        rows = self._db.execute(
            "SELECT CASE WHEN closed OR void IS NOT NULL THEN claimed"
            " ELSE MAX(vouchered, claimed) END FROM account"
        )
        return Units(sum(node_share(Units(row[0])) for row in rows))

    def owed(self, subscriber: Address, before: Period) -> Units:
        """What was served in periods before that one, and not paid by a claim noted here."""
        (total,) = self._db.execute(
            "SELECT COALESCE(SUM(due - claimed), 0) FROM account"
            " WHERE subscriber = ? AND period < ? AND due > claimed",
            (subscriber, before),
        ).fetchone()
        return Units(total)

    def sales(self) -> tuple[Sales, ...]:
        """Sales by model."""
        rows = self._db.execute("SELECT * FROM sales ORDER BY model")
        return tuple(Sales(*row) for row in rows)

    def _drop_answers(self, db: sqlite3.Connection, total: int, now: float) -> int:
        dropped = 0
        gone = []
        # Mostly the oldest one stays, and none but it is read.
        oldest = db.execute("SELECT rowid, bytes, at FROM answer ORDER BY at, rowid LIMIT 64")
        for rowid, size, at in oldest:
            if at > now - self._max_age and total - dropped <= self._max_bytes:
                break
            gone.append((rowid,))
            dropped += size
        oldest.close()
        if gone:
            db.executemany("DELETE FROM answer WHERE rowid = ?", gone)
        return dropped

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._unwritable(), self._group.change() as db:
            yield db

    @contextmanager
    def _unwritable(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise LocalFault(
                "ledger_unwritable",
                f"cannot write {self._path}: {error}",
                "free some space on its disk; nothing that was promised is lost",
            ) from error


def _sell(
    db: sqlite3.Connection,
    model: ModelId,
    tokens_in: int,
    tokens_out: int,
    cost: Units,
    calls: int = 1,
) -> None:
    db.execute(
        "INSERT INTO sales VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
        " calls = calls + excluded.calls, tokens_in = tokens_in + excluded.tokens_in,"
        " tokens_out = tokens_out + excluded.tokens_out,"
        " earned = earned + excluded.earned",
        (model, calls, tokens_in, tokens_out, cost),
    )


def read_books(path: Path) -> Books:
    """The books of a node that does not run, and no write to them; empty before the first start.

    LocalFault `already_running`, `ledger_old` or `ledger_damaged`.
    """
    if not path.exists():
        return Books(entries=(), served=Units(0))
    db = open_to_read(path)
    try:
        db.execute("BEGIN")
        return _books(db)
    except sqlite3.DatabaseError as error:
        raise fault(path, error) from error
    finally:
        db.close()


def _books(db: sqlite3.Connection) -> Books:
    (served,) = db.execute("SELECT COALESCE(SUM(earned), 0) FROM sales").fetchone()
    return Books(entries=_entries(db, and_closed=True), served=Units(served))


def _entries(db: sqlite3.Connection, *, and_closed: bool) -> tuple[Entry, ...]:
    rows = db.execute(
        "SELECT subscriber, period, due, vouchered, voucher, claimed, ends, closed, void"
        " FROM account WHERE (due > 0 OR vouchered > 0) AND closed <= ?"
        " ORDER BY subscriber, period",
        (and_closed,),
    )
    return tuple(
        Entry(
            subscriber=row[0],
            period=row[1],
            due=row[2],
            vouchered=row[3],
            voucher=None if row[4] is None else _decode_voucher(row[4]),
            claimed=row[5],
            ends=row[6],
            closed=bool(row[7]),
            void=row[8] or "",
        )
        for row in rows
    )


_encode = msgspec.msgpack.Encoder().encode
_decode_calls = msgspec.msgpack.Decoder(tuple[ToolCall, ...]).decode


def _decode_voucher(data: bytes) -> SignedVoucher:
    return msgspec.msgpack.decode(data, type=SignedVoucher)
