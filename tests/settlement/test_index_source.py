"""The indexer's port: JSON-RPC on two real chains and its twin, and servers that talk nonsense."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any

import pytest
from aiohttp import web
from chain_world import ChainWorld, open_world
from hypothesis import given, settings
from hypothesis import strategies as st
from settlement_world import ADDRESSES, OPERATOR, PAYOUT, PEER
from source_conformance import Chain, SourceConformance

from ricochet_protocol.errors import ChainError
from ricochet_protocol.ids import Address
from ricochet_settlement.index_source import Block, RangeRefused, RpcSource
from ricochet_settlement.link import Link
from twins.log_chain import MemoryLogs, reserved

CONTRACT = Address("0x" + "c0" * 20)


class _Twin:
    def __init__(self) -> None:
        self.source = MemoryLogs()

    async def write(self) -> None:
        self.source.add(reserved(CONTRACT, CONTRACT, 1, 1))

    async def drop(self) -> None:
        self.source.undo(1)
        self.source.add()


class _Real:
    def __init__(self, world: ChainWorld, source: RpcSource) -> None:
        self._world = world
        self.source = source
        self._written = 0

    async def write(self) -> None:
        await self._world.save()
        self._written += 1
        addresses = (f"/ip4/127.0.0.1/tcp/{self._written}",)
        await self._world.register_node(OPERATOR, PEER, addresses, PAYOUT)

    async def drop(self) -> None:
        await self._world.restore()
        await self._world.mine(1)

    async def prepare(self) -> None:
        """From now on, a write is one block."""
        await self._world.register_node(OPERATOR, PEER, ADDRESSES, PAYOUT)


class TestTwin(SourceConformance):
    @asynccontextmanager
    async def chain(self) -> AsyncIterator[Chain]:
        yield _Twin()


class _Rpc(SourceConformance):
    url: str

    def chain(self) -> AbstractAsyncContextManager[Chain]:
        @asynccontextmanager
        async def opened() -> AsyncIterator[Chain]:
            async with open_world(self.url) as world:
                link = Link(self.url)
                try:
                    real = _Real(world, RpcSource(link, world.deployment.contract))
                    await real.prepare()
                    yield real
                finally:
                    await link.close()

        return opened()


class TestDevChain(_Rpc):
    @pytest.fixture(autouse=True)
    def _url(self, chain_url: str) -> None:
        self.url = chain_url


class TestAnvil(_Rpc):
    @pytest.fixture(autouse=True)
    def _url(self, anvil_url: str) -> None:
        self.url = anvil_url


LOG = {
    "address": "0x" + "c0" * 20,
    "blockNumber": "0x5",
    "blockHash": "0x" + "22" * 32,
    "transactionHash": "0x" + "33" * 32,
    "transactionIndex": "0x0",
    "logIndex": "0x0",
    "topics": ["0x" + "44" * 32],
    "data": "0x",
    "removed": False,
}
BLOCK = {
    "number": "0x5",
    "hash": "0x" + "22" * 32,
    "parentHash": "0x" + "21" * 32,
    "timestamp": "0x64",
}
AT_FIVE = Block(5, bytes([0x22]) * 32, bytes([0x21]) * 32, 100)


@asynccontextmanager
async def saying(said: Any) -> AsyncIterator[RpcSource]:
    """A server that gives this result to everything; bytes are the whole body."""

    async def answer(request: web.Request) -> web.Response:
        number = json.loads(await request.read())["id"]
        if isinstance(said, bytes):
            return web.Response(body=said, content_type="application/json")
        kind = "error" if isinstance(said, dict) and "code" in said else "result"
        return web.json_response({"jsonrpc": "2.0", "id": number, kind: said})

    app = web.Application()
    app.router.add_post("/", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    link = Link(f"http://127.0.0.1:{runner.addresses[0][1]}")
    try:
        yield RpcSource(link, CONTRACT)
    finally:
        await link.close()
        await runner.cleanup()


def test_what_a_log_and_a_block_are() -> None:
    async def main() -> None:
        async with saying([LOG]) as source:
            (log,) = await source.logs_in(AT_FIVE)
            assert (log.block, log.block_hash, log.position) == (5, AT_FIVE.hash, 0)
        async with saying(BLOCK) as source:
            assert await source.head() == await source.block(5) == AT_FIVE
            with pytest.raises(ChainError):
                await source.block(6)

    asyncio.run(main())


@pytest.mark.parametrize(
    "logs",
    [
        None,
        7,
        "0x",
        {},
        [7],
        [{}],
        [LOG, LOG],
        [{**LOG, "logIndex": "0x1"}, LOG],
        [{**LOG, "address": "0x" + "c1" * 20}],
        [{**LOG, "removed": True}],
        [{**LOG, "blockHash": "0x22"}],
        [{**LOG, "blockNumber": "0x6"}],
        [{**LOG, "topics": ["0x44"]}],
        [{**LOG, "data": None}],
    ],
)
def test_logs_that_are_none_are_an_error(logs: Any) -> None:
    async def main() -> None:
        async with saying(logs) as source:
            with pytest.raises(ChainError) as caught:
                await source.logs_between(5, 5)
            assert caught.value.hint

    asyncio.run(main())


def test_a_refused_range_is_told_from_a_server_that_is_gone() -> None:
    async def main() -> None:
        async with saying({"code": -32005, "message": "query returned more than 10000"}) as source:
            with pytest.raises(RangeRefused, match="10000"):
                await source.logs_between(0, 10**6)
            with pytest.raises(ChainError) as caught:
                await source.head()
            assert caught.value.code == "chain_refused"
        link = Link("http://127.0.0.1:1")
        with pytest.raises(ChainError) as caught:
            await RpcSource(link, CONTRACT).logs_between(0, 5)
        assert caught.value.code == "chain_unreachable"
        await link.close()

    asyncio.run(main())


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 2**70)
    | st.text(max_size=10)
    | st.sampled_from(list(LOG.values())[:3]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*LOG, *BLOCK]), inner)
    ),
    max_leaves=8,
)
bodies = values | st.binary(max_size=40) | values.map(lambda value: [{**LOG, "data": value}])


@settings(max_examples=40)
@given(said=bodies)
def test_whatever_a_server_says_is_an_answer_or_a_chain_error(said: Any) -> None:
    async def main() -> None:
        async with saying(said) as source:
            for question in (source.head(), source.block(5), source.logs_in(AT_FIVE)):
                try:
                    await question
                except ChainError as error:
                    assert error.message
            with suppress(ChainError, RangeRefused):
                await source.logs_between(0, 9)

    asyncio.run(main())
