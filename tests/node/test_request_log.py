"""The request log: what is written is read again, filtered, added up; nothing breaks a node."""

import os
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ricochet_node.request_log import Filter, RequestLog, RequestRecord, follow, last, parse, read
from ricochet_node.request_stats import grand_total, totals
from ricochet_protocol.ids import Address, ModelId, Period, RequestId
from ricochet_protocol.money import Units

NOON = 1_795_348_800.0  # 2026-11-22 12:00 UTC
DAY = 86_400
ALICE, BOB = Address("0x" + "a" * 40), Address("0x" + "b" * 40)


def record(**changes: object) -> RequestRecord:
    usual = RequestRecord(
        time=NOON,
        door="peer",
        request_id=RequestId("0" * 32),
        subscriber=ALICE,
        period=Period(1),
        model=ModelId("small"),
        key="mine",
        outcome="ok",
        tokens_in=1000,
        tokens_out=100,
        exact=True,
        income=Units(1000),
        upstream_cost=Units(300),
        first_token_ms=50,
        ms=400,
    )
    return msgspec.structs.replace(usual, **changes)


def written(home: Path, *records: RequestRecord, **limits: int) -> RequestLog:
    log = RequestLog(home, **limits)
    for one in records:
        log.write(one)
    log.close()
    return log


def test_what_is_written_is_read_in_order(tmp_path: Path) -> None:
    records = [record(time=NOON + hours * 3600, ms=hours) for hours in range(30)]
    written(tmp_path, *records)
    assert list(read(tmp_path)) == records
    assert list(last(tmp_path, 3)) == records[-3:]
    files = sorted((tmp_path / "logs").iterdir())
    assert [file.name for file in files] == [
        "requests-2026-11-22.jsonl",
        "requests-2026-11-23.jsonl",
    ]
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in files)


def test_no_log_is_an_empty_log(tmp_path: Path) -> None:
    assert list(read(tmp_path)) == []
    assert list(follow(tmp_path, NOON).new()) == []


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (Filter(), [0, 1, 2]),
        (Filter(model="small"), [0, 2]),
        (Filter(key="other"), [1]),
        (Filter(subscriber=BOB), [2]),
        (Filter(outcome="ok"), [0, 1]),
        (Filter(outcome="failed"), [2]),
        (Filter(outcome="busy"), [2]),
        (Filter(outcome="timeout"), []),
        (Filter(since=NOON + 1), [1, 2]),
        (Filter(until=NOON + 2 * DAY), [0, 1]),
        (Filter(since=NOON + DAY, until=NOON + DAY + 1, model="large"), [1]),
    ],
)
def test_filters(tmp_path: Path, wanted: Filter, found: list[int]) -> None:
    records = [
        record(),
        record(time=NOON + DAY, model="large", key="other"),
        record(time=NOON + 2 * DAY, subscriber=BOB, outcome="busy", income=Units(0)),
    ]
    written(tmp_path, *records)
    assert list(read(tmp_path, wanted)) == [records[index] for index in found]


def test_old_days_and_too_many_bytes_go(tmp_path: Path) -> None:
    written(tmp_path, *(record(time=NOON + days * DAY) for days in range(5)), keep_days=2)
    assert [one.time for one in read(tmp_path)] == [NOON + days * DAY for days in (2, 3, 4)]
    written(tmp_path, record(time=NOON + 5 * DAY), keep_bytes=600)
    assert [one.time for one in read(tmp_path)] == [NOON + 4 * DAY, NOON + 5 * DAY]


def test_a_line_that_a_crash_cut_short_is_skipped(tmp_path: Path) -> None:
    written(tmp_path, record(ms=1))
    (file,) = (tmp_path / "logs").iterdir()
    with file.open("ab") as stream:
        stream.write(b'{"time":17953')
    written(tmp_path, record(ms=2))
    assert [one.ms for one in read(tmp_path)] == [1, 2]


def test_a_full_disk_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    log = RequestLog(tmp_path)
    monkeypatch.setattr(os, "write", full)
    log.write(record())
    monkeypatch.undo()
    log.write(record(ms=7))
    log.close()
    assert log.lost == 1
    assert [one.ms for one in read(tmp_path)] == [7]


def test_following_sees_only_what_is_new_and_whole(tmp_path: Path) -> None:
    written(tmp_path, record(ms=1))
    follower = follow(tmp_path, NOON)
    assert list(follower.new()) == []
    written(tmp_path, record(ms=2), record(ms=3, time=NOON + DAY))
    assert [one.ms for one in follower.new()] == [2, 3]
    line = msgspec.json.encode(record(ms=4)) + b"\n"
    (*_, today) = sorted((tmp_path / "logs").iterdir())
    with today.open("ab", buffering=0) as stream:
        stream.write(line[:20])
        assert list(follower.new()) == []
        stream.write(line[20:])
    assert [one.ms for one in follower.new()] == [4]


@given(st.binary(max_size=300))
def test_any_line_is_a_record_or_nothing(line: bytes) -> None:
    found = parse(line)
    assert found is None or isinstance(found, RequestRecord)


def test_sums_by_group() -> None:
    records = [
        record(ms=100, first_token_ms=10),
        record(ms=300, first_token_ms=30),
        record(ms=200, model="large", income=Units(5001), upstream_cost=Units(9000)),
        record(outcome="upstream", income=Units(0), upstream_cost=Units(7), ms=9, tokens_out=0),
        record(outcome="cancelled", income=Units(10), upstream_risk=Units(50), tokens_in=10, ms=9),
        record(replayed=True, time=NOON + DAY),
    ]
    large, small = totals(records, "model")
    whole = grand_total(records)
    assert (small.name, small.requests, small.failed, small.income) == ("small", 5, 2, 2010)
    assert (small.share, small.upstream_cost, small.margin) == (1407, 907, 1407 - 907)
    assert (small.upstream_risk, large.upstream_risk, whole.upstream_risk) == (50, 0, 50)
    assert (small.tokens_in, small.median_ms, small.p95_ms) == (3010, 100, 300)
    assert small.median_first_token_ms == 10
    assert (large.income, large.share, large.margin) == (5001, 3500, 3500 - 9000)
    assert (whole.requests, whole.income) == (6, 7011)
    assert [day.name for day in totals(records, "day")] == ["2026-11-22", "2026-11-23"]
    assert [group.name for group in totals(records, "outcome")] == ["ok", "cancelled", "upstream"]


def test_a_margin_is_unknown_where_a_price_is() -> None:
    whole = grand_total([record(), record(upstream_cost=None)])
    assert (whole.unpriced, whole.margin) == (1, None)


def test_nothing_adds_up_to_nothing() -> None:
    whole = grand_total([])
    assert (whole.requests, whole.margin, whole.median_ms) == (0, 0, None)
