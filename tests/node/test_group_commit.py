"""Changes that share a sync: seen at once, promised when written, undone alone or together."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from node_bench import SUBSCRIBER, Bench, run

from ricochet_node.group_commit import GroupCommit
from ricochet_protocol.errors import RemoteFault

SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA foreign_keys = ON;
CREATE TABLE one (id INTEGER PRIMARY KEY);
CREATE TABLE child (id INTEGER REFERENCES one (id) DEFERRABLE INITIALLY DEFERRED);
"""


class File:
    def __init__(self, path: Path) -> None:
        self.db = sqlite3.connect(path, isolation_level=None)
        self.db.executescript(SCHEMA)
        self.other = sqlite3.connect(path, isolation_level=None)
        self.group = GroupCommit(self.db)
        self.commits = 0
        self.db.set_trace_callback(self._count)

    def _count(self, statement: str) -> None:
        self.commits += statement == "COMMIT"

    def written(self) -> int:
        """Rows that another process sees."""
        return int(self.other.execute("SELECT COUNT(*) FROM one").fetchone()[0])

    def add(self, number: int) -> "asyncio.Future[None]":
        with self.group.join() as written:
            self.db.execute("INSERT INTO one VALUES (?)", (number,))
        return written


def with_file(tmp_path: Path, scenario: Callable[[File], Awaitable[None]]) -> None:
    async def inner() -> None:
        file = File(tmp_path / "db")
        try:
            async with asyncio.timeout(10):
                await scenario(file)
        finally:
            file.db.close()
            file.other.close()

    asyncio.run(inner())


def test_what_is_ready_together_is_written_together(tmp_path: Path) -> None:
    async def scenario(file: File) -> None:
        waiting = [file.add(number) for number in range(50)]
        assert file.db.execute("SELECT COUNT(*) FROM one").fetchone() == (50,)
        assert file.written() == 0 and not any(one.done() for one in waiting)
        await asyncio.gather(*waiting)
        assert (file.written(), file.commits) == (50, 1)
        await file.add(50)
        assert (file.written(), file.commits) == (51, 2)

    with_file(tmp_path, scenario)


def test_a_change_that_fails_is_undone_alone(tmp_path: Path) -> None:
    async def scenario(file: File) -> None:
        first = file.add(1)
        with pytest.raises(sqlite3.IntegrityError):
            file.add(1)
        await asyncio.gather(first, file.add(2))
        assert (file.written(), file.commits) == (2, 1)
        with pytest.raises(sqlite3.IntegrityError):
            file.add(1)
        assert not file.db.in_transaction

    with_file(tmp_path, scenario)


def test_a_change_that_may_not_wait_takes_the_others_along(tmp_path: Path) -> None:
    async def scenario(file: File) -> None:
        waiting = file.add(1)
        with file.group.change() as db:
            db.execute("INSERT INTO one VALUES (2)")
        assert waiting.done() and (file.written(), file.commits) == (2, 1)
        await asyncio.sleep(0)
        assert file.commits == 1

    with_file(tmp_path, scenario)


def test_a_commit_that_fails_undoes_all_and_tells_each(tmp_path: Path) -> None:
    async def scenario(file: File) -> None:
        waiting = [file.add(1), file.add(2)]
        file.db.execute("INSERT INTO child VALUES (99)")  # refused at the commit
        for one in waiting:
            with pytest.raises(sqlite3.IntegrityError):
                await one
        assert file.written() == 0 and not file.db.in_transaction
        await file.add(1)
        assert file.written() == 1

    with_file(tmp_path, scenario)


def test_who_is_cancelled_while_he_waits_undoes_nothing(tmp_path: Path) -> None:
    async def scenario(file: File) -> None:
        async def waiting() -> None:
            await file.add(1)

        task = asyncio.create_task(waiting())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await file.add(2)
        assert file.written() == 2

    with_file(tmp_path, scenario)


class FullDisk(GroupCommit):
    def _commit(self) -> None:
        self._db.execute("ROLLBACK")
        error = sqlite3.OperationalError("database or disk is full")
        self._tell(error)
        raise error


def test_an_answer_that_is_not_written_is_neither_given_nor_due(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        client = bench.client
        await client.open_account()
        group = bench.ledger._group
        ask = client.request()
        bench.ledger._group = FullDisk(bench.ledger._db)
        with pytest.raises(RemoteFault):
            await client.ask(ask)
        bench.ledger._group = group
        assert bench.ledger.account(SUBSCRIBER, client.period).due == 0
        assert (await client.hello()).due == 0
        _, answered = await client.ask(ask)
        assert (await client.hello()).due == answered.receipt.receipt.due > 0

    run(tmp_path, scenario)
