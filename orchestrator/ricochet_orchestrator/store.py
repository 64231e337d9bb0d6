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
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
from sqlalchemy import Engine, event, text
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlmodel import Session, col, create_engine, select, update

from ricochet_orchestrator.account import Account
from ricochet_orchestrator.checkpoint import (
    Answer,
    Origin,
    RunRecord,
    RunStatus,
    Status,
    StepRecord,
)
from ricochet_orchestrator.plan import Step, StepId
from ricochet_orchestrator.spending import Answered
from ricochet_orchestrator.tables import MIGRATIONS, AccountRow, AnswerRow, RunRow, StepRow
from ricochet_protocol.eip712 import SignedVoucher
from ricochet_protocol.errors import ConfigurationError, LocalFault
from ricochet_protocol.ids import Address, ModelId, PeerId, Period
from ricochet_protocol.money import Units
from ricochet_protocol.steps import Surplus

LOCK_WAIT: Final = 10.0
"""Seconds to wait for another process's transaction; each takes milliseconds."""
# Runs of the same clock tick come in the order in which they were entered.
_LATEST_FIRST: Final = (col(RunRow.created_at).desc(), text("rowid DESC"))
_encode = msgspec.msgpack.Encoder().encode
_decode_voucher = msgspec.msgpack.Decoder(SignedVoucher).decode

Change = Callable[[Account, tuple[Account, ...]], Account]
"""An account's next state; all accounts of its period are in view, for limits they share."""


class Store:
    """One open `runs.db`; close it when done."""

    def __init__(self, path: Path) -> None:
        """Open, and create or migrate; LocalFault when that is impossible."""
        self._path = path
        self._engine = _engine(path)
        try:
            self._migrate()
        except BaseException:
            self._engine.dispose()
            raise

    def close(self) -> None:
        """Release the file."""
        self._engine.dispose()

    # Runs and steps.

    def create_run(self, run: RunRecord, steps: Sequence[Step]) -> None:
        """Enter a run with all its steps, pending."""
        with self._transaction() as session:
            session.add(RunRow(**_run_columns(run)))
            session.flush()
            _add_steps(session, run.id, steps)

    def add_steps(self, run_id: str, steps: Sequence[Step], now: float) -> dict[StepId, Answer]:
        """Enter steps that became known while the run goes on; the answers there are to them.

        Those that were entered before stay as they are.
        """
        with self._transaction() as session:
            new = [step for step in steps if session.get(StepRow, (run_id, step.id)) is None]
            _add_steps(session, run_id, new)
            session.flush()
            found: dict[StepId, Answer] = {}
            for step in steps:
                row = session.get(AnswerRow, step.id)
                if row is not None:
                    found[step.id] = _answer(row)
                    _complete(session, run_id, step.id, now)
            return found

    def set_outputs(self, run_id: str, outputs: Sequence[StepId]) -> None:
        """Which answers are the run's text, from now on."""
        with self._transaction() as session:
            _set_outputs(session, run_id, outputs)

    def unfinished(self, key: str) -> RunRecord | None:
        """The latest run with this key, unless it is completed."""
        with self._transaction() as session:
            query = select(RunRow).where(RunRow.key == key)
            row = session.exec(query.order_by(*_LATEST_FIRST)).first()
            return None if row is None or row.status == RunStatus.COMPLETED else _run(row)

    def run(self, run_id: str | None) -> RunRecord | None:
        """A run, the latest one for None."""
        with self._transaction() as session:
            query = select(RunRow).order_by(*_LATEST_FIRST)
            if run_id is not None:
                query = query.where(RunRow.id == run_id)
            row = session.exec(query).first()
            return None if row is None else _run(row)

    def steps(self, run_id: str) -> tuple[StepRecord, ...]:
        """A run's steps in order of dependency."""
        with self._transaction() as session:
            query = select(StepRow).where(StepRow.run == run_id)
            rows = session.exec(query.order_by(col(StepRow.position)))
            return tuple(_step(row) for row in rows)

    def mark_run(self, run_id: str, status: RunStatus, seconds: float) -> None:
        """Where the run stands; `seconds` is the time spent on it in all."""
        with self._transaction() as session:
            where = col(RunRow.id) == run_id
            session.exec(update(RunRow).where(where).values(status=status, seconds=seconds))

    def mark_step(self, run_id: str, step: StepId, status: Status, error: str = "") -> None:
        """Where a step stands; `error` tells why it failed."""
        with self._transaction() as session:
            row = session.get_one(StepRow, (run_id, step))
            row.status, row.error = status, error

    def asking(self, run_id: str, step: StepId, peer: PeerId, advert: bytes, now: float) -> None:
        """Note whom the step is asked of, on what terms: before the ask goes out."""
        with self._transaction() as session:
            row = session.get_one(StepRow, (run_id, step))
            row.status, row.peer, row.advert = Status.RUNNING, peer, advert
            row.attempts, row.started_at = row.attempts + 1, row.started_at or now

    # Answers, and the money that follows them.

    def answers(self, run_id: str) -> dict[StepId, Answer]:
        """Every answer there is to this run's steps, whichever run paid for it."""
        with self._transaction() as session:
            query = select(AnswerRow).join(StepRow, col(StepRow.id) == col(AnswerRow.step))
            rows = session.exec(query.where(StepRow.run == run_id))
            return {StepId(row.step): _answer(row) for row in rows}

    def complete(self, answer: Answer, pay: Change) -> Account | None:
        """Write answer, receipt, voucher and account in one transaction.

        `pay` takes the account to one that has accepted the answer's cost and holds the voucher.
        None, and nothing changes, when the step has an answer already.
        """
        with self._transaction() as session:
            if session.get(AnswerRow, answer.step) is not None:
                return None
            accounts = _accounts(session, answer.period)
            account = pay(_account(session, answer.operator, answer.period), accounts)
            session.merge(_account_row(account))
            columns = {**msgspec.structs.asdict(answer), "voucher": _encode(account.voucher)}
            session.add(AnswerRow(**columns))
            _complete(session, answer.run, answer.step, answer.completed_at)
            return account

    def mark_cached(self, run_id: str, now: float) -> None:
        """Mark steps completed whose answers another run has paid for."""
        with self._transaction() as session:
            answered = col(StepRow.id).in_(select(AnswerRow.step))
            waiting = col(StepRow.status) != Status.COMPLETED
            query = update(StepRow).where(col(StepRow.run) == run_id, answered, waiting)
            session.exec(query.values(status=Status.COMPLETED, completed_at=now))

    def pause(self, run_id: str) -> None:
        """Mark steps paused whose calls were cut off; whom they were asked of stays known."""
        with self._transaction() as session:
            running = col(StepRow.status) == Status.RUNNING
            query = update(StepRow).where(col(StepRow.run) == run_id, running)
            session.exec(query.values(status=Status.PAUSED))

    # Accounts.

    def account(self, node: Address, period: Period) -> Account:
        """The account with a node; a new one when there was none."""
        with self._transaction() as session:
            return _account(session, node, period)

    def accounts(self, period: Period | None = None) -> tuple[Account, ...]:
        """All accounts of a period, or of all."""
        with self._transaction() as session:
            return _accounts(session, period)

    def payments(self) -> tuple[Answered, ...]:
        """Every answer that was paid for, of all runs and periods, with the model that gave it."""
        with self._transaction() as session:
            asked = (col(StepRow.run) == AnswerRow.run) & (col(StepRow.id) == AnswerRow.step)
            rows = session.exec(select(AnswerRow, StepRow.model).join(StepRow, asked))
            return tuple(_answered(row, model) for row, model in rows)

    def change_account(self, node: Address, period: Period, change: Change) -> Account:
        """Read, change and write an account as one; what `change` raises leaves it as it was."""
        with self._transaction() as session:
            account = change(_account(session, node, period), _accounts(session, period))
            session.merge(_account_row(account))
            return account

    def transaction(self) -> AbstractContextManager[Session]:
        """One transaction that holds the write lock, for what other modules keep here."""
        return self._transaction()

    @contextmanager
    def _transaction(self) -> Iterator[Session]:
        with self._translated(), Session(self._engine, expire_on_commit=False) as session:
            yield session
            session.commit()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Database errors in words, with the next step."""
        try:
            yield
        except OperationalError as error:
            locked = "locked" in str(error.orig)
            raise LocalFault(
                "store_locked" if locked else "store_failed",
                f"{self._path} is locked by another process."
                if locked
                else f"{self._path} cannot be used: {error.orig}.",
                "Wait for the other run to end, then run the same command again."
                if locked
                else "Check free space and permissions, then run the same command again.",
            ) from None
        except DatabaseError as error:
            raise LocalFault(
                "store_damaged",
                f"{self._path} is damaged: {error.orig}.",
                f"Move it away (`mv {self._path} {self._path}.old`); "
                "paid vouchers are resumed from the nodes.",
            ) from None

    def _migrate(self) -> None:
        with self._translated(), self._engine.begin() as connection:
            version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
            if version > len(MIGRATIONS):
                raise ConfigurationError(
                    "store_newer",
                    f"{self._path} was written by a newer Ricochet (version {version}).",
                    "Upgrade: pip install --upgrade ricochet-network.",
                )
            for number, statements in enumerate(MIGRATIONS[version:], start=version + 1):
                for statement in statements:
                    connection.exec_driver_sql(statement)
                connection.exec_driver_sql(f"PRAGMA user_version = {number}")


def _engine(path: Path) -> Engine:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Answers are private: the file is made for its owner only, and SQLite's own files beside it
        # take its mode.
        path.touch(mode=0o600)
    except OSError as error:
        raise LocalFault(
            "store_failed",
            f"{path} cannot be created: {error.strerror}.",
            "Check free space and permissions, or choose another folder with --home.",
        ) from None
    engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": LOCK_WAIT})

    @event.listens_for(engine, "connect")
    def configure(connection: sqlite3.Connection, _record: Any) -> None:
        # The driver would open transactions late and close them early; `begin` below does it.
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # Immediate: a transaction that reads first and writes later must not lose the lock between.
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _add_steps(session: Session, run_id: str, steps: Sequence[Step]) -> None:
    for step in steps:
        row = StepRow(
            run=run_id,
            id=step.id,
            position=step.position,
            name=step.name,
            role=step.role,
            model=step.model,
            status=Status.PENDING,
            inputs=_json(step.inputs),
            segments=_json(step.segments),
            slot=step.slot,
            attempt=step.attempt,
        )
        session.add(row)


def _set_outputs(session: Session, run_id: str, outputs: Sequence[StepId]) -> None:
    where = col(RunRow.id) == run_id
    session.exec(update(RunRow).where(where).values(outputs=_json(outputs)))


def _complete(session: Session, run_id: str, step_id: StepId, now: float) -> None:
    step = session.get_one(StepRow, (run_id, step_id))
    step.status, step.error, step.completed_at = Status.COMPLETED, "", now


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _run_columns(run: RunRecord) -> dict[str, Any]:
    structured = {name: _json(getattr(run, name)) for name in ("windows", "outputs", "sources")}
    return {**msgspec.structs.asdict(run), **structured}


def _run(row: RunRow) -> RunRecord:
    return RunRecord(
        id=row.id,
        key=row.key,
        document=row.document,
        chain=row.chain,
        model=ModelId(row.model),
        windows=msgspec.json.decode(row.windows, type=dict[ModelId, int]),
        status=RunStatus(row.status),
        created_at=row.created_at,
        outputs=msgspec.json.decode(row.outputs, type=tuple[StepId, ...]),
        seconds=row.seconds,
        sources=msgspec.json.decode(row.sources, type=tuple[Origin, ...]),
        cites=row.cites,
    )


def _step(row: StepRow) -> StepRecord:
    return StepRecord(
        id=StepId(row.id),
        name=row.name,
        role=row.role,
        model=ModelId(row.model),
        status=Status(row.status),
        peer=None if row.peer is None else PeerId(row.peer),
        advert=row.advert,
        attempts=row.attempts,
        error=row.error,
        started_at=row.started_at,
        completed_at=row.completed_at,
        inputs=msgspec.json.decode(row.inputs, type=tuple[StepId, ...]),
        segments=msgspec.json.decode(row.segments, type=tuple[int, ...]),
        slot=StepId(row.slot or row.id),
        attempt=row.attempt,
    )


def _answer(row: AnswerRow) -> Answer:
    return Answer(**{name: getattr(row, name) for name in Answer.__struct_fields__})


def _answered(row: AnswerRow, model: str) -> Answered:
    return Answered(
        period=Period(row.period),
        node=Address(row.operator),
        model=ModelId(model),
        completed_at=row.completed_at,
        cost=Units(row.cost),
    )


def _account(session: Session, node: Address, period: Period) -> Account:
    row = session.get(AccountRow, (node, period))
    if row is not None:
        return _account_of(row)
    # Trust earned in earlier periods counts on, and so does what was learnt of bills.
    query = select(AccountRow).where(AccountRow.node == node)
    earlier = session.exec(query.order_by(col(AccountRow.period).desc())).first()
    if earlier is None:
        return Account(node=node, period=period)
    known = _account_of(earlier)
    return Account(node=node, period=period, answers=known.answers, surplus=known.surplus)


def _account_of(row: AccountRow) -> Account:
    return Account(
        node=Address(row.node),
        period=Period(row.period),
        reserved=Units(row.reserved),
        committed=Units(row.committed),
        accepted=Units(row.accepted),
        acknowledged=Units(row.acknowledged),
        answers=row.answers,
        voucher=None if row.voucher is None else _decode_voucher(row.voucher),
        surplus=Surplus(billed=row.billed, counted=row.counted),
    )


def _account_row(account: Account) -> AccountRow:
    columns = msgspec.structs.asdict(account) | msgspec.structs.asdict(account.surplus)
    del columns["surplus"]
    columns["voucher"] = None if account.voucher is None else _encode(account.voucher)
    return AccountRow(**columns)


def _accounts(session: Session, period: Period | None) -> tuple[Account, ...]:
    query = select(AccountRow)
    if period is not None:
        query = query.where(AccountRow.period == period)
    return tuple(_account_of(row) for row in session.exec(query))
