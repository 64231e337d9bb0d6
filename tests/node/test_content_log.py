"""What was said is kept by double consent only; without it, it is in no file but the ledger."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
import pytest
from node_bench import MODEL, SUBSCRIBER, Bench, config, offer, run

from ricochet_node import content_log
from ricochet_node.app import _log_requests
from ricochet_node.content_log import Called, ContentLog, content_of, read
from ricochet_node.day_files import FOLDER
from ricochet_node.monitoring import Monitoring
from ricochet_node.request_log import Filter, RequestRecord
from ricochet_node.request_log import read as requests
from ricochet_protocol.conversation import Tool
from ricochet_protocol.errors import RemoteFault
from ricochet_protocol.ids import ModelId, Period, RequestId
from ricochet_protocol.messages import Ask, CallPiece, Chunk, PaymentRequired, Turn
from ricochet_protocol.money import Units

SECRET = "whisper"
PROMPT = f"a {SECRET} to keep"
ANSWER = "about: a whisper"
"""The double's answer quotes the prompt after this word."""
NOON = 1_795_348_800.0  # 2026-11-22 12:00 UTC
DAY = 86_400


def files_with(home: Path, text: str) -> set[str]:
    """Names of the files under `home` that hold the text."""
    return {
        path.name
        for path in home.rglob("*")
        if path.is_file() and text.encode() in path.read_bytes()
    }


@pytest.mark.parametrize("owner", [False, True])
@pytest.mark.parametrize("subscriber", [False, True])
def test_only_both_together_keep_what_was_said(
    tmp_path: Path, owner: bool, subscriber: bool
) -> None:
    async def scenario(bench: Bench) -> None:
        async with AsyncExitStack() as stack:
            _log_requests(stack, tmp_path, Monitoring(content=owner), bench.supply.records)
            await bench.client.open_account()
            await bench.client.ask(bench.client.request(PROMPT, allow_logging=subscriber))
            bench.upstream.fault("cut", times=1)
            with pytest.raises(RemoteFault):
                await bench.client.ask(bench.client.request(PROMPT, allow_logging=subscriber))
            assert SECRET not in bench.log_text.getvalue()

    run(tmp_path, scenario)
    assert [one.outcome for one in requests(tmp_path)] == ["ok", "upstream"]
    kept = {path.name for path in (tmp_path / FOLDER).glob("content-*")}
    assert files_with(tmp_path, PROMPT) - {"node.db", "node.db-wal"} == kept
    assert bool(kept) is (owner and subscriber)
    # The answer quotes the prompt: the ledger holds the answer, and never what was asked.
    assert not any(b'"user"' in path.read_bytes() for path in tmp_path.glob("node.db*"))
    if kept:
        whole, cut = read(tmp_path)
        assert (whole.turns, whole.record.subscriber) == ((Turn("user", PROMPT),), SUBSCRIBER)
        assert ANSWER in whole.text and whole.text.startswith("Answer ")
        assert cut.record.outcome == "upstream" and whole.text.startswith(cut.text) and cut.text
        assert all(path.stat().st_mode & 0o777 == 0o600 for path in (tmp_path / FOLDER).iterdir())


def test_a_consent_that_is_withdrawn_holds_for_calls_under_way(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        async with AsyncExitStack() as stack:
            consent = _log_requests(stack, tmp_path, Monitoring(content=True), bench.supply.records)
            await bench.client.open_account()
            bench.upstream.fault("stall_after", times=1)
            ask = bench.client.request(PROMPT, allow_logging=True)
            async with bench.client.network.call(bench.client.node, ask) as replies:
                await anext(replies)
                consent(False)
            await bench.node.book.idle()
            await bench.client.ask(bench.client.request(PROMPT, allow_logging=True))
            consent(True)
            await bench.client.ask(bench.client.request("again", allow_logging=True))

    run(tmp_path, scenario)
    assert len(list(requests(tmp_path))) == 3
    assert [one.turns[0].content for one in read(tmp_path)] == ["again"]


def test_a_replay_and_an_unpaid_ask_leave_nothing_more(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        async with AsyncExitStack() as stack:
            _log_requests(stack, tmp_path, Monitoring(content=True), bench.supply.records)
            await bench.client.hello()
            ask = bench.client.request(PROMPT, allow_logging=True)
            (demand,) = await bench.client.send(ask)
            assert isinstance(demand, PaymentRequired)
            await bench.client.open_account()
            await bench.client.ask(ask)
            await bench.client.ask(ask)

    run(tmp_path, scenario)
    assert len(list(requests(tmp_path))) == 3
    assert len(list(read(tmp_path))) == 1


def test_the_consent_is_part_of_the_ask(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.client.open_account()
        ask = bench.client.request(PROMPT)
        await bench.client.ask(ask)
        with pytest.raises(RemoteFault, match="another ask"):
            await bench.client.ask(msgspec.structs.replace(ask, allow_logging=True))

    run(tmp_path, scenario)


def test_calls_of_functions_are_kept_as_they_were_delivered(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        async with AsyncExitStack() as stack:
            _log_requests(stack, tmp_path, Monitoring(content=True), bench.supply.records)
            await bench.client.open_account()
            tools = (Tool("look", "", "{}"),)
            await bench.client.send(bench.client.request(allow_logging=True, tools=tools))

    run(tmp_path, scenario, config(offers=(offer(features=("tools",)),)))
    (content,) = read(tmp_path)
    assert (content.text, content.calls) == ("", (Called("look", '{"n":0}'),))
    assert content.tools[0].name == "look"


def record(time: float) -> RequestRecord:
    return RequestRecord(
        time=time,
        door="local",
        request_id=RequestId("0" * 32),
        subscriber="",
        period=Period(0),
        model=MODEL,
        key="k",
        outcome="ok",
        tokens_in=1,
        tokens_out=1,
        exact=True,
        income=Units(0),
        upstream_cost=None,
        first_token_ms=None,
        ms=1,
    )


ASK = Ask(RequestId("0" * 32), Period(0), ModelId("m"), (Turn("user", "x"),), 9, 9)


def test_retention_holds_without_anything_new(tmp_path: Path) -> None:
    log = ContentLog(tmp_path, keep_days=2)
    for days in range(3):
        log.write(content_of(record(NOON + days * DAY), ASK, [Chunk("a"), Chunk("b")]))
    log.close()
    assert [one.text for one in read(tmp_path)] == ["ab"] * 3
    assert [one.record.time for one in read(tmp_path, Filter(since=NOON + 2 * DAY))] == [
        NOON + 2 * DAY
    ]
    later = ContentLog(tmp_path, keep_days=2)
    later.prune(NOON + 4 * DAY)
    assert len(list(read(tmp_path))) == 1
    later.prune(NOON + 400 * DAY)
    assert list((tmp_path / FOLDER).iterdir()) == []


def test_a_file_that_others_could_read_is_closed_to_them(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    (file := tmp_path / FOLDER / "content-2026-11-22.jsonl").touch(mode=0o644)
    file.chmod(0o644)
    log = ContentLog(tmp_path)
    log.write(content_of(record(NOON), ASK, []))
    log.close()
    assert file.stat().st_mode & 0o777 == 0o600


def test_lines_that_are_no_records_are_skipped_and_pieces_out_of_order_too(tmp_path: Path) -> None:
    log = ContentLog(tmp_path)
    stray = CallPiece(index=0, id="", name="", arguments="stray")
    log.write(content_of(record(NOON), ASK, [stray, CallPiece(0, "c", "look", "{"), stray]))
    log.close()
    (file,) = (tmp_path / FOLDER).iterdir()
    with file.open("ab") as stream:
        stream.write(b'{"record":')
    assert [one.calls for one in content_log.last(tmp_path, 5)] == [(Called("look", "{stray"),)]


def test_old_content_goes_at_the_start_of_a_node_that_keeps_none(tmp_path: Path) -> None:
    log = ContentLog(tmp_path)
    log.write(content_of(record(NOON - 1000 * DAY), ASK, []))
    log.close()

    async def scenario(bench: Bench) -> None:
        async with AsyncExitStack() as stack:
            _log_requests(stack, tmp_path, Monitoring(), bench.supply.records)
            await asyncio.sleep(0)

    run(tmp_path, scenario)
    assert list(read(tmp_path)) == []
