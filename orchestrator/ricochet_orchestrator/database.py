"""Opens `runs.db`: a private file, in WAL mode, with transactions that begin when they should."""

import sqlite3
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Engine, event
from sqlalchemy.engine import Connection
from sqlmodel import create_engine

from ricochet_protocol.errors import LocalFault

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

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # Immediate: a transaction that reads first and writes later must not lose the lock between.
        reading = connection.get_execution_options().get("reading", False)
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")

    return engine
