"""The owner's commands and the running node: what they get, and who else gets nothing."""

import asyncio
import json
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from node_bench import MODEL, OPERATOR, Bench, eventually, run

from ricochet_node.admin import (
    FILE_NAME,
    Admin,
    claim,
    drain,
    funds,
    is_running,
    resume,
    settle,
    status,
    stop,
    withdraw,
)
from ricochet_protocol.errors import BudgetError, LocalFault, RemoteFault
from ricochet_protocol.ids import PeerId


class Owner:
    """Answers everything but the status with one function."""

    def __init__(self, answer: Callable[[], Awaitable[dict[str, Any]]]) -> None:
        self.funds = self.claim = self.withdraw = self.settle = answer
        self.drain = self.resume = self.stop = answer

    def status(self) -> dict[str, Any]:
        return {"peer": "p"}


def with_admin(
    home: Path,
    scenario: Callable[[], Awaitable[None]],
    answer: Callable[[], Awaitable[dict[str, Any]]],
) -> None:
    async def inner() -> None:
        admin = Admin(Owner(answer))
        async with admin.running(home, PeerId("p"), OPERATOR, ("/memory/1",)):
            await scenario()

    asyncio.run(inner())


async def settled() -> dict[str, Any]:
    return {"claimed": 1, "withdrawn": 2}


def test_status_and_settle_of_a_real_node(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        admin = Admin(bench.node)
        async with admin.running(tmp_path, bench.client.node, OPERATOR, ()):
            await bench.client.hello()
            await bench.client.reserve(50_000)
            await bench.client.pay(105)
            _, answered = await bench.client.ask()
            told = await status(tmp_path)
            assert told["peer"] == bench.client.node
            assert told["operator"] == OPERATOR
            assert told["addresses"] == list(bench.node.status()["addresses"])
            (model,) = told["models"]
            due = answered.receipt.receipt.due
            assert (model["model"], model["calls"], model["earned"]) == ("m", 1, due)
            assert (told["earned"], told["unclaimed"]) == (105 * 7 // 10, 105)
            assert (told["open_calls"], told["peers_known"]) == (0, 1)
            assert await settle(tmp_path) == {"claimed": 105, "withdrawn": 105 * 7 // 10}

    run(tmp_path, scenario)


def test_a_draining_node_takes_calls_again_when_told(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        admin = Admin(bench.node)
        async with admin.running(tmp_path, bench.client.node, OPERATOR, ()):
            await bench.client.open_account()
            assert await drain(tmp_path) == {"open_calls": 0}
            assert (await status(tmp_path))["draining"] is True
            with pytest.raises(RemoteFault, match="starting or stopping"):
                await bench.client.ask()
            await eventually(lambda: not bench.client.network.directory()[0].advert.models)
            assert await resume(tmp_path) == {"models": [MODEL]}
            assert (await status(tmp_path))["draining"] is False
            await bench.client.ask()
            assert not bench.node.told_to_stop.is_set()
            assert (await stop(tmp_path))["open_calls"] == 0
            assert bench.node.told_to_stop.is_set()

    run(tmp_path, scenario)


def test_without_a_node_the_next_step_is_told(tmp_path: Path) -> None:
    for command in (status, funds, claim, withdraw, settle, drain, resume, stop):
        with pytest.raises(LocalFault) as caught:
            asyncio.run(command(tmp_path))
        assert caught.value.code == "node_not_running"
        assert "ricochet node start" in caught.value.hint


def test_the_run_file_is_private_and_removed(tmp_path: Path) -> None:
    left: list[bytes] = []

    async def scenario() -> None:
        path = tmp_path / FILE_NAME
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        left.append(path.read_bytes())
        assert await asyncio.to_thread(is_running, tmp_path)

    with_admin(tmp_path, scenario, settled)
    assert not (tmp_path / FILE_NAME).exists()
    # What a killed node leaves behind names a port where nobody answers.
    (tmp_path / FILE_NAME).write_bytes(left[0])
    (tmp_path / FILE_NAME).chmod(0o600)
    with pytest.raises(LocalFault) as caught:
        asyncio.run(status(tmp_path))
    assert caught.value.code == "node_not_running"
    assert not is_running(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b'{"pid": "x"}'])
def test_a_damaged_run_file_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)
    (tmp_path / FILE_NAME).chmod(0o600)
    with pytest.raises(LocalFault) as caught:
        asyncio.run(status(tmp_path))
    assert caught.value.code == "node_not_running"
    assert "delete" in caught.value.hint


def test_the_nodes_error_is_the_commands_error(tmp_path: Path) -> None:
    async def fails() -> dict[str, Any]:
        raise BudgetError("no_gas_money", "the account is empty", "send ether")

    async def scenario() -> None:
        with pytest.raises(BudgetError) as caught:
            await settle(tmp_path)
        assert (caught.value.code, caught.value.hint) == ("no_gas_money", "send ether")

    with_admin(tmp_path, scenario, fails)


def _status_code(url: str, headers: dict[str, str]) -> int:
    request = urllib.request.Request(url, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_only_the_token_opens_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        run_file = json.loads((tmp_path / FILE_NAME).read_text())
        url, good = run_file["url"], {"Authorization": f"Bearer {run_file['token']}"}
        cases: list[tuple[str, dict[str, str], int]] = [
            ("/status", good, 200),
            ("/status", {}, 403),
            ("/status", {"Authorization": "Bearer wrong"}, 403),
            ("/status", {**good, "Origin": "https://evil.example"}, 403),
            ("/funds", good, 200),
            ("/funds", {}, 403),
            ("/settle", good, 404),  # only POST settles
            ("/claim", good, 404),
            ("/withdraw", good, 404),
            ("/other", good, 404),
        ]
        for path, headers, code in cases:
            assert await asyncio.to_thread(_status_code, url + path, headers) == code

    with_admin(tmp_path, scenario, settled)


def test_the_commands_half_loads_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys, asyncio, pathlib; from ricochet_node.admin import status;"
        "from ricochet_protocol.errors import LocalFault\n"
        f"try: asyncio.run(status(pathlib.Path({str(tmp_path)!r})))\n"
        "except LocalFault: pass\n"
        "assert not {'aiohttp', 'web3', 'sqlite3', 'cryptography'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
