"""Plain SQL for what every call does to `runs.db`: its step, its answer and the account it changes.

Each function works inside a transaction that its caller has begun on the driver's connection, so
that together they stand or fall. Mapped objects would cost ten times as much for the same rows,
and a call makes a dozen of these. Contents still pass through the types of their columns, which
close them under the file's seal; no statement here is built from anything but column names.
"""

import sqlite3
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec
from sqlalchemy import Dialect

from ricochet_orchestrator.account import Account
from ricochet_orchestrator.checkpoint import Answer, Check, Status
from ricochet_orchestrator.plan import Step, StepId
from ricochet_orchestrator.rows import step_columns
from ricochet_orchestrator.tables import METADATA
from ricochet_orchestrator.text_seal import SealedBytes, SealedText
from ricochet_protocol.eip712 import SignedVoucher
from ricochet_protocol.errors import LocalFault
from ricochet_protocol.ids import Address, PeerId, Period
from ricochet_protocol.money import Units
from ricochet_protocol.steps import Surplus

_encode = msgspec.msgpack.Encoder().encode
_decode_voucher = msgspec.msgpack.Decoder(SignedVoucher).decode


def _written(table: str, verb: str) -> str:
    names = [column.name for column in METADATA.tables[table].columns]
    # Names of columns only: the values are bound.
    listed = '", "'.join(names)
    return f'{verb} INTO {table} ("{listed}") VALUES (:{", :".join(names)})'


_ACCOUNT: Final = (
    "SELECT node, period, reserved, committed, accepted, acknowledged, answers, voucher, billed,"
    " counted FROM accounts"
)
_WRITE_ACCOUNT: Final = _written("accounts", "INSERT OR REPLACE")
_WRITE_ANSWER: Final = _written("answers", "INSERT")
_WRITE_STEP: Final = _written("steps", "INSERT OR IGNORE")
_WRITE_CALL: Final = _written("calls", "INSERT OR REPLACE")
_SEALED: Final = tuple(
    (column.name, column.type)
    for column in METADATA.tables["answers"].columns
    if isinstance(column.type, SealedText | SealedBytes)
)


def seal_record(connection: sqlite3.Connection) -> bytes | None:
    """How the key of the sealed columns is kept, encoded; None in a file without a seal."""
    found = connection.execute("SELECT record FROM seal").fetchone()
    return None if found is None else bytes(found[0])


def account(connection: sqlite3.Connection, node: Address, period: Period) -> Account:
    """The account with a node; a new one when there was none."""
    # Trust earned in earlier periods counts on, and so does what was learnt of bills.
    query = f"{_ACCOUNT} WHERE node = ? ORDER BY period = ? DESC, period DESC LIMIT 1"
    found = connection.execute(query, (node, period)).fetchone()
    if found is None:
        return Account(node=node, period=period)
    known = _account_of(found)
    if known.period == period:
        return known
    return Account(node=node, period=period, answers=known.answers, surplus=known.surplus)


def accounts(connection: sqlite3.Connection, period: Period | None) -> tuple[Account, ...]:
    """All accounts of a period, or of all."""
    if period is None:
        return tuple(map(_account_of, connection.execute(_ACCOUNT)))
    return tuple(map(_account_of, connection.execute(f"{_ACCOUNT} WHERE period = ?", (period,))))


def write_account(connection: sqlite3.Connection, found: Account) -> None:
    """Enter how the account stands now."""
    columns = msgspec.structs.asdict(found) | msgspec.structs.asdict(found.surplus)
    del columns["surplus"]
    columns["voucher"] = None if found.voucher is None else _encode(found.voucher)
    connection.execute(_WRITE_ACCOUNT, columns)


def write_check(
    connection: sqlite3.Connection, check: Check, voucher: SignedVoucher | None
) -> None:
    """Enter a check as a call, which no API key has made: `key` is its kind."""
    values = msgspec.structs.asdict(check)
    del values["kind"], values["run"]
    done = {"key": check.kind, "request": check.run, "status": "completed", "answer": None}
    zero = {"held": 0, "charged": 0, "conflicts": 0}
    times = {"created_at": check.completed_at, "voucher": _encode(voucher)}
    connection.execute(_WRITE_CALL, {**values, **done, **zero, **times})


def answered(connection: sqlite3.Connection, step: StepId) -> bool:
    """Whether the step has an answer, of whatever run."""
    query = "SELECT 1 FROM answers WHERE step = ?"
    return connection.execute(query, (step,)).fetchone() is not None


def write_answer(
    connection: sqlite3.Connection,
    dialect: Dialect,
    answer: Answer,
    voucher: SignedVoucher | None,
) -> None:
    """Enter an answer with the voucher that pays for it; its step is completed by it."""
    columns = {**msgspec.structs.asdict(answer), "voucher": _encode(voucher)}
    for name, kind in _SEALED:
        columns[name] = kind.process_bind_param(columns[name], dialect)
    connection.execute(_WRITE_ANSWER, columns)
    complete_step(connection, answer.run, answer.step, answer.completed_at)


def complete_step(connection: sqlite3.Connection, run: str, step: StepId, now: float) -> None:
    """The step has its answer; LocalFault for a step not there."""
    done = {"status": Status.COMPLETED, "error": "", "completed_at": now}
    change_step(connection, run, step, done)


def write_steps(connection: sqlite3.Connection, run: str, steps: Iterable[Step]) -> None:
    """Enter a run's steps as pending; those that are there stay as they are."""
    connection.executemany(_WRITE_STEP, (step_columns(run, step) for step in steps))


def change_step(
    connection: sqlite3.Connection, run: str, step: StepId, values: Mapping[str, Any]
) -> None:
    """Set columns of a step; their names are the caller's own. LocalFault for a step not there."""
    setting = ", ".join(f"{name} = :{name}" for name in values)
    query = f"UPDATE steps SET {setting} WHERE run = :run AND id = :id"  # noqa: S608 - see above
    _found(connection.execute(query, {**values, "run": run, "id": step}), run, step)


def write_loss(connection: sqlite3.Connection, run: str, lost: Units) -> None:
    """Add what a failed call of a run may have cost."""
    connection.execute("UPDATE runs SET lost = lost + ? WHERE id = ?", (lost, run))


def write_asking(
    connection: sqlite3.Connection, run: str, step: StepId, peer: PeerId, advert: bytes, now: float
) -> None:
    """Enter whom a step is asked of; LocalFault for a step not there."""
    query = (
        "UPDATE steps SET status = ?, peer = ?, advert = ?, attempts = attempts + 1,"
        " started_at = ifnull(started_at, ?) WHERE run = ? AND id = ?"
    )
    values = (Status.RUNNING, peer, advert, now, run, step)
    _found(connection.execute(query, values), run, step)


def _found(cursor: sqlite3.Cursor, run: str, step: StepId) -> None:
    if cursor.rowcount != 1:
        raise LocalFault(
            "step_missing",
            f"run {run} has no step {step} any more",
            "Another process has planned the run anew: run the same command again.",
        )


def _account_of(row: tuple[Any, ...]) -> Account:
    node, period, reserved, committed, accepted, acknowledged, answers, voucher, *bills = row
    billed, counted = bills
    return Account(
        node=Address(node),
        period=Period(period),
        reserved=Units(reserved),
        committed=Units(committed),
        accepted=Units(accepted),
        acknowledged=Units(acknowledged),
        answers=answers,
        voucher=None if voucher is None else _decode_voucher(voucher),
        surplus=Surplus(billed=billed, counted=counted),
    )
