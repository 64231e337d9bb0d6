"""The benchmark of the network: it measures everything, and its page tells what is missed."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT))

from benchmarks.network.__main__ import main  # noqa: E402 - benchmarks are not installed
from benchmarks.network.page import rows, written  # noqa: E402

TARGETS = 15
CALLS = {
    "warm_p50_ms": 1.0,
    "warm_p99_ms": 9.0,
    "requests_per_s": 900.0,
    "cpu_ms_per_request": 1.0,
    "words_per_s_one_stream": 1.0,
    "words_per_s_together": 60_000.0,
    "cpu_us_per_word": 1.0,
}
OURS = {
    **CALLS,
    "first_token_delay_ms": 1.0,
    "request_mb_per_s": 61.0,
    "reply_mb_per_s": 61.0,
    "cold_dial_ms": 20.0,
}
OTHER = {**CALLS, "requests_per_s": 100.0, "cpu_ms_per_request": 4.0}
DOCUMENT: dict[str, Any] = {
    "measured": "2026-01-01",
    "machine": {"cpu": "a chip", "cores": 2, "python": "3.11.0", "loop_ms": 30},
    "runs": 1,
    "load": [0.5, 1.5],
    "calls": {"ours": OURS, "fastapi": OTHER, "echo": OTHER},
    "growth": {"calls": 20_000, "mb": 1.5, "left": 0},
    "swarm": {"peers": 50, "advert_everywhere_s": 0.5, "newcomer_complete_s": 0.25},
}


def measured(*arguments: str) -> dict[str, Any]:
    """The program's document at a tiny size."""
    done = subprocess.run(
        (sys.executable, "-m", "benchmarks.network", "--runs", "1", "--scale", "0.001", *arguments),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        timeout=110,
        check=True,
    )
    document: dict[str, Any] = json.loads(done.stdout)
    return document


@pytest.mark.slow
def test_it_runs_in_two_processes_and_leaves_nothing_behind() -> None:
    growth = measured("--only", "growth")["growth"]
    assert growth["calls"] == 20 and growth["left"] == 0
    assert growth["caller"].keys() == growth["callee"].keys() >= {"rss", "calls", "streams"}


@pytest.mark.deep
def test_every_contender_is_measured_in_one_run() -> None:
    calls = measured("--only", "calls")["calls"]
    assert {name: set(figures) for name, figures in calls.items()} == {
        "ours": set(OURS),
        "fastapi": set(CALLS),
        "echo": set(CALLS),
    }
    assert all(figure > 0 for figures in calls.values() for figure in figures.values())


@pytest.mark.deep
def test_the_whole_run_writes_its_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    document = measured("--write", str(page))
    assert page.read_text("utf-8") == written(document)
    assert document["growth"]["left"] == 0
    assert len(list(rows(document))) == TARGETS


def test_a_page_of_figures_that_all_meet_their_targets_says_so() -> None:
    page = written(DOCUMENT)
    assert "missed" not in page and page.count("| met |") == TARGETS
    assert "| requests/s, 50 at once | ≥ 800 | 900 | met |" in page
    assert "| times FastAPI's requests/s | ≥ 1 | 9 | met |" in page


@pytest.mark.parametrize(
    ("part", "found"),
    [
        ("warm_p50_ms", 2.01),
        ("warm_p99_ms", 10.1),
        ("requests_per_s", 799.0),
        ("cpu_ms_per_request", 1.51),
        ("words_per_s_together", 49_999.0),
        ("request_mb_per_s", 59.0),
        ("reply_mb_per_s", 59.0),
        ("first_token_delay_ms", 5.1),
        ("cold_dial_ms", 25.1),
    ],
)
def test_a_figure_beyond_its_target_is_missed(part: str, found: float) -> None:
    calls = {**DOCUMENT["calls"], "ours": {**OURS, part: found}}
    missed = [row for row in rows({**DOCUMENT, "calls": calls}) if not row.met]
    assert [row.found for row in missed] == [found]


@pytest.mark.parametrize(
    ("measure", "part", "found"),
    [
        ("growth", "mb", 5.1),
        ("growth", "left", 1),
        ("swarm", "advert_everywhere_s", 1.1),
        ("swarm", "newcomer_complete_s", 1.1),
    ],
)
def test_what_is_left_or_late_is_missed(measure: str, part: str, found: float) -> None:
    document = {**DOCUMENT, measure: {**DOCUMENT[measure], part: found}}
    assert [row.found for row in rows(document) if not row.met] == [found]


def test_a_slower_fastapi_is_no_excuse_and_a_faster_one_is_told() -> None:
    calls = {**DOCUMENT["calls"], "fastapi": {**OTHER, "requests_per_s": 1000.0}}
    (missed,) = [row for row in rows({**DOCUMENT, "calls": calls}) if not row.met]
    assert missed.measure == "times FastAPI's requests/s"


@pytest.mark.parametrize(
    "given",
    [["--runs", "0"], ["--scale", "0"], ["--scale", "2"], ["--only", "calls", "--write", "x.md"]],
)
def test_a_wrong_command_line_is_refused(given: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(given)
