"""`ricochet demo` with a fast provider: money, chaos, interruption, refusal."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from live import KEYS, Provider, failed, processes_of, ricochet, start, until

SHAPE = {
    "nodes": list,
    "platform": {"commission": int},
    "subscriber": {"paid": int, "spent": int, "budget_left": int},
    "run": {
        "id": str,
        "steps": int,
        "calls": int,
        "tokens_in": int,
        "tokens_out": int,
        "seconds": float,
    },
    "chain": {"rpc": str, "contract": str, "token": str},
    "accounted": bool,
    "timings": dict,
    "output": str,
}
NODE = {
    "name": str,
    "operator": str,
    "peer": str,
    "calls": int,
    "tokens_in": int,
    "tokens_out": int,
    "earned": int,
    "withdrawn": int,
}


def demo_arguments(provider: Provider, *more: str) -> list[str]:
    keys = str(provider.keys_file)
    return ["demo", "--json", "--upstream", provider.url, "--upstream-keys", keys, *more]


def has_shape(value: Any, shape: Any) -> bool:
    if isinstance(shape, dict):
        return set(value) >= set(shape) and all(has_shape(value[k], shape[k]) for k in shape)
    return isinstance(value, shape)


def check_money(report: dict[str, Any]) -> None:
    assert report["accounted"] is True
    nodes, subscriber = report["nodes"], report["subscriber"]
    earned = sum(node["earned"] for node in nodes)
    assert subscriber["paid"] == 10_000_000
    assert subscriber["spent"] == earned + report["platform"]["commission"] > 0
    assert subscriber["paid"] == subscriber["spent"] + subscriber["budget_left"]
    for node in nodes:
        assert node["withdrawn"] == node["earned"] > 0
        assert node["calls"] > 0


def test_every_unit_is_accounted_for(provider: Provider, tmp_path: Path) -> None:
    done = ricochet(*demo_arguments(provider), TMPDIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert set(report) == set(SHAPE) and has_shape(report, SHAPE)
    assert len(report["nodes"]) == 3
    assert all(set(node) == set(NODE) and has_shape(node, NODE) for node in report["nodes"])
    check_money(report)
    run = report["run"]
    assert run["calls"] == run["steps"] == provider.calls()
    for field in ("calls", "tokens_in", "tokens_out"):
        assert run[field] == sum(node[field] for node in report["nodes"])
    assert report["output"].startswith("Answer ")
    assert not any(key in done.stdout + done.stderr for key in KEYS)
    assert processes_of(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


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
