"""Several keys of one offer behind the real vault: an even spread, and books that agree."""

import asyncio
import io
import json
import os
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from doubles.upstream import UpstreamDouble
from ricochet_node import audit_trail
from ricochet_node.direct import DirectUpstream
from ricochet_node.http_client import HttpClient
from ricochet_node.key_room import VaultRooms
from ricochet_node.key_rules import KeyRules
from ricochet_node.key_states import KeyStates
from ricochet_node.keystore import Keystore
from ricochet_node.ledger import Ledger
from ricochet_node.log import EventLog
from ricochet_node.offer import Offer, Source
from ricochet_node.offers import OfferBook
from ricochet_node.own_calls import OwnCalls
from ricochet_node.own_tally import OwnTally
from ricochet_node.pool import Pool
from ricochet_node.recording import Records
from ricochet_node.request_log import RequestRecord
from ricochet_node.vault_process import VaultProcess
from ricochet_protocol.advert import ModelOffer
from ricochet_protocol.errors import RemoteFault
from ricochet_protocol.ids import ModelId, Period, RequestId
from ricochet_protocol.messages import Ask, Turn
from ricochet_protocol.money import PricePerMillion

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "node_accounts.py"
SECRETS = {key: f"sk-{key}-0123456789abcdef" for key in ("a", "b", "c")}
MODEL = ModelId("m")
OFFER = Offer(
    ModelOffer(MODEL, 1000, PricePerMillion(0), PricePerMillion(0), 50),
    tuple(Source(key, "real") for key in SECRETS),
)


def ask(number: int) -> Ask:
    turns = (Turn("user", f"tell me all of it, {number} times"),)
    return Ask(RequestId(f"{number:032x}"), Period(0), MODEL, turns, 50, 60)


async def called(own: OwnCalls, numbers: range) -> None:
    """Calls, ten at once; whole and streamed ones in turn, faults swallowed."""
    left = iter(numbers)

    async def caller() -> None:
        for number in left:
            try:
                if number % 2:
                    await own.whole(ask(number))
                else:
                    _ = [piece async for piece in own.stream(ask(number))]
            except RemoteFault:
                pass

    await asyncio.gather(*(caller() for _ in range(10)))


def test_calls_are_spread_within_one_and_every_key_has_its_own_account(tmp_path: Path) -> None:
    store = Keystore(tmp_path / "keys.json")
    records: list[RequestRecord] = []

    async def scenario(double: UpstreamDouble, own: OwnCalls) -> None:
        await called(own, range(40))
        spread = double.counts.keys
        assert sorted(spread.values()) == [13, 13, 14] and len(records) == 40
        for key in SECRETS.values():
            double.fault("500", key=key, times=2)
        double.fault("cut", times=3)
        await called(own, range(40, 80))
        lines = [
            json.loads(line)
            for line in (tmp_path / audit_trail.FILE_NAME).read_text("utf-8").splitlines()
        ]
        audited = Counter(line["key"] for line in lines)
        assert {SECRETS[key]: calls for key, calls in audited.items()} == dict(spread)
        told = sum(line["tokens_in"] or 0 for line in lines if line["status"] == 200)
        assert told == sum(record.tokens_in for record in records if record.outcome == "ok")
        assert len(lines) > 80 and len(records) == 80

    async def inner() -> None:
        async with UpstreamDouble([*SECRETS.values()]) as double, HttpClient() as http:
            for key, secret in SECRETS.items():
                store.add("words", key, "openai-compatible", double.base_url, secret)
            rules = dict.fromkeys(SECRETS, KeyRules(models=("real",)))
            path = tmp_path / "keys.json"
            vault = await VaultProcess.start(path, "words", list(SECRETS), rules)
            states = KeyStates(tmp_path / "pool.db", dict.fromkeys(SECRETS, "mark"), time.time())
            rooms = VaultRooms(tmp_path / "keys.db", rules, time.time)
            with (
                closing(states),
                closing(rooms),
                closing(Ledger(tmp_path / "node.db")) as ledger,
            ):
                book, heard = OfferBook([OFFER]), Records()
                book.open()
                heard.listeners.append(records.append)
                upstream = DirectUpstream(http, vault.link)
                pool = Pool(book, upstream, states, rooms, time.time, EventLog(io.StringIO()))
                own = OwnCalls(book, pool, heard, OwnTally(ledger), time.time)
                try:
                    await scenario(double, own)
                finally:
                    await vault.stop()

    async def bounded() -> None:
        async with asyncio.timeout(60):
            await inner()

    asyncio.run(bounded())


ON_CORES = """
import os, sys
from pathlib import Path
from gateways.processes import SIDE, on_core, process
with on_core(SIDE):
    for core in (0, SIDE):
        said = (sys.executable, "-c", "import os; print(os.sched_getaffinity(0))")
        with process(said, Path(os.devnull), core) as child:
            print(child.stdout.readline().strip())
"""


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores to tell them apart")
def test_what_is_measured_has_another_core_than_its_load() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ON_CORES],
        cwd=PROGRAM.parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    first, second = done.stdout.splitlines()
    assert first != second


@pytest.mark.deep
@pytest.mark.timeout(300)
def test_the_program_finds_the_books_right() -> None:
    command = [sys.executable, str(PROGRAM), "--calls", "500", "--seconds", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["right"] and found["accounts"]["calls"] == 500
    assert sum(found["accounts"]["faults"].values()) > 20
