"""`ricochet demo` with a fast provider: chaos, interruption, refusal."""

import json
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from demo_report import check_money
from live import Provider, failed, processes_of, ricochet, start, until
from ricochet_cli.demo.report import Report
from ricochet_protocol.money import Units


def demo_arguments(provider: Provider, *more: str) -> list[str]:
    keys = str(provider.keys_file)
    return ["demo", "--json", "--upstream", provider.url, "--upstream-keys", keys, *more]


@pytest.mark.slow
def test_a_killed_node_changes_nothing_about_the_money(provider: Provider, tmp_path: Path) -> None:
    # Slow enough that a node can be killed in the middle.
    document = tmp_path / "long.txt"
    document.write_text("\n\n".join(f"Paragraph {n}. " + "Some words. " * 120 for n in range(90)))
    arguments = demo_arguments(provider, "--chaos", "--document", str(document))
    (tmp_path / "scratch").mkdir()
    done = ricochet(*arguments, TMPDIR=str(tmp_path / "scratch"))
    assert done.returncode == 0, done.stderr
    assert "chaos: killing" in done.stderr
    report = json.loads(done.stdout)
    check_money(report)
    assert report["run"]["calls"] >= report["run"]["steps"]
    assert processes_of(tmp_path) == []
    assert list((tmp_path / "scratch").iterdir()) == []


@pytest.mark.slow
def test_ctrl_c_stops_everything(provider: Provider, tmp_path: Path) -> None:
    provider.fault({"kind": "stall"})
    process = start(*demo_arguments(provider), TMPDIR=str(tmp_path))
    until(lambda: provider.calls() > 0 or process.poll() is not None, "the first call")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=40)
    assert process.returncode == 130, err
    assert out == ""
    assert processes_of(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_what_a_killed_demo_leaves_can_be_stopped(provider: Provider, tmp_path: Path) -> None:
    provider.fault({"kind": "stall"})
    process = start(*demo_arguments(provider), TMPDIR=str(tmp_path))
    until(lambda: bool(list(tmp_path.glob("*/alice/node.run.json"))), "the first node")
    process.kill()
    process.communicate(timeout=20)
    assert processes_of(tmp_path) != []
    (folder,) = tmp_path.iterdir()
    done = ricochet("dev", "stop", str(folder))
    assert done.returncode == 0 and "stopped chain" in done.stderr, done.stderr
    assert processes_of(tmp_path) == []


@pytest.mark.deep
def test_refused_keys_end_the_demo_with_a_reason(provider: Provider, tmp_path: Path) -> None:
    provider.fault({"kind": "401"})
    done = ricochet(*demo_arguments(provider), TMPDIR=str(tmp_path))
    assert done.returncode not in (0, 130)
    assert done.stdout == ""
    assert "refuse" in done.stderr
    assert processes_of(tmp_path) == []


@pytest.mark.parametrize(
    ("content", "error"), [(None, "missing"), (b"", "empty"), (b"\x00\x01\x02", "binary")]
)
def test_a_bad_document_is_refused_before_anything_starts(
    content: bytes | None, error: str, tmp_path: Path
) -> None:
    document = tmp_path / "document.txt"
    if content is not None:
        document.write_bytes(content)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    arguments = ("demo", "--json", "--document", str(document))
    hint = failed(ricochet(*arguments, TMPDIR=str(scratch)), 2, f"document_{error}")
    assert hint
    assert list(scratch.iterdir()) == []


def test_the_report_says_what_wrote_the_answers() -> None:
    report = Report(
        nodes=(),
        commission=Units(0),
        paid=Units(0),
        spent=Units(0),
        cost=Units(0),
        budget_left=Units(0),
        run={},
        served_by="",
        rpc="",
        contract="",
        token="",
        accounted=True,
        discrepancies=(),
        timings={},
        output="An overview.",
    )
    assert "a model of 135M parameters" in report.text()
    own = replace(report, served_by="llama3, http://127.0.0.1:1/v1").text()
    assert "(Written by llama3, http://127.0.0.1:1/v1.)" in own and "135M" not in own
