"""How keys stand with their providers, in memory and on disk: `pool.db`.

One row a key, or a key with one model, that is not ready; it is on disk before the next call is
chosen, so that neither kill -9 nor a restart sends what a provider asked not to send. `mark`
tells the key's record in the keystore: a row of another record, replaced since, counts no more.

The node's process writes what its calls tell. Of commands, `ricochet keys enable`, `rotate` and
`remove` delete a key's rows, and `keys test` does so or keeps what it has learnt; a running node
sees either when it looks (`refresh`). Others only read.
"""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

from ricochet_node.faults import Reason
from ricochet_node.key_state import READY, Standing, State, anchored
from ricochet_protocol.errors import LocalFault

FILE_NAME: Final = "pool.db"
_BUSY_SECONDS: Final = 2
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS standing (
    key TEXT, model TEXT, mark TEXT NOT NULL,
    state TEXT NOT NULL, since REAL NOT NULL, until REAL NOT NULL, strikes INTEGER NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (key, model)
) WITHOUT ROWID;
"""
Place = tuple[str, str]
"""A key id, and a model's name at its provider or "" for all of them."""


class KeyStates:
    """The standings of the keys in `marks`; everything else in the file is left alone."""

    def __init__(self, path: Path, marks: Mapping[str, str], now: float) -> None:
        """LocalFault `pool_damaged` when the file cannot be used."""
        self._marks = dict(marks)
        self._standings: dict[Place, Standing] = {}
        with _damage_told(path):
            self._db = _opened(path)
            for key, model, mark, *fields in self._db.execute("SELECT * FROM standing"):
                if self._marks.get(key) == mark:
                    self._standings[key, model] = anchored(_standing(fields), now)

    def close(self) -> None:
        self._db.close()

    def of(self, key: str, model: str = "") -> Standing:
        """How a key stands, or a key with a model."""
        return self._standings.get((key, model), READY)

    def put(self, key: str, model: str, standing: Standing) -> None:
        """Keep a standing; sqlite3.Error when it is not on disk, and then it holds in memory."""
        if standing == READY:
            self._standings.pop((key, model), None)
            self._db.execute("DELETE FROM standing WHERE key = ? AND model = ?", (key, model))
            return
        self._standings[key, model] = standing
        self._db.execute(
            "INSERT OR REPLACE INTO standing VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                key,
                model,
                self._marks.get(key, ""),
                standing.state,
                standing.since,
                standing.until,
                standing.strikes,
                standing.reason or "",
            ),
        )

    def refresh(self, now: float) -> frozenset[str]:
        """Take up what commands have changed, and follow a clock that was set back; those keys."""
        on_disk = {
            (key, model): _standing(fields)
            for key, model, mark, *fields in self._db.execute("SELECT * FROM standing")
            if self._marks.get(key) == mark
        }
        gone = [place for place in self._standings if place not in on_disk]
        for place in gone:
            del self._standings[place]
        found = [place for place in on_disk if place not in self._standings]
        self._standings |= {place: on_disk[place] for place in found}
        for place, standing in self._standings.items():
            self._standings[place] = anchored(standing, now)
        return frozenset(key for key, _ in (*gone, *found))


def read(home: Path, marks: Mapping[str, str]) -> dict[Place, Standing]:
    """What is on disk of the keys in `marks`, for commands; LocalFault `pool_damaged`."""
    path = home / FILE_NAME
    if not path.exists():
        return {}
    with _damage_told(path), closing(_opened(path)) as db:
        rows = db.execute("SELECT * FROM standing").fetchall()
        return {
            (key, model): _standing(fields)
            for key, model, mark, *fields in rows
            if marks.get(key) == mark
        }


def forget(home: Path, key: str) -> None:
    """Make a key ready again, for a running node within seconds; LocalFault `pool_damaged`."""
    path = home / FILE_NAME
    if path.exists():
        with _damage_told(path), closing(_opened(path)) as db:
            db.execute("DELETE FROM standing WHERE key = ?", (key,))


def keep(home: Path, key: str, mark: str, standing: Standing) -> None:
    """Let a key stand so for every process, a running node within seconds; LocalFault."""
    path = home / FILE_NAME
    with _damage_told(path), closing(KeyStates(path, {key: mark}, standing.since)) as states:
        states.put(key, "", standing)


def _standing(fields: list[Any]) -> Standing:
    state, since, until, strikes, reason = fields
    try:
        why = Reason(reason) if reason else None
        return Standing(State(state), float(since), float(until), int(strikes), why)
    except (TypeError, ValueError):
        raise sqlite3.DatabaseError("a row that no version writes") from None


def _opened(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.touch(mode=0o600, exist_ok=True)
    db = sqlite3.connect(path, isolation_level=None, timeout=_BUSY_SECONDS)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.executescript(_SCHEMA)
    except sqlite3.Error:
        db.close()
        raise
    return db


@contextmanager
def _damage_told(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise LocalFault(
            "pool_damaged",
            f"{path} cannot be used: {error}",
            "free disk space, or move the file away: keys then begin as ready",
        ) from None
