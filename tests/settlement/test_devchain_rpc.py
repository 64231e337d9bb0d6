"""The dev chain's methods, without a socket: what clients rely on, and every bad request."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from eth_utils import to_checksum_address
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ricochet_protocol.errors import LocalFault
from ricochet_settlement.devchain.accounts import DEV_BALANCE, dev_address, dev_key
from ricochet_settlement.devchain.chain import DevChain
from ricochet_settlement.devchain.filters import MAX_FILTERS
from ricochet_settlement.devchain.rpc import Rpc

NOBODY = "0x" + "42" * 20
# Copies the first word of its input to storage slot 0, logs it with topic 7, and returns it;
# an input of zero reverts with four bytes ff.
CODE = (
    "6000358015601b5780600055600052600760206000a160206000f3"  # store, log, return
    "5b63ffffffff60e01b60005260046000fd"  # revert
)
INIT = f"602c600c600039602c6000f3{CODE}"


class Client:
    """Requests as a client makes them."""

    def __init__(self, path: Path, clock: list[float]) -> None:
        self.clock = clock
        self.chain = DevChain(path, lambda: clock[0])
        self.rpc = Rpc(self.chain)

    def ask(self, method: str, *params: Any) -> Any:
        body = {"jsonrpc": "2.0", "id": 7, "method": method, "params": list(params)}
        answer = json.loads(self.rpc.answer_untrusted(json.dumps(body).encode()))
        assert answer["id"] == 7
        return answer

    def result(self, method: str, *params: Any) -> Any:
        answer = self.ask(method, *params)
        assert "error" not in answer, answer
        return answer["result"]

    def error(self, method: str, *params: Any) -> dict[str, Any]:
        answer = self.ask(method, *params)
        assert "result" not in answer, answer
        error: dict[str, Any] = answer["error"]
        return error

    def signed(self, *, key: bytes = dev_key(0), **changes: Any) -> str:
        nonce = int(self.result("eth_getTransactionCount", Account.from_key(key).address), 16)
        fields: dict[str, Any] = {
            "chainId": 31337,
            "nonce": nonce,
            "gas": 200_000,
            "maxFeePerGas": 10**10,
            "maxPriorityFeePerGas": 0,
            "to": NOBODY,
            "value": 0,
        }
        fields.update(changes)
        fields["to"] = to_checksum_address(fields["to"]) if fields["to"] else ""
        raw = Account.sign_transaction(fields, key).raw_transaction
        return "0x" + bytes(raw).hex()

    def send(self, **changes: Any) -> dict[str, Any]:
        sent = self.result("eth_sendRawTransaction", self.signed(**changes))
        receipt: dict[str, Any] = self.result("eth_getTransactionReceipt", sent)
        return receipt

    def deploy(self) -> str:
        created: str = self.send(to="", data="0x" + INIT)["contractAddress"]
        return created


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    client = Client(tmp_path / "chain.db", [1_800_000_000.0])
    yield client
    client.chain.close()


def word(number: int) -> str:
    return f"0x{number:064x}"


def test_dev_accounts_hold_ether_and_it_moves(client: Client) -> None:
    assert int(client.result("eth_getBalance", dev_address(0), "latest"), 16) == DEV_BALANCE
    receipt = client.send(value=5)
    assert receipt["status"] == "0x1"
    assert receipt["from"] == dev_address(0)
    assert client.result("eth_getBalance", NOBODY) == "0x5"
    assert client.result("eth_getBalance", NOBODY, "0x0") == "0x0"
    assert client.result("eth_blockNumber") == receipt["blockNumber"] == "0x1"
    transaction = client.result("eth_getTransactionByHash", receipt["transactionHash"])
    assert (transaction["value"], transaction["nonce"]) == ("0x5", "0x0")
    block = client.result("eth_getBlockByNumber", "latest", False)
    assert block["transactions"] == [receipt["transactionHash"]]
    assert client.result("eth_getBlockByHash", block["hash"], True)["transactions"] == [transaction]


def test_contracts_are_called_estimated_and_reverted(client: Client) -> None:
    contract = client.deploy()
    assert client.result("eth_getCode", contract) == "0x" + CODE
    call = {"to": contract, "data": word(9)}
    assert client.result("eth_call", call, "latest") == word(9)
    gas = int(client.result("eth_estimateGas", call), 16)
    assert client.send(to=contract, data=word(9), gas=gas)["status"] == "0x1"
    assert client.error("eth_call", {"to": contract, "data": word(0)}) == {
        "code": 3,
        "message": "execution reverted",
        "data": "0xffffffff",
    }
    assert client.error("eth_estimateGas", {"to": contract, "data": word(0)})["code"] == 3
    failed = client.send(to=contract, data=word(0))
    assert (failed["status"], failed["logs"]) == ("0x0", [])
    starved = client.error("eth_call", {**call, "gas": hex(22_000)})
    assert (starved["code"], starved["data"]) == (3, "0x")


def test_an_account_without_ether_can_call(client: Client) -> None:
    contract = client.deploy()
    call = {"from": NOBODY, "to": contract, "data": word(9)}
    assert client.result("eth_call", call) == word(9)
    refused = client.error("eth_call", {**call, "value": "0x1"})
    assert refused["code"] == -32000


def test_logs_are_found_by_address_topic_and_range(client: Client) -> None:
    contract, other = client.deploy(), client.deploy()
    for number in (1, 2):
        client.send(to=contract, data=word(number))
    client.send(to=other, data=word(3))

    def found(**criteria: Any) -> list[int]:
        logs = client.result("eth_getLogs", {"fromBlock": "0x0", **criteria})
        return [int(log["data"], 16) for log in logs]

    assert found() == [1, 2, 3]
    assert found(address=contract) == [1, 2]
    assert found(address=[contract, other]) == [1, 2, 3]
    assert found(topics=[word(7)]) == found(topics=[[word(8), word(7)]]) == [1, 2, 3]
    assert found(topics=[None]) == [1, 2, 3]
    assert found(topics=[word(8)]) == found(topics=[None, None]) == []
    assert found(fromBlock="0x4", toBlock="0x4") == [2]
    assert found(fromBlock="latest") == [3]
    assert found(toBlock="0xffff") == [1, 2, 3]
    block = client.result("eth_getBlockByNumber", "0x3", False)["hash"]
    logs = client.result("eth_getLogs", {"blockHash": block})
    assert [int(log["data"], 16) for log in logs] == [1]
    receipt = client.send(to=contract, data=word(5))
    assert receipt["logs"] == client.result("eth_getLogs", {"fromBlock": "latest"})


def test_transactions_that_cannot_be_mined_are_refused(client: Client) -> None:
    client.send()
    poor = bytes([9]) * 32
    for changes, words in (
        ({"nonce": 0}, "nonce too low: next nonce 1, tx nonce 0"),
        ({"nonce": 5}, "nonce too high"),
        ({"key": poor}, "insufficient funds for gas * price + value"),
        ({"chainId": 1}, "not for chain 31337"),
        ({"gas": 20_000}, "gas"),
        ({"maxFeePerGas": 1}, "fee"),
        ({"gas": 40_000_000}, "gas"),
    ):
        error = client.error("eth_sendRawTransaction", client.signed(**changes))
        assert error["code"] == -32000
        assert words in error["message"].lower() or words in error["message"]
    for rubbish in ("0x", "0x02", "0xc0", "0x" + "ff" * 200, client.signed()[:-2]):
        assert client.error("eth_sendRawTransaction", rubbish)["code"] == -32000
    assert client.result("eth_blockNumber") == "0x1"
    assert client.send()["status"] == "0x1"


def test_time_is_the_clocks_and_moves_forward_only(client: Client) -> None:
    def now() -> int:
        return int(client.result("eth_getBlockByNumber", "latest", False)["timestamp"], 16)

    start = now()
    for _ in range(3):
        client.result("evm_mine")
    assert now() == start + 3
    client.result("evm_increaseTime", 3600)
    assert now() == start + 3603
    client.clock[0] += 10_000
    client.result("evm_increaseTime", hex(60))
    assert now() >= start + 3603 + 60
    assert client.error("evm_increaseTime", -1)["code"] == -32000
    assert client.error("evm_increaseTime", 2**60)["code"] == -32000


def test_filters_and_fee_histories_that_cannot_be_are_refused(client: Client) -> None:
    client.result("evm_mine")
    assert "reward" not in client.result("eth_feeHistory", "0x1", "latest", None)
    for bad in ([50, 10], [101], [-1], ["5"], [True], "5"):
        assert client.error("eth_feeHistory", "0x1", "latest", bad)["code"] == -32602
    for criteria in (None, 7, {"topics": 7}, {"address": "0x1"}, {"blockHash": word(1)}):
        assert client.error("eth_newFilter", criteria)["code"] == -32602
    blocks = client.result("eth_newBlockFilter")
    assert client.error("eth_getFilterLogs", blocks)["code"] == -32000
    early = client.result("eth_newFilter", {"toBlock": "0x1"})
    saved = client.result("evm_snapshot")
    client.result("evm_mine")
    assert len(client.result("eth_getFilterChanges", blocks)) == 1
    assert client.result("eth_getFilterChanges", early) == []
    client.result("evm_revert", saved)
    assert client.result("eth_getFilterChanges", blocks) == []
    client.result("evm_mine")
    assert len(client.result("eth_getFilterChanges", blocks)) == 1
    for _ in range(MAX_FILTERS - 1):
        client.result("eth_newBlockFilter")
    assert client.result("eth_getFilterChanges", blocks) == []
    assert client.result("eth_uninstallFilter", early) is False


def test_a_revert_drops_blocks_transactions_and_clock(client: Client, tmp_path: Path) -> None:
    contract = client.deploy()
    client.send(to=contract, data=word(1))
    kept = client.result("eth_getBlockByNumber", "latest", True)
    first, second = client.result("evm_snapshot"), client.result("evm_snapshot")
    client.result("evm_increaseTime", 5000)
    dropped = client.send(to=contract, data=word(2))
    assert client.result("evm_revert", first) is True
    assert client.result("eth_getBlockByNumber", "latest", True) == kept
    for method in ("eth_getTransactionByHash", "eth_getTransactionReceipt"):
        assert client.result(method, dropped["transactionHash"]) is None
    assert client.result("eth_getBlockByHash", dropped["blockHash"], False) is None
    assert client.result("eth_getBlockByNumber", dropped["blockNumber"], False) is None
    gone = client.error("eth_getLogs", {"blockHash": dropped["blockHash"]})
    assert gone["message"] == "unknown block"
    for number in (first, second, "0x99"):
        assert client.result("evm_revert", number) is False
    again = client.send(to=contract, data=word(3))
    assert again["blockHash"] != dropped["blockHash"]
    logs = client.result("eth_getLogs", {"fromBlock": "0x0"})
    assert [int(log["data"], 16) for log in logs] == [1, 3]
    client.chain.close()
    reopened = Client(tmp_path / "chain.db", client.clock)
    assert reopened.result("eth_getTransactionReceipt", again["transactionHash"]) == again
    assert reopened.send(to=contract, data=word(4))["status"] == "0x1"
    reopened.chain.close()


def test_blocks_and_clock_outlive_the_process(tmp_path: Path) -> None:
    path = tmp_path / "chain.db"
    first = Client(path, [1_800_000_000.0])
    receipt = first.send(value=5)
    first.result("evm_increaseTime", 1000)
    head = first.result("eth_getBlockByNumber", "latest", True)
    first.chain.close()
    second = Client(path, [1_800_000_000.0])
    assert second.result("eth_getBlockByNumber", "latest", True) == head
    assert second.result("eth_getTransactionReceipt", receipt["transactionHash"]) == receipt
    second.result("evm_mine")
    later = second.result("eth_getBlockByNumber", "latest", True)
    assert int(later["timestamp"], 16) > int(head["timestamp"], 16)
    second.chain.close()


def test_one_process_owns_the_file(client: Client, tmp_path: Path) -> None:
    with pytest.raises(LocalFault) as caught:
        DevChain(tmp_path / "chain.db")
    assert caught.value.code == "state_in_use"
    client.result("evm_mine")


def test_a_file_that_is_no_chain_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database, but somebody's notes\n" * 50)
    with pytest.raises(LocalFault) as caught:
        DevChain(path)
    assert caught.value.code == "state_damaged"
    assert path.read_text().startswith("not a database")
    with pytest.raises(LocalFault) as folder:
        DevChain(tmp_path)
    assert folder.value.code == "state_unwritable"


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("eth_sign", [], -32601),
        ("__init__", [], -32601),
        ("eth_getBalance", [], -32602),
        ("eth_getBalance", ["0x12"], -32602),
        ("eth_getBalance", [NOBODY, "newest"], -32602),
        ("eth_getBalance", [NOBODY, "0x99"], -32602),
        ("eth_getBalance", [NOBODY, "latest", 1], -32602),
        ("eth_getBalance", [None], -32602),
        ("eth_call", ["0x"], -32602),
        ("eth_call", [{"to": NOBODY, "surprise": 1}], -32602),
        ("eth_call", [{"to": NOBODY, "gas": -1}], -32602),
        ("eth_call", [{"to": 5}], -32602),
        ("eth_sendRawTransaction", ["zz"], -32602),
        ("eth_getTransactionReceipt", ["0x12"], -32602),
        ("eth_getBlockByNumber", ["latest", "yes"], -32602),
        ("eth_getBlockByNumber", [[], False], -32602),
        ("eth_getLogs", [5], -32602),
        ("eth_getLogs", [{"topics": "0x"}], -32602),
        ("eth_getLogs", [{"topics": [1]}], -32602),
        ("eth_getLogs", [{"fromBlock": "0x99"}], -32602),
        ("evm_increaseTime", ["soon"], -32602),
    ],
)
def test_bad_requests_are_named(client: Client, method: str, params: list[Any], code: int) -> None:
    assert client.error(method, *params)["code"] == code


def test_a_fault_of_ours_is_logged_and_told_without_a_traceback(
    client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> None:
        raise RuntimeError("disk on fire")

    monkeypatch.setattr(client.chain, "head", broken)
    error = client.error("eth_blockNumber")
    assert error == {"code": -32603, "message": "internal error, see the dev chain's log"}
    assert "disk on fire" in caplog.text
    monkeypatch.undo()
    assert client.result("eth_blockNumber") == "0x0"


def test_what_does_not_exist_is_null(client: Client) -> None:
    assert client.result("eth_getTransactionReceipt", word(1)) is None
    assert client.result("eth_getTransactionByHash", word(1)) is None
    assert client.result("eth_getBlockByNumber", "0x99", False) is None
    assert client.result("eth_getBlockByHash", word(1), False) is None
    assert client.error("eth_getLogs", {"blockHash": word(1)})["code"] == -32000


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", -32700),
        (b"{", -32700),
        (b"\xff", -32700),
        (b'{"params":' + b"[" * 100_000, -32600),
        (b"[]", -32600),
        (b"{}", -32600),
        (b'{"method": 5}', -32600),
        (b'{"method": "eth_chainId", "params": {}}', -32600),
    ],
)
def test_what_is_no_request_is_refused(client: Client, body: bytes, code: int) -> None:
    assert json.loads(client.rpc.answer_untrusted(body))["error"]["code"] == code


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.text(max_size=8)
    | st.sampled_from(["0x", "0x0", "latest", "pending", NOBODY, word(1), "0x" + "ff" * 32]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["to", "from", "data", "gas", "value", "topics", "address", "fromBlock"]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)


METHODS = (
    *("eth_call", "eth_estimateGas", "eth_getLogs", "eth_getBalance", "eth_getCode"),
    *("eth_getBlockByNumber", "eth_getTransactionCount", "eth_getTransactionReceipt"),
    "eth_sendRawTransaction",
)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    method=st.sampled_from(METHODS),
    params=st.lists(values, max_size=3),
)
def test_no_parameters_break_the_server(client: Client, method: str, params: list[Any]) -> None:
    answer = client.ask(method, *params)
    assert ("result" in answer) != ("error" in answer)
    assert answer.get("error", {}).get("code") != -32603
