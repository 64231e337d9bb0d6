"""Changes of one SQLite file that reach the disk together: one sync for all that are waiting.

A change is applied at once, so that whoever reads next sees it, and nothing is promised for it
until its future is done. The transaction that the first change opens is committed when the loop has
run everything that was ready with it: alone, a change waits no longer than before; fifty calls that
end together share one sync. A commit that fails undoes all of them and tells each; a change that
fails undoes itself alone. A change that may not wait (`change`) takes along what is open.
"""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

Written = asyncio.Future[None]
"""Done when a change is on disk; sqlite3.Error when it is not, and never will be."""


class GroupCommit:
    """Over a connection that nobody else begins transactions on; belongs to one event loop."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._waiting: list[Written] = []

    @contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
        """On disk when the context ends; sqlite3.Error, and then nothing of it."""
        with self._applied():
            yield self._db
        self._commit()

    @contextmanager
    def join(self) -> Iterator[Written]:
        """A change that shares the next sync; its future is to be awaited after the context."""
        loop = asyncio.get_running_loop()
        written: Written = loop.create_future()
        # Who is cancelled while it waits leaves nobody to hear of a failure.
        written.add_done_callback(_heard)
        with self._applied():
            yield written
        if not self._waiting:
            loop.call_soon(self._commit_waiting)
        self._waiting.append(written)

    @contextmanager
    def _applied(self) -> Iterator[None]:
        if not self._db.in_transaction:
            self._db.execute("BEGIN IMMEDIATE")
        self._db.execute("SAVEPOINT change")
        try:
            yield
        except BaseException:
            # A full disk ends a transaction by itself, and with it what others wait for.
            if self._db.in_transaction:
                self._db.execute("ROLLBACK TO change")
                self._db.execute("RELEASE change")
                if not self._waiting:
                    self._db.execute("ROLLBACK")
            else:
                self._tell(sqlite3.OperationalError("the disk is full"))
            raise
        self._db.execute("RELEASE change")

    def _commit_waiting(self) -> None:
        if not self._waiting:
            return  # a change that could not wait took them along
        try:
            self._commit()
        except sqlite3.Error:
            return  # each of them was told

    def _commit(self) -> None:
        try:
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            self._tell(error)
            raise
        self._tell(None)

    def _tell(self, error: sqlite3.Error | None) -> None:
        waiting, self._waiting = self._waiting, []
        for written in waiting:
            if written.done():
                continue
            if error is None:
                written.set_result(None)
            else:
                written.set_exception(error)


def _heard(written: Written) -> None:
    if not written.cancelled():
        written.exception()
