"""Changes that one turn of the event loop makes in a SQLite file, committed together at its end.

Alone, a change waits for no other; fifty calls that come together share one write. They stand or
fall together: when one cannot be made, or the commit fails, none of the turn's was, and each of
those who wait for it hears so. Who finds before he changes anything that he must not (and raises)
hinders nobody. That no savepoint is needed makes it half as dear as `group_commit`, whose changes
have to be undone alone.
"""

import asyncio
import sqlite3
from types import TracebackType


class Turn:
    """The changes of one turn."""

    def __init__(self) -> None:
        self._done = False
        self._error: sqlite3.Error | None = None
        self._waiting: list[asyncio.Future[None]] = []

    @property
    def lost(self) -> bool:
        """Whether it was not written, and never will be."""
        return self._error is not None

    async def written(self) -> None:
        """Wait for the commit; sqlite3.Error when nothing was written."""
        if not self._done:
            waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(waiting)
            await waiting
        if self._error is not None:
            raise self._error

    def end(self, error: sqlite3.Error | None) -> None:
        """It is written, or not."""
        self._done, self._error = True, error
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)


class TurnCommit:
    """A context for one change, over a connection that nobody else begins transactions on."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._turn: Turn | None = None
        self._changes = 0

    def __enter__(self) -> Turn:
        turn = self._turn
        if turn is None:
            self._db.execute("BEGIN IMMEDIATE")
            turn = self._turn = Turn()
            asyncio.get_running_loop().call_soon(self._commit, turn)
        self._changes = self._db.total_changes
        return turn

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            return
        if isinstance(error, sqlite3.Error):
            self._undo(error)
        elif self._db.total_changes != self._changes:
            self._undo(sqlite3.OperationalError("a change was given up half done"))

    def _undo(self, error: sqlite3.Error) -> None:
        turn, self._turn = self._turn, None
        # A full disk ends a transaction by itself.
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")
        if turn is not None:
            turn.end(error)

    def _commit(self, turn: Turn) -> None:
        if self._turn is not turn:
            return  # it was undone
        try:
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            self._undo(error)
        else:
            self._turn = None
            turn.end(None)
