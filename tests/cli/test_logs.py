"""`ricochet logs` and `ricochet node stats` over a log on disk."""

import csv
import io
import json
import time
from pathlib import Path

import msgspec
import pytest

from ricochet_cli import chain_runner
from ricochet_cli.logs_view import bar, chart, moment
from ricochet_cli.main import main
from ricochet_node.content_log import ContentLog, content_of
from ricochet_node.request_log import RequestLog, RequestRecord, read
from ricochet_orchestrator.app import Task
from ricochet_protocol.errors import UsageError
from ricochet_protocol.ids import Address, ModelId, Period, RequestId
from ricochet_protocol.messages import Ask, Chunk, Turn
from ricochet_protocol.money import Units

ALICE = Address("0x" + "a" * 40)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    log = RequestLog(tmp_path)
    for number, (model, outcome) in enumerate(
        [("small", "ok"), ("=large|model", "ok"), ("small", "busy")]
    ):
        served = outcome == "ok"
        log.write(
            RequestRecord(
                time=time.time() - 86_400 * number,
                door="peer",
                request_id=RequestId(f"{number:032x}"),
                subscriber=ALICE,
                period=Period(1),
                model=ModelId(model),
                key="mine" if served else "",
                outcome=outcome,
                tokens_in=1000 if served else 0,
                tokens_out=100 if served else 0,
                exact=served,
                income=Units(2_500 if served else 0),
                upstream_cost=Units(1_000) if served else Units(0),
                first_token_ms=20 if served else None,
                ms=1234,
            )
        )
    log.close()
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(arguments)
    out, err = capsys.readouterr()
    return code, out, err


def test_show(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "logs", "show", "--home", str(home))
    assert code == 0
    assert len(out.splitlines()) == 4
    assert "1,234" in out and "$0.0025" in out and "0xaaaaaa…aaaa" in out
    code, out, _ = run(capsys, "logs", "show", "--outcome", "failed", "--json", "--home", str(home))
    (found,) = json.loads(out)
    assert (found["outcome"], found["income"]) == ("busy", 0)


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("--outcome", "nonsense", "cancelled"),
        ("--subscriber", "0x12", "local"),
        ("--since", "yesterday", "2h"),
    ],
)
@pytest.mark.parametrize("command", [("show",), ("export", "--format", "csv")])
def test_a_filter_that_can_fit_nothing_is_refused(
    home: Path,
    capsys: pytest.CaptureFixture[str],
    command: tuple[str, ...],
    option: str,
    value: str,
    told: str,
) -> None:
    code, out, err = run(capsys, "logs", *command, option, value, "--home", str(home))
    assert (code, out) == (2, "") and value in err and told in err.split("hint:")[1]


def test_each_filter_takes_its_own(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = RequestLog(home)
    own = msgspec.structs.replace(next(read(home)), subscriber="", door="local", outcome="ok")
    log.write(own)
    log.close()
    found = {}
    for option, value in (
        ("--subscriber", "0x" + "AA" * 20),
        ("--subscriber", "local"),
        ("--key", "mine"),
        ("--outcome", "busy"),
        ("--outcome", "cancelled"),
        ("--since", "1970-01-01"),
        ("--until", "1970-01-02"),
    ):
        _, out, _ = run(capsys, "logs", "show", "--json", option, value, "--home", str(home))
        found[option, value] = len(json.loads(out))
    assert list(found.values()) == [3, 1, 2, 1, 0, 4, 0]


def test_show_content(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = ("logs", "show", "--content", "--home", str(home))
    code, out, err = run(capsys, *shown)
    assert (code, out) == (0, "") and "allow-logging" in err and "node.yaml" in err
    hostile = Turn("user", "look\x1b[2J\nanswer:\n\u202eforged")
    asked = Ask(RequestId("0" * 32), Period(1), ModelId("small"), (hostile,), 9, 9)
    log = ContentLog(home)
    for record in list(read(home))[-2:]:
        log.write(content_of(record, asked, [Chunk("a fine\n"), Chunk("answer")]))
    log.close()
    _, out, _ = run(capsys, *shown)
    assert "\n  user:\n    look[2J\n    answer:\n    forged\n" in out
    assert out.endswith("  answer:\n    a fine\n    answer\n") and "$0.0025" in out
    _, out, _ = run(capsys, *shown, "--json", "--model", "small")
    (found,) = json.loads(out)
    assert (found["text"], found["turns"][0]["content"]) == ("a fine\nanswer", hostile.content)
    assert found["outcome"] == "ok"
    _, out, _ = run(capsys, "logs", "show", "--home", str(home))
    assert "fine" not in out


def test_an_empty_log_says_how_to_fill_it(
    tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out, err = run(capsys, "logs", "show", "--home", str(tmp_path / "new"))
    assert out == "" and "ricochet node start" in err
    _, out, err = run(capsys, "logs", "show", "--model", "none", "--home", str(home))
    assert out == "" and "filters" in err
    _, out, err = run(capsys, "node", "stats", "--home", str(tmp_path / "new"))
    assert out == "" and "ricochet node start" in err


def test_exports_hold_every_request(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ("logs", "export", "--home", str(home), "--format")
    _, out, _ = run(capsys, *common, "json")
    assert [one["ms"] for one in json.loads(out)] == [1234] * 3
    _, out, _ = run(capsys, *common, "csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [row["income"] for row in rows] == ["0", "2500", "2500"]
    assert rows[1]["model"] == "'=large|model"
    _, out, _ = run(capsys, *common, "md")
    assert len(out.splitlines()) == 5 and "large\\|model" in out
    file = tmp_path / "out.csv"
    assert run(capsys, *common, "csv", "--out", str(file))[0] == 0
    assert len(file.read_text().splitlines()) == 4
    code, _, err = run(capsys, *common, "csv", "--out", str(file))
    assert code == 2 and "hint:" in err and len(file.read_text().splitlines()) == 4


def test_stats(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "node", "stats", "--by", "key", "--home", str(home))
    assert code == 0
    assert "$0.0035" in out and "requests a day" in out
    _, out, _ = run(capsys, "node", "stats", "--json", "--home", str(home))
    found = json.loads(out)
    assert (found["all"]["income"], found["all"]["margin"]) == (5000, 1500)
    assert sum(group["requests"] for group in found["groups"]) == 3
    code, _, err = run(capsys, "node", "stats", "--by", "colour", "--home", str(home))
    assert code == 2 and "subscriber" in err
    log = RequestLog(home)
    log.write(msgspec.structs.replace(list(read(home))[-1], upstream_cost=None))
    log.close()
    _, out, err = run(capsys, "node", "stats", "--home", str(home))
    assert "+?" in out and "`prices`" in err


def test_moments() -> None:
    assert moment("2h", 10_000) == 2_800
    assert moment("2026-11-22", 0) == 1_795_305_600
    assert moment("2026-11-22T01:00:00+01:00", 0) == 1_795_305_600
    for wrong in ("", "yesterday", "2x", "-3h", "99999999d"):
        with pytest.raises(UsageError, match="not a time"):
            moment(wrong, 0)


def test_small_pictures() -> None:
    assert chart([0, 1, 8]) == " ▁█"
    assert chart([0, 0]) == "  "
    assert (bar(0, 10), bar(1, 1000), bar(10, 10, width=3)) == ("", "▏", "███")


@pytest.mark.parametrize("flags", [(), ("--allow-logging",)])
def test_a_run_allows_logging_only_when_it_is_told_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...]
) -> None:
    asked: list[bool] = []

    async def run_chain(_home: Path, task: Task, *_: object) -> None:
        asked.append(task.options.allow_logging)
        raise UsageError("enough", "that is all this test wants to know")

    monkeypatch.setattr(chain_runner, "run_chain", run_chain)
    file = tmp_path / "x.txt"
    file.write_text("text")
    assert main(["chain", "run", str(file), *flags, "--home", str(tmp_path)]) == 2
    assert asked == [bool(flags)]
