import json
from pathlib import Path

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from ricochet_orchestrator.checkpoint import RunStatus
from ricochet_orchestrator.event_log import EventLog, Follower, read_events
from ricochet_orchestrator.plan import StepId
from ricochet_orchestrator.progress import (
    PaymentDelayed,
    RunFinished,
    RunStarted,
    StepFailed,
    StepRetried,
)
from ricochet_protocol.ids import PeerId

STARTED = RunStarted("r", "d.txt", "c", 4, 5, 0, False)
FINISHED = RunFinished("r", RunStatus.COMPLETED, 2.5)


def written(path: Path, *events: object) -> None:
    log = EventLog(path, lambda: 12.3456)
    for event in events:
        log(event)  # type: ignore[arg-type]  # events
    log.close()


def test_events_come_back_numbered_and_with_their_time(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "r.events.jsonl"
    written(path, STARTED, FINISHED)
    assert [(one.seq, one.at, one.event) for one in read_events(path)] == [
        (1, 12.346, STARTED),
        (2, 12.346, FINISHED),
    ]
    assert [one.seq for one in read_events(path, after=1)] == [2]
    line = json.loads(path.read_text().splitlines()[0])
    assert line["event"]["event"] == "run_started", "readable without this program"
    assert path.stat().st_mode & 0o777 == 0o600


def test_another_process_goes_on_with_the_numbers(tmp_path: Path) -> None:
    path = tmp_path / "log"
    written(path, STARTED)
    written(path, FINISHED)
    assert [one.seq for one in read_events(path)] == [1, 2]


def test_a_line_that_a_crash_cut_off_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "log"
    written(path, STARTED)
    with path.open("ab") as file:
        file.write(b'{"seq":2,"at":1.0,"ev')
    assert [one.seq for one in read_events(path)] == [1], "not whole yet"
    written(path, FINISHED)
    assert [one.event for one in read_events(path)] == [STARTED, FINISHED]


def test_what_peers_say_is_left_out(tmp_path: Path) -> None:
    path, peer, step = tmp_path / "log", PeerId("p"), StepId("s")
    secret = "the prompt said: my salary is"
    written(
        path,
        StepRetried(step, "n", peer, "upstream", secret),
        StepFailed(step, "n", "upstream", secret),
        PaymentDelayed(peer, secret),
    )
    assert "salary" not in path.read_text()
    assert [getattr(one.event, "code", "") for one in read_events(path)] == [
        *("upstream", "upstream", "")
    ]


def test_a_follower_hears_each_event_once(tmp_path: Path) -> None:
    path = tmp_path / "log"
    follower = Follower(path)
    assert follower.new() == []
    log = EventLog(path, lambda: 1.0)
    log(STARTED)
    assert [one.event for one in follower.new()] == [STARTED]
    assert follower.new() == []
    with path.open("ab") as file:
        line = msgspec.json.encode({"seq": 2, "at": 1.0, "event": FINISHED})
        file.write(line[:20])
        file.flush()
        assert follower.new() == [], "half a line is nothing yet"
        file.write(line[20:] + b"\n")
    assert [one.event for one in follower.new()] == [FINISHED]
    log.close()
    assert [one.seq for one in Follower(path, after=1).new()] == [2]


@given(st.binary(max_size=200))
def test_a_damaged_log_hides_no_other_line(tmp_path_factory: object, junk: bytes) -> None:
    path = tmp_path_factory.mktemp("log") / "log"  # type: ignore[attr-defined]  # pytest's
    path.write_bytes(junk)
    written(path, STARTED)
    assert [one.event for one in read_events(path)][-1] == STARTED
