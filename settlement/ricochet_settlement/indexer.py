"""Follows a contract's events into `chain.db`, whatever the chain and its server do meanwhile.

    stored block no longer in the chain      drop it, and those above, down to a common one
    far behind                               ranges of logs, smaller when the server refuses
    the last `TIP` blocks                    block by block, logs by the block's hash
    server shows less than is stored         keep it, show readers only what the server shows

Each block has to name the one before it as its parent, and each log the hash of its block; what
does not fit is asked for again, and after a few times it is an error. So what is stored is always
one chain's, as of some moment: late at worst, never a mixture.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

from ricochet_protocol.errors import ChainError
from ricochet_settlement.index_events import row_of
from ricochet_settlement.index_source import Block, Log, LogSource, RangeRefused, in_order
from ricochet_settlement.index_store import IndexStore, Mark, Overtaken, Placed

TIP: Final = 64
"""Blocks below the newest that are read one by one: ranges there may come from a server that lags,
or mix two forks."""
WIDEST: Final = 4096
"""Blocks in one range at first; public servers refuse ranges from 500 to 10,000 blocks upwards."""
KEPT: Final = 1024
"""Blocks below the newest whose hashes are all kept, to find a common ancestor; below those, one
in as many."""
_TRIES: Final = 4
"""Fresh starts within one `sync` when blocks and logs do not fit together."""


class Indexer:
    """Belongs to one event loop; source and store are closed by their owners.

    `first` is a block that has no events of the contract below it.
    """

    def __init__(self, source: LogSource, store: IndexStore, first: int = 0) -> None:
        self._source = source
        self._store = store
        self._first = first
        self._width = WIDEST
        self._turn = asyncio.Lock()

    async def sync(self) -> None:
        """Bring the store to the server's newest block.

        ChainError when the server cannot be reached, talks nonsense, or contradicts itself again
        and again; what was stored by then is whole. LocalFault when the file cannot be written.
        """
        async with self._turn:
            for _ in range(_TRIES):
                try:
                    return await self._follow()
                except (Overtaken, _Moved):
                    continue
        raise ChainError(
            "chain_moves",
            "the chain's blocks and logs did not fit together, again and again",
            "Try again; if it stays so, use another server of the same chain (`rpc`).",
        )

    async def _follow(self) -> None:
        head = await self._source.head()
        if head.number < self._first:
            raise ChainError(
                "chain_lags",
                f"the chain's server is at block {head.number}, before the contract's first block",
                "Wait until it has caught up, or use another server of the same chain (`rpc`).",
            )
        mark = await self._common(head)
        if mark is not None and mark.number >= head.number:
            self._store.show(head.number)
            return
        if mark is None or mark.number < head.number - TIP:
            mark = await self._catch_up(mark, head.number - TIP)
        await self._climb(mark, head)
        self._store.thin(head.number - KEPT, KEPT)

    async def _common(self, head: Block) -> Mark | None:
        """The newest stored block that is in the server's chain; those above it are dropped.

        One above the server's newest block may be in its chain: then nothing is dropped, and the
        newest block is the answer.
        """
        newest = self._store.newest
        if newest is None or (newest.number, newest.hash) == (head.number, head.hash):
            return newest
        marks = self._store.marks_to(head.number)
        steps = [0, *(1 << power for power in range(len(marks).bit_length()))]
        for mark in (marks[step] for step in steps if step < len(marks)):
            found = head if mark.number == head.number else await self._source.block(mark.number)
            if found is None or found.hash != mark.hash:
                continue
            if mark == newest or mark.number == head.number:
                return newest
            self._store.drop(newest, mark.number)
            return mark
        self._store.drop(newest, self._first - 1)
        return None

    async def _catch_up(self, mark: Mark | None, last: int) -> Mark | None:
        """Read ranges up to the block `last`."""
        start = self._first if mark is None else mark.number + 1
        while start <= last:
            end = min(last, start + self._width - 1)
            try:
                mark = await self._range(mark, start, end)
            except RangeRefused as refused:
                if start == end:
                    raise ChainError(
                        "chain_refused",
                        f"the chain refused: {refused}",
                        "Use another server of the same chain (`rpc` in network.json).",
                    ) from None
                self._width = max(1, (end - start + 1) // 2)
                continue
            self._width = min(WIDEST, self._width + self._width // 4 + 1)
            start = end + 1
        return mark

    async def _range(self, mark: Mark | None, start: int, end: int) -> Mark:
        last = await self._known(end)
        if mark is not None and (await self._known(mark.number)).hash != mark.hash:
            raise _Moved
        logs = await self._source.logs_between(start, end)
        for block in in_order(logs):
            number = block[0].block
            header = last if number == end else await self._known(number)
            if any(log.block_hash != header.hash for log in block):
                raise _Moved
        if await self._known(end) != last:
            raise _Moved
        return self._write(mark, last, logs)

    async def _climb(self, mark: Mark | None, head: Block) -> None:
        """Read block after block up to `head`."""
        start = self._first if mark is None else mark.number + 1
        for number in range(start, head.number + 1):
            block = head if number == head.number else await self._known(number)
            if mark is not None and block.parent != mark.hash:
                raise _Moved
            logs = await self._source.logs_in(block)
            if any((log.block, log.block_hash) != (number, block.hash) for log in logs):
                raise _Moved
            mark = self._write(mark, block, logs)

    async def _known(self, number: int) -> Block:
        block = await self._source.block(number)
        if block is None:
            raise _Moved
        return block

    def _write(self, after: Mark | None, block: Block, logs: Sequence[Log]) -> Mark:
        mark = Mark(block.number, block.hash, block.time)
        rows = ((log, row_of(log)) for log in logs)
        placed = [Placed(log.block, log.position, row) for log, row in rows if row is not None]
        self._store.append(after, mark, placed)
        return mark


class _Moved(Exception):
    """What the server says does not fit what it said before."""
