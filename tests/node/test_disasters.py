"""A full disk, a clock that jumps, a vault that is killed: nothing is lost, and it is told plainly.

What else can go wrong, and which test shows what then happens: docs/faults.md.
"""

import asyncio
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest
from node_bench import MODEL, SUBSCRIBER, Bench, run

from doubles.upstream import UpstreamDouble
from ricochet_node.direct import DirectUpstream
from ricochet_node.faults import ProviderFault, Reason
from ricochet_node.http_client import HttpClient
from ricochet_node.keystore import Keystore
from ricochet_node.vault_process import VaultProcess
from ricochet_protocol.conversation import Turn
from ricochet_protocol.errors import RemoteCode, RemoteFault
from ricochet_protocol.ids import Period, RequestId
from ricochet_protocol.messages import Ask

KEY = "sk-test-0123456789abcdef"
ROOT = Path(__file__).parents[2]


def test_a_full_disk_under_the_ledger_bills_nobody_and_passes(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.client.open_account()
        db = bench.ledger._db
        (pages,) = db.execute("PRAGMA page_count").fetchone()
        db.execute(f"PRAGMA max_page_count = {pages}")
        due = 0
        with pytest.raises(RemoteFault) as caught:
            for _ in range(200):
                _, answered = await bench.client.ask()
                due = answered.receipt.receipt.due
        assert caught.value.code == RemoteCode.INTERNAL
        assert "disk" not in caught.value.message, "a peer learns nothing of this machine"
        (told,) = bench.events("failed")
        assert told["code"] == "ledger_unwritable" and "full" in told["message"]
        assert "space" in told["hint"]
        assert bench.ledger.account(SUBSCRIBER, Period(1)).due == due
        await bench.node.book.idle()
        db.execute("PRAGMA max_page_count = 1000000")
        _, answered = await bench.client.ask()
        receipt = answered.receipt.receipt
        assert receipt.due == due + receipt.cost
        assert bench.ledger.account(SUBSCRIBER, Period(1)).vouchered == 50_000

    run(tmp_path, scenario)


@pytest.mark.parametrize("jump", [-2 * 86_400, 2 * 86_400])
def test_a_clock_that_jumps_loses_no_receipt(tmp_path: Path, jump: int) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.client.open_account()
        _, before = await bench.client.ask()
        bench.chain.now += jump
        if jump > 0:
            with pytest.raises(RemoteFault) as caught:
                await bench.client.ask()
            assert caught.value.code == RemoteCode.NO_SESSION and caught.value.hint
            await bench.client.hello()
        _, after = await bench.client.ask()
        first, second = before.receipt.receipt, after.receipt.receipt
        assert second.due == first.due + second.cost
        await bench.node._advertiser.publish()
        bench.chain.now -= jump
        await bench.node._advertiser.publish()
        _, last = await bench.client.ask()
        assert last.receipt.receipt.due == second.due + last.receipt.receipt.cost

    run(tmp_path, scenario)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kills a process")
def test_a_vault_killed_in_mid_call_fails_it_at_once_and_leaks_no_key(tmp_path: Path) -> None:
    turns = (Turn("user", "tell me all of it"),)
    ask = Ask(RequestId("0" * 32), Period(1), MODEL, turns, 50, 60)

    async def scenario() -> None:
        async with UpstreamDouble([KEY]) as double, HttpClient() as client:
            Keystore(tmp_path / "keys.json").add("words", "main", "any", double.base_url, KEY)
            vault = await VaultProcess.start(tmp_path / "keys.json", "words", ["main"])
            try:
                upstream = DirectUpstream(client, vault.link)
                double.fault("stall_after")
                stream: Any = upstream.stream("main", "real", ask)
                assert await anext(stream)
                os.kill(vault.pid, signal.SIGKILL)
                with pytest.raises(ProviderFault) as caught:
                    _ = [piece async for piece in stream]
                assert caught.value.reason is Reason.BROKEN and caught.value.retryable
                assert not caught.value.unbilled, "the provider may have gone on"
                await double.until(lambda counts: counts.abandoned == 1)
                await vault.exited()  # before, its port may still take a connection
                with pytest.raises(ProviderFault) as gone:
                    _ = [piece async for piece in upstream.stream("main", "real", ask)]
                assert gone.value.unbilled and gone.value.retryable
                assert KEY not in f"{caught.value!r} {gone.value!r} {gone.value.hint}"
            finally:
                await vault.stop()

    asyncio.run(asyncio.wait_for(scenario(), 30))


def test_the_table_of_faults_names_tests_that_exist() -> None:
    table = (ROOT / "docs" / "faults.md").read_text("utf-8")
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", table)
    assert len(named) > 20
    sources = {path.name: path.read_text("utf-8") for path in ROOT.glob("tests/**/test_*.py")}
    missing = [f"{file}::{test}" for file, test in named if f"def {test}(" not in sources[file]]
    assert not missing
