"""What every `LogSource` must do; `test_index_source.py` runs it."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import pytest

from ricochet_protocol.errors import ChainError
from ricochet_settlement.index_source import Block, LogSource


class Chain(Protocol):
    """A chain with one contract, seen through `source`."""

    source: LogSource

    async def write(self) -> None:
        """Mine a block with one event of the contract."""

    async def drop(self) -> None:
        """Replace the newest block by an empty one."""


class SourceConformance:
    """Inherit, and give `chain`."""

    def chain(self) -> AbstractAsyncContextManager[Chain]:
        raise NotImplementedError

    def run(self, body: Callable[[Chain, LogSource], Awaitable[None]]) -> None:
        async def main() -> None:
            async with self.chain() as chain, asyncio.timeout(60):
                await body(chain, chain.source)

        asyncio.run(main())

    def test_blocks_name_their_parents_and_none_is_beyond_the_head(self) -> None:
        async def body(chain: Chain, source: LogSource) -> None:
            await chain.write()
            head = await source.head()
            assert await source.block(head.number) == head
            before = await source.block(head.number - 1)
            assert before is not None and before.hash == head.parent
            assert before.time <= head.time
            assert await source.block(head.number + 1) is None
            assert await source.identity() == await source.identity()

        self.run(body)

    def test_logs_are_those_of_the_block_and_of_the_range(self) -> None:
        async def body(chain: Chain, source: LogSource) -> None:
            first = (await source.head()).number + 1
            await chain.write()
            await chain.write()
            head = await source.head()
            (log,) = await source.logs_in(head)
            assert (log.block, log.block_hash) == (head.number, head.hash)
            both = await source.logs_between(first, head.number)
            assert [one.block for one in both] == [first, head.number]
            assert both[1] == log
            assert await source.logs_between(head.number, head.number) == (log,)

        self.run(body)

    def test_logs_of_a_block_that_was_dropped_are_refused_not_empty(self) -> None:
        async def body(chain: Chain, source: LogSource) -> None:
            await chain.write()
            gone = await source.head()
            await chain.drop()
            now = await source.head()
            assert (now.number, now.hash == gone.hash) == (gone.number, False)
            assert await source.logs_in(now) == ()
            for dropped in (gone, Block(gone.number, bytes(32), gone.parent, gone.time)):
                with pytest.raises(ChainError):
                    await source.logs_in(dropped)

        self.run(body)
