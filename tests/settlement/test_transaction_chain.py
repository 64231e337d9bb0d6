"""The chain port: JSON-RPC on a real dev chain and its twin, and servers that talk nonsense."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from chain_conformance import ETHER, OTHER, ChainConformance

from ricochet_protocol.errors import ChainError
from ricochet_protocol.signing import account_address
from ricochet_settlement.devchain.accounts import dev_key
from ricochet_settlement.link import Link
from ricochet_settlement.transaction_chain import RpcChain, TransactionChain, Verdict
from twins.chain import MemoryChain


class TestRpcChain(ChainConformance):
    key = dev_key(4)

    @pytest.fixture(autouse=True)
    def _url(self, chain_url: str) -> None:
        self.url = chain_url

    def chain(self) -> AbstractAsyncContextManager[TransactionChain]:
        @asynccontextmanager
        async def opened() -> AsyncIterator[TransactionChain]:
            link = Link(self.url)
            try:
                yield RpcChain(link)
            finally:
                await link.close()

        return opened()


class TestTwin(ChainConformance):
    key = dev_key(4)

    def chain(self) -> AbstractAsyncContextManager[TransactionChain]:
        @asynccontextmanager
        async def opened() -> AsyncIterator[TransactionChain]:
            yield MemoryChain(balances={account_address(self.key): ETHER})

        return opened()


@asynccontextmanager
async def answering(answers: dict[str, Any]) -> AsyncIterator[RpcChain]:
    """A JSON-RPC server that says this to each method: a result, or an Exception as an error."""

    async def answer(request: web.Request) -> web.Response:
        asked = json.loads(await request.read())
        said = answers[asked["method"]]
        body = {"error": said} if isinstance(said, dict) and "code" in said else {"result": said}
        return web.json_response({"jsonrpc": "2.0", "id": asked["id"], **body})

    app = web.Application()
    app.router.add_post("/", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    link = Link(f"http://127.0.0.1:{runner.addresses[0][1]}")
    try:
        yield RpcChain(link)
    finally:
        await link.close()
        await runner.cleanup()


RECEIPT = {
    "transactionHash": "0x" + "11" * 32,
    "blockNumber": "0x5",
    "blockHash": "0x" + "22" * 32,
    "status": "0x1",
    "logs": [],
}


@pytest.mark.parametrize(
    "receipt",
    [
        [],
        "0x00",
        7,
        {},
        {**RECEIPT, "transactionHash": "0x" + "33" * 32},
        {**RECEIPT, "transactionHash": "garbage"},
        {**RECEIPT, "blockNumber": "five"},
        {key: value for key, value in RECEIPT.items() if key != "status"},
    ],
)
def test_a_receipt_that_is_none_confirms_nothing(receipt: Any) -> None:
    async def main() -> None:
        async with answering({"eth_getTransactionReceipt": receipt}) as chain:
            try:
                assert await chain.mined(bytes([0x11]) * 32) is None
            except ChainError as error:
                assert error.hint

    asyncio.run(main())


@pytest.mark.parametrize("receipt", [None, {**RECEIPT, "blockNumber": None}])
def test_a_transaction_that_still_waits_has_no_receipt(receipt: Any) -> None:
    async def main() -> None:
        async with answering({"eth_getTransactionReceipt": receipt}) as chain:
            assert await chain.mined(bytes([0x11]) * 32) is None

    asyncio.run(main())


@pytest.mark.parametrize("count", ["", "many", None, [], {"a": 1}])
def test_a_count_that_is_no_number_is_an_error(count: Any) -> None:
    async def main() -> None:
        async with answering({"eth_getTransactionCount": count}) as chain:
            with pytest.raises(ChainError):
                await chain.mined_count(OTHER)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("words", "verdict"),
    [
        ("already known", Verdict.TAKEN),
        ("AlreadyKnown: transaction already imported", Verdict.TAKEN),
        ("nonce too low: next nonce 5, tx nonce 4", Verdict.NONCE_USED),
        ("nonce too high", Verdict.NONCE_AHEAD),
        ("replacement transaction underpriced", Verdict.UNDERPRICED),
        ("max fee per gas less than block base fee: address 0x0", Verdict.UNDERPRICED),
        ("insufficient funds for gas * price + value", Verdict.NO_FUNDS),
        ("intrinsic gas too low", Verdict.REFUSED),
    ],
)
def test_a_refusal_is_understood_by_its_words(words: str, verdict: Verdict) -> None:
    async def main() -> None:
        said = {"code": -32000, "message": words}
        async with answering({"eth_sendRawTransaction": said}) as chain:
            reception = await chain.broadcast(b"\x02")
            assert (reception.verdict, words in reception.words) == (verdict, True)

    asyncio.run(main())
