"""Opens `runs.db`: a private file, in WAL mode, with transactions that begin when they should."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Engine, event
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DatabaseError, OperationalError, StatementError
from sqlmodel import create_engine

from ricochet_orchestrator.tables import MIGRATIONS
from ricochet_protocol.errors import ConfigurationError, LocalFault, RicochetError

LOCK_WAIT: Final = 10.0
"""Seconds to wait for another process's transaction; each takes milliseconds."""


def open_engine(path: Path) -> Engine:
    """The database at `path`, made when there is none; LocalFault when that is impossible."""
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
        # What was content of a deleted or rewritten row must not stay readable in free pages.
        connection.execute("PRAGMA secure_delete = ON")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # Immediate: a transaction that reads first and writes later must not lose the lock between.
        reading = connection.get_execution_options().get("reading", False)
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")

    return engine


def migrate(engine: Engine, path: Path) -> None:
    """Bring the tables to this version; ConfigurationError for those of a newer one."""
    with translated(path), engine.begin() as connection:
        version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
        if version > len(MIGRATIONS):
            raise ConfigurationError(
                "store_newer",
                f"{path} was written by a newer Ricochet (version {version}).",
                "Upgrade: pip install --upgrade ricochet-network.",
            )
        for number, statements in enumerate(MIGRATIONS[version:], start=version + 1):
            for statement in statements:
                connection.exec_driver_sql(statement)
            connection.exec_driver_sql(f"PRAGMA user_version = {number}")


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Database errors in words, with the next step."""
    try:
        yield
    except (OperationalError, sqlite3.OperationalError) as error:
        # The driver's own, where its connection is used without SQLAlchemy.
        said = str(getattr(error, "orig", error))
        locked = "locked" in said
        raise LocalFault(
            "store_locked" if locked else "store_failed",
            f"{path} is locked by another process."
            if locked
            else f"{path} cannot be used: {said}.",
            "Wait for the other run to end, then run the same command again."
            if locked
            else "Check free space and permissions, then run the same command again.",
        ) from None
    except (DatabaseError, sqlite3.DatabaseError) as error:
        raise LocalFault(
            "store_damaged",
            f"{path} is damaged: {getattr(error, 'orig', error)}.",
            f"Move it away (`mv {path} {path}.old`); paid vouchers are resumed from the nodes.",
        ) from None
    except StatementError as error:
        # What a column's type raises comes wrapped: a seal that does not open.
        if isinstance(error.orig, RicochetError):
            raise error.orig from None
        raise
