"""What clients rely on in a chain's JSON-RPC: the same of the embedded dev chain and of anvil."""

import asyncio
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from chain_world import ChainWorld, open_world
from eth_account import Account
from settlement_confirmations import ConfirmationConformance
from settlement_world import OPERATOR, SettlementSuite, World, alice, node

from anvil_process import answer_of, ask
from ricochet_protocol.ids import Period
from ricochet_protocol.signing import account_address
from ricochet_settlement.devchain.accounts import dev_address, dev_key
from ricochet_settlement.index import ChainIndex
from ricochet_settlement.link import Network

pytestmark = pytest.mark.slow
# Logs topic 7 with the word it is given; see test_devchain_rpc.py.
CODE = "6000358015601b5780600055600052600760206000a160206000f35b63ffffffff60e01b60005260046000fd"
INIT = f"0x602c600c600039602c6000f3{CODE}"
SENDER = 2
KINDS = ["chain_url", "anvil_url"]


@pytest.fixture(params=KINDS)
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each server in turn, left as it was found."""
    found: str = request.getfixturevalue(request.param)
    saved = ask(found, "evm_snapshot")
    yield found
    assert ask(found, "evm_revert", saved) is True


def send(url: str, to: str | None = None, data: str = "0x", **changes: Any) -> dict[str, Any]:
    """The receipt of a transaction of the sender's."""
    fields = {
        "chainId": 31337,
        "nonce": int(ask(url, "eth_getTransactionCount", dev_address(SENDER), "latest"), 16),
        "gas": 300_000,
        "value": 0,
        "data": data,
        **({"to": bytes.fromhex(to[2:])} if to else {}),
        **({} if "gasPrice" in changes else {"maxFeePerGas": 10**10, "maxPriorityFeePerGas": 5}),
        **changes,
    }
    raw = bytes(Account.sign_transaction(fields, dev_key(SENDER)).raw_transaction)
    name = ask(url, "eth_sendRawTransaction", "0x" + raw.hex())
    for _ in range(1000):  # anvil answers before it has mined
        receipt: dict[str, Any] | None = ask(url, "eth_getTransactionReceipt", name)
        if receipt is not None:
            return receipt
    raise AssertionError(f"{url} does not mine")


def word(number: int) -> str:
    return f"0x{number:064x}"


def test_log_filters_tell_what_is_new(url: str) -> None:
    contract = send(url, data=INIT)["contractAddress"]
    every = ask(url, "eth_newFilter", {"address": contract})
    none = ask(url, "eth_newFilter", {"address": contract, "topics": [word(8)]})
    blocks = ask(url, "eth_newBlockFilter")
    assert ask(url, "eth_getFilterChanges", every) == []
    receipts = [send(url, contract, word(number)) for number in (1, 2)]
    found = ask(url, "eth_getFilterChanges", every)
    assert [int(log["data"], 16) for log in found] == [1, 2]
    assert [log["blockHash"] for log in found] == [one["blockHash"] for one in receipts]
    assert ask(url, "eth_getFilterChanges", every) == []
    assert ask(url, "eth_getFilterChanges", none) == []
    assert ask(url, "eth_getFilterChanges", blocks) == [one["blockHash"] for one in receipts]
    send(url, contract, word(3))
    assert [int(log["data"], 16) for log in ask(url, "eth_getFilterChanges", every)] == [3]
    assert len(ask(url, "eth_getFilterChanges", blocks)) == 1
    whole = ask(url, "eth_newFilter", {"address": contract, "fromBlock": "0x0"})
    assert [int(log["data"], 16) for log in ask(url, "eth_getFilterLogs", whole)] == [1, 2, 3]
    assert ask(url, "eth_uninstallFilter", every) is True
    assert ask(url, "eth_uninstallFilter", every) is False
    assert answer_of(url, "eth_getFilterChanges", every)["error"]["code"] == -32000


def test_fee_history_is_that_of_the_blocks(url: str) -> None:
    send(url, to=dev_address(0), gas=21_000)
    send(url, to=dev_address(0), gas=21_000, maxFeePerGas=10**10, maxPriorityFeePerGas=7)
    history = ask(url, "eth_feeHistory", "0x2", "latest", [25, 75])
    head = ask(url, "eth_getBlockByNumber", "latest", False)
    assert int(history["oldestBlock"], 16) == int(head["number"], 16) - 1
    assert history["baseFeePerGas"][1] == head["baseFeePerGas"]
    assert len(history["baseFeePerGas"]) == 3
    assert history["gasUsedRatio"][1] == pytest.approx(21_000 / int(head["gasLimit"], 16), rel=0.1)
    assert history["reward"] == [["0x5", "0x5"], ["0x7", "0x7"]]


@pytest.mark.parametrize("legacy", [False, True])
def test_blocks_transactions_and_receipts_have_what_clients_read(url: str, legacy: bool) -> None:
    changes = {"gasPrice": 10**10} if legacy else {}
    receipt = send(url, data=INIT, **changes)
    block = ask(url, "eth_getBlockByNumber", "latest", True)
    (transaction,) = block["transactions"]
    assert receipt["type"] == transaction["type"] == ("0x0" if legacy else "0x2")
    assert ("yParity" in transaction) is not legacy
    assert int(transaction["v"], 16) in ((62709, 62710) if legacy else (0, 1))
    for name in ("withdrawals", "withdrawalsRoot", "blobGasUsed", "excessBlobGas", "size"):
        assert name in block
    assert int(block["size"], 16) > 100
    missing = {"blockTimestamp", "blobGasPrice"}
    known = {"hash", "from", "to", "nonce", "input", "gasPrice", "r", "s", "transactionIndex"}
    assert known <= transaction.keys()
    wanted = {"status", "logs", "logsBloom", "effectiveGasPrice", "cumulativeGasUsed", "gasUsed"}
    assert wanted <= receipt.keys() - missing


def test_a_revert_drops_what_came_after_the_snapshot(url: str) -> None:
    before = ask(url, "eth_getBlockByNumber", "latest", False)
    saved = ask(url, "evm_snapshot")
    receipt = send(url, to=dev_address(0))
    assert ask(url, "evm_revert", saved) is True
    assert ask(url, "evm_revert", saved) is False
    assert ask(url, "eth_getBlockByNumber", "latest", False) == before
    assert ask(url, "eth_getTransactionReceipt", receipt["transactionHash"]) is None
    assert ask(url, "eth_getBlockByHash", receipt["blockHash"], False) is None
    assert send(url, to=dev_address(0), gas=30_000)["status"] == "0x1"


class TestIndexedAnvil(ConfirmationConformance):
    """Deploy, subscribe, reserve and claim by our own client, with an index that follows."""

    @pytest.fixture(autouse=True)
    def chain(self, anvil_url: str, tmp_path: Path) -> None:
        self.url, self.home = anvil_url, tmp_path

    def world(self, confirmations: int = 0) -> AbstractAsyncContextManager[World]:
        return open_world(self.url, confirmations=confirmations, follow=self.home)


class TestReorganisation(SettlementSuite):
    @pytest.fixture(autouse=True)
    def chain(self, anvil_url: str, tmp_path: Path) -> None:
        self.url, self.home = anvil_url, tmp_path

    def test_blocks_that_anvil_replaces_take_their_events_along(self) -> None:
        async def main() -> None:
            async with open_world(self.url, follow=self.home) as world, asyncio.timeout(60):
                await self._replaced(world)

        asyncio.run(main())

    async def _replaced(self, world: ChainWorld) -> None:
        await self.open(world)
        chain = world.settlement
        assert await chain.commitment(alice, Period(1), node)
        await chain.reserve([self.reservation(world, 100)])
        await chain.claim([self.voucher(world, 60)])
        await chain.reserve([self.reservation(world, 300)])
        assert await chain.earned(alice, node) == 60
        assert (await chain.commitment(alice, Period(1), node)).confirmed == 300
        await world.reorganise(2)
        held = await chain.commitment(alice, Period(1), node)
        assert (held.committed, held.claimed, held.confirmed) == (100, 0, 100)
        assert await chain.earned(alice, node) == 0
        assert await chain.withdrawable(node) == 0
        network = await Network.open(world.deployment)
        fresh = await ChainIndex.open(network, None)
        await fresh.sync()
        assert fresh.head.subscription(alice) == await chain.subscription(alice)
        assert [one.record for one in fresh.head.nodes()] == list(await chain.nodes())
        assert fresh.head.spending(alice)[0].committed == 100
        assert fresh.head.income(account_address(OPERATOR)).shares == 0
        fresh.close()
        await network.close()
