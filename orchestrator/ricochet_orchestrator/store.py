"""The orchestrator's durable state: `runs.db`, SQLite in WAL mode.

A step is the durable unit. Its answer, receipt and voucher and the account they change are written
in one transaction; the peer it is asked of is written before the ask goes out. So a process that is
killed anywhere finds, on its next start, either a completed step, which is never asked again, or
one whose peer is known and will replay the answer it has stored.

Rows are the truth: an account is read, changed and written inside one transaction that holds the
write lock, so two runs in one home cannot sign over each other. Calls are synchronous: each takes
well under a millisecond beside model calls of seconds, and cancellation cannot cut one in half.
"""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final

import msgspec
from sqlalchemy import PoolProxiedConnection, text
from sqlmodel import Session, col, delete, select, update

from ricochet_orchestrator import ledger
from ricochet_orchestrator.account import Account
from ricochet_orchestrator.checkpoint import (
    ENDED,
    Answer,
    Check,
    Origin,
    RunRecord,
    RunStatus,
    Status,
    StepRecord,
    Wish,
)
from ricochet_orchestrator.database import migrate, open_engine, translated
from ricochet_orchestrator.document import Document
from ricochet_orchestrator.plan import Step, StepId
from ricochet_orchestrator.redaction import restore
from ricochet_orchestrator.request import Request
from ricochet_orchestrator.rows import (
    answer_of,
    answered_of,
    json_of,
    run_columns,
    run_of,
    step_of,
)
from ricochet_orchestrator.spending import Answered
from ricochet_orchestrator.tables import (
    AnswerRow,
    CallRow,
    DocumentRow,
    PlaceholderRow,
    RunRow,
    StepRow,
)
from ricochet_orchestrator.text_seal import SealRecord, opened, set_seal
from ricochet_protocol.errors import LocalFault
from ricochet_protocol.ids import Address, PeerId, Period
from ricochet_protocol.money import Units

# Runs of the same clock tick come in the order in which they were entered.
_LATEST_FIRST: Final = (col(RunRow.created_at).desc(), text("rowid DESC"))
_encode = msgspec.msgpack.Encoder().encode
_decode_request = msgspec.msgpack.Decoder(Request).decode
_decode_document = msgspec.msgpack.Decoder(Document).decode

Change = Callable[[Account, tuple[Account, ...]], Account]
"""An account's next state; all accounts of its period are in view, for limits they share."""


class Store:
    """One open `runs.db`; close it when done."""

    def __init__(self, path: Path) -> None:
        """Open, and create or migrate; LocalFault when that is impossible."""
        self._path = path
        self._engine = open_engine(path)
        self._kept: PoolProxiedConnection | None = None
        self._sealed: bytes | None = None
        self._reader = self._engine.execution_options(reading=True)
        try:
            migrate(self._engine, path)
            self._find_seal()
        except BaseException:
            self._engine.dispose()
            raise

    def close(self) -> None:
        """Release the file."""
        if self._kept is not None:
            self._kept.close()
        self._engine.dispose()

    @property
    def resealed(self) -> bool:
        """Whether another process has changed the file's encryption since it was opened."""
        with self._reading() as session:
            return ledger.seal_record(_driver(session)) != self._sealed

    def _find_seal(self) -> None:
        with self._reading() as session:
            self._sealed = ledger.seal_record(_driver(session))
        if self._sealed is not None:
            record = msgspec.msgpack.decode(self._sealed, type=SealRecord)
            set_seal(self._engine, opened(self._path, record))

    # What stands for personal data.

    def keep_values(self, values: Mapping[str, str]) -> None:
        """Remember what placeholders stand for."""
        with self._transaction() as session:
            for placeholder, value in values.items():
                session.merge(PlaceholderRow(placeholder=placeholder, value=value))

    def readable(self, run_id: str) -> dict[StepId, Answer]:
        """The run's answers for a person, with values in the place of placeholders."""
        answers, values = self.answers(run_id), self._values()
        return {
            step: msgspec.structs.replace(answer, text=restore(answer.text, values))
            for step, answer in answers.items()
        }

    def readable_run(self, run: RunRecord) -> RunRecord:
        """The run for a person, with the names of its files as they are."""
        values = self._values()

        def named(places: tuple[Origin, ...]) -> tuple[Origin, ...]:
            return tuple(
                msgspec.structs.replace(one, part=restore(one.part, values)) for one in places
            )

        return msgspec.structs.replace(
            run, sources=named(run.sources), passages=named(run.passages)
        )

    def _values(self) -> dict[str, str]:
        with self._reading() as session:
            return {row.placeholder: row.value for row in session.exec(select(PlaceholderRow))}

    # Runs and steps.

    def enter(self, run: RunRecord, request: Request, document: Document) -> None:
        """Enter a run that has no plan yet, with what going on with it takes."""
        with self._transaction() as session:
            if session.get(DocumentRow, document.sha256) is None:
                encoded = _encode(document)
                session.add(DocumentRow(sha256=document.sha256, document=encoded))
            session.add(RunRow(**run_columns(run), request=_encode(request)))

    def plan_run(self, run: RunRecord, steps: Iterable[Step]) -> None:
        """Enter the run's plan, as far as it is known: its steps, pending.

        Steps of an earlier plan stay where their answers were paid for; what was paid is history.
        """
        with self._transaction() as session:
            columns = run_columns(run)
            names = ("model", "windows", "outputs", "sources", "passages", "cites")
            values = {name: columns[name] for name in names}
            session.exec(update(RunRow).where(col(RunRow.id) == run.id).values(values))
            paid = select(AnswerRow.step).where(AnswerRow.run == run.id)
            old = col(StepRow.run) == run.id
            session.exec(delete(StepRow).where(old, col(StepRow.id).not_in(paid)))
            ledger.write_steps(_driver(session), run.id, steps)

    def add_steps(self, run_id: str, steps: Sequence[Step], now: float) -> dict[StepId, Answer]:
        """Enter steps that became known while the run goes on; the answers there are to them.

        Those that were entered before stay as they are.
        """
        with self._transaction() as session:
            connection = _driver(session)
            ledger.write_steps(connection, run_id, steps)
            known = [step.id for step in steps if ledger.answered(connection, step.id)]
            for step in known:
                ledger.complete_step(connection, run_id, step, now)
            rows = (session.get_one(AnswerRow, step) for step in known)
            return {StepId(row.step): answer_of(row) for row in rows}

    def set_outputs(
        self, run_id: str, outputs: Sequence[StepId], passages: Sequence[Origin]
    ) -> None:
        """Which answers are the run's text, from now on, and what was quoted for them."""
        with self._transaction() as session:
            values = {"outputs": json_of(outputs), "passages": json_of(passages)}
            session.exec(update(RunRow).where(col(RunRow.id) == run_id).values(values))

    def request(self, run_id: str) -> Request | None:
        """What the run was entered for; None for a run of an older version, which kept less."""
        with self._reading() as session:
            row = session.get(RunRow, run_id)
            return None if row is None or row.request is None else _decode_request(row.request)

    def document(self, sha256: str) -> Document | None:
        """A stored document."""
        with self._reading() as session:
            row = session.get(DocumentRow, sha256)
            return None if row is None else _decode_document(row.document)

    def wish(self, run_id: str) -> Wish:
        """What is wanted of the run; waits for nobody's transaction, and takes 10 µs."""
        with translated(self._path):
            query = "SELECT wish FROM runs WHERE id = ?"
            found = self._connection.execute(query, (run_id,)).fetchone()
        return Wish.RUN if found is None else Wish(found[0])

    def set_wish(self, run_id: str, wish: Wish) -> None:
        """Say what is wanted of the run."""
        with self._transaction() as session:
            where = col(RunRow.id) == run_id
            session.exec(update(RunRow).where(where).values(wish=wish))

    def runs(self, limit: int) -> tuple[RunRecord, ...]:
        """The latest runs, latest first."""
        with self._reading() as session:
            rows = session.exec(select(RunRow).order_by(*_LATEST_FIRST).limit(limit))
            return tuple(run_of(row) for row in rows)

    def unfinished(self, key: str) -> RunRecord | None:
        """The latest run with this key, unless it has ended."""
        with self._reading() as session:
            query = select(RunRow).where(RunRow.key == key)
            row = session.exec(query.order_by(*_LATEST_FIRST)).first()
            return None if row is None or row.status in ENDED else run_of(row)

    def run(self, run_id: str | None) -> RunRecord | None:
        """A run, the latest one for None."""
        with self._reading() as session:
            query = select(RunRow).order_by(*_LATEST_FIRST)
            if run_id is not None:
                query = query.where(RunRow.id == run_id)
            row = session.exec(query).first()
            return None if row is None else run_of(row)

    def steps(self, run_id: str) -> tuple[StepRecord, ...]:
        """A run's steps in order of dependency."""
        with self._reading() as session:
            query = select(StepRow).where(StepRow.run == run_id)
            rows = session.exec(query.order_by(col(StepRow.position)))
            return tuple(step_of(row) for row in rows)

    def take_up(self, run_id: str, request: Request | None) -> None:
        """Have the run wait for a process; steps that were given up are to be tried again."""
        with self._transaction() as session:
            values: dict[str, object] = {"status": RunStatus.PENDING, "wish": Wish.RUN, "error": ""}
            values |= {} if request is None else {"request": _encode(request)}
            session.exec(update(RunRow).where(col(RunRow.id) == run_id).values(values))
            given_up = col(StepRow.status).in_((Status.FAILED, Status.CANCELLED))
            query = update(StepRow).where(col(StepRow.run) == run_id, given_up)
            session.exec(query.values(status=Status.PENDING))

    def stopped(self, run_id: str, error: str) -> None:
        """Say why nobody works on the run any more, wherever it got to."""
        with self._transaction() as session:
            where = col(RunRow.id) == run_id
            session.exec(update(RunRow).where(where).values(error=error))
            begun = col(RunRow.status).in_((RunStatus.PENDING, RunStatus.RUNNING))
            query = update(RunRow).where(where, begun)
            session.exec(query.values(status=RunStatus.PAUSED))

    def begin(self, run_id: str, worker: str) -> None:
        """A process has taken up the run."""
        with self._transaction() as session:
            values = {"status": RunStatus.RUNNING, "worker": worker, "error": ""}
            session.exec(update(RunRow).where(col(RunRow.id) == run_id).values(values))

    def close_run(
        self, run_id: str, status: RunStatus, seconds: float, moved: Mapping[Status, Status]
    ) -> None:
        """Where the run stands now that nobody works on it, and its steps, as `moved` says.

        `seconds` is the time spent on it in all.
        """
        values = {"status": status, "seconds": seconds}
        with self._transaction() as session:
            session.exec(update(RunRow).where(col(RunRow.id) == run_id).values(values))
            for was, now in moved.items():
                steps = update(StepRow).where(
                    col(StepRow.run) == run_id, col(StepRow.status) == was
                )
                session.exec(steps.values(status=now))

    def lose(self, run_id: str, lost: Units) -> None:
        """A call of the run failed, and its node may keep so much."""
        with self._writing() as connection:
            ledger.write_loss(connection, run_id, lost)

    def mark_step(self, run_id: str, step: StepId, status: Status, error: str = "") -> None:
        """Where a step stands; `error` tells why it failed."""
        with self._writing() as connection:
            ledger.change_step(connection, run_id, step, {"status": status, "error": error})

    def asking(self, run_id: str, step: StepId, peer: PeerId, advert: bytes, now: float) -> None:
        """Note whom the step is asked of, on what terms: before the ask goes out."""
        with self._writing() as connection:
            ledger.write_asking(connection, run_id, step, peer, advert, now)

    # Answers, and the money that follows them.

    def answers_to(self, steps: Sequence[StepId]) -> dict[StepId, Answer]:
        """The answers there are to these steps, of whatever run."""
        with self._reading() as session:
            rows = (session.get(AnswerRow, step) for step in steps)
            return {StepId(row.step): answer_of(row) for row in rows if row is not None}

    def answers(self, run_id: str) -> dict[StepId, Answer]:
        """Every answer there is to this run's steps, whichever run paid for it."""
        with self._reading() as session:
            query = select(AnswerRow).join(StepRow, col(StepRow.id) == col(AnswerRow.step))
            rows = session.exec(query.where(StepRow.run == run_id))
            return {StepId(row.step): answer_of(row) for row in rows}

    def complete(self, answer: Answer, pay: Change) -> Account | None:
        """Write answer, receipt, voucher and account in one transaction.

        `pay` takes the account to one that has accepted the answer's cost and holds the voucher.
        None, and nothing changes, when the step has an answer already.
        """
        with self._writing() as connection:
            if ledger.answered(connection, answer.step):
                return None
            account = _changed(connection, answer.operator, answer.period, pay)
            ledger.write_answer(connection, self._engine.dialect, answer, account.voucher)
            return account

    def mark_cached(self, run_id: str, now: float) -> None:
        """Mark steps completed whose answers another run has paid for."""
        with self._transaction() as session:
            answered = col(StepRow.id).in_(select(AnswerRow.step))
            waiting = col(StepRow.status) != Status.COMPLETED
            query = update(StepRow).where(col(StepRow.run) == run_id, answered, waiting)
            session.exec(query.values(status=Status.COMPLETED, completed_at=now))

    # Accounts.

    def account(self, node: Address, period: Period) -> Account:
        """The account with a node; a new one when there was none."""
        with translated(self._path):
            return ledger.account(self._connection, node, period)

    def accounts(self, period: Period | None = None) -> tuple[Account, ...]:
        """All accounts of a period, or of all."""
        with translated(self._path):
            return ledger.accounts(self._connection, period)

    def payments(self) -> tuple[Answered, ...]:
        """Every answer that was paid for, of all runs, calls and periods, with its model."""
        with self._reading() as session:
            asked = (col(StepRow.run) == AnswerRow.run) & (col(StepRow.id) == AnswerRow.step)
            rows = session.exec(select(AnswerRow, StepRow.model).join(StepRow, asked))
            steps = tuple(answered_of(row, model) for row, model in rows)
            calls = session.exec(select(CallRow).where(col(CallRow.receipt).is_not(None)))
            return steps + tuple(answered_of(row, row.model) for row in calls)

    def check_paid(self, check: Check, pay: Change) -> Account:
        """Write the answer to a check on a peer, and the account that pays for it, as one."""
        with self._writing() as connection:
            account = _changed(connection, check.operator, check.period, pay)
            ledger.write_check(connection, check, account.voucher)
            return account

    def change_account(self, node: Address, period: Period, change: Change) -> Account:
        """Read, change and write an account as one; what `change` raises leaves it as it was."""
        with self._writing() as connection:
            return _changed(connection, node, period, change)

    @contextmanager
    def changing(
        self, node: Address, period: Period, change: Change
    ) -> Iterator[tuple[Session, Account]]:
        """The same, and the transaction it happens in: what is written there stands or falls
        with it."""
        with self.transaction() as session:
            yield session, _changed(_driver(session), node, period, change)

    def reading(self) -> AbstractContextManager[Session]:
        """One consistent look without the write lock, for other modules likewise."""
        return self._reading()

    def transaction(self) -> AbstractContextManager[Session]:
        """One transaction that holds the write lock, for what other modules keep here."""
        return self._transaction()

    @contextmanager
    def _transaction(self) -> Iterator[Session]:
        with translated(self._path), Session(self._engine, expire_on_commit=False) as session:
            self._check_seal(_driver(session))
            yield session
            session.commit()

    @property
    def _connection(self) -> sqlite3.Connection:
        """The kept connection for `ledger`; between transactions each statement is its own."""
        if self._kept is None:
            self._kept = self._engine.raw_connection()
        return _sqlite(self._kept)

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction that holds the write lock, on the kept connection."""
        with translated(self._path):
            connection = self._connection
            connection.execute("BEGIN IMMEDIATE")
            try:
                self._check_seal(connection)
                yield connection
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    def _check_seal(self, connection: sqlite3.Connection) -> None:
        if ledger.seal_record(connection) != self._sealed:
            # Written with the seal of before, it would be readable, or lost.
            raise LocalFault(
                "store_resealed",
                f"The encryption of {self._path} was changed meanwhile.",
                "Run the same command again; what was stored is kept.",
            )

    @contextmanager
    def _reading(self) -> Iterator[Session]:
        """One consistent look, without the write lock: nobody waits for it, and it for nobody."""
        with translated(self._path), Session(self._reader, expire_on_commit=False) as session:
            yield session


def _driver(session: Session) -> sqlite3.Connection:
    """What the session's transaction runs on."""
    return _sqlite(session.connection().connection)


def _sqlite(pooled: PoolProxiedConnection) -> sqlite3.Connection:
    found = pooled.driver_connection
    assert isinstance(found, sqlite3.Connection)
    return found


def _changed(
    connection: sqlite3.Connection, node: Address, period: Period, change: Change
) -> Account:
    before = ledger.account(connection, node, period)
    account = change(before, ledger.accounts(connection, period))
    if account != before:
        ledger.write_account(connection, account)
    return account
