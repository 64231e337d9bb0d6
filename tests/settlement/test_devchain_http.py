"""The dev chain as a process: its door, its port, and what kill -9 leaves."""

import http.client
import json
import signal
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from eth_account import Account

from devchain_process import DevChainProcess
from ricochet_protocol.errors import LocalFault
from ricochet_settlement.devchain.accounts import dev_address, dev_key
from ricochet_settlement.devchain.http import MAX_BODY, serve


def post(url: str, body: bytes, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
    parts = urlsplit(url)
    assert parts.hostname is not None
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=20)
    try:
        connection.request("POST", "/", body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def ask(url: str, method: str, *params: Any) -> Any:
    request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)}
    status, body = post(url, json.dumps(request).encode())
    assert status == 200
    return json.loads(body)["result"]


def test_only_loopback_programs_are_served(chain_url: str) -> None:
    body = b'{"id": 1, "method": "eth_chainId"}'
    port = urlsplit(chain_url).port
    assert post(chain_url, body)[0] == 200
    assert post(chain_url, body, {"Host": f"localhost:{port}"})[0] == 200
    assert post(chain_url, body, {"Host": f"evil.example:{port}"})[0] == 403
    assert post(chain_url, body, {"Host": "127.0.0.1"})[0] == 403
    assert post(chain_url, body, {"Origin": "http://evil.example"})[0] == 403
    assert post(chain_url, body, {"Origin": "null"})[0] == 403
    assert post(chain_url, b" " * (MAX_BODY + 1))[0] == 413
    assert ask(chain_url, "eth_chainId") == "0x7a69"


def test_a_taken_port_is_said(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(LocalFault) as caught:
            serve(tmp_path / "chain.db", taken.getsockname()[1], lambda url: None)
    assert caught.value.code == "port_in_use"
    assert not (tmp_path / "chain.db").exists()


def test_kill_9_loses_no_mined_block_and_releases_the_file(tmp_path: Path) -> None:
    state = tmp_path / "chain.db"
    first = DevChainProcess(state)
    sent = []
    try:
        for nonce in range(20):
            fields = {
                "chainId": 31337,
                "nonce": nonce,
                "gas": 21_000,
                "maxFeePerGas": 10**10,
                "maxPriorityFeePerGas": 0,
                "to": "0x" + "42" * 20,
                "value": 1,
            }
            raw = bytes(Account.sign_transaction(fields, dev_key(0)).raw_transaction)
            sent.append(ask(first.url, "eth_sendRawTransaction", "0x" + raw.hex()))
        head = ask(first.url, "eth_getBlockByNumber", "latest", True)
    finally:
        first.end(signal.SIGKILL)

    second = DevChainProcess(state, urlsplit(first.url).port or 0)
    try:
        assert second.url == first.url
        assert ask(second.url, "eth_getBlockByNumber", "latest", True) == head
        for number, transaction in enumerate(sent, start=1):
            receipt = ask(second.url, "eth_getTransactionReceipt", transaction)
            assert (receipt["status"], int(receipt["blockNumber"], 16)) == ("0x1", number)
        assert ask(second.url, "eth_getTransactionCount", dev_address(0), "latest") == "0x14"
        with pytest.raises(LocalFault) as caught:
            serve(state, 0, lambda url: None)
        assert caught.value.code == "state_in_use"
    finally:
        second.end()
