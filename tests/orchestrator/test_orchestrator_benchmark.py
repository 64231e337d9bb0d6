"""The benchmark of the orchestrator: its page tells what is missed, and each program runs."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT))

from benchmarks.orchestrator.__main__ import MEASURES  # noqa: E402 - benchmarks are not installed
from benchmarks.orchestrator.page import rows, written  # noqa: E402

LONG = {
    "tokens": 1_000_000,
    "window": 8192,
    "calls": 200,
    "wall_seconds": 60.0,
    "percent_of_ideal": 99.0,
    "peak_rss_mb": 100,
    "engine_ms_per_call": 2.0,
    "counting_ms_per_call": 1.0,
}
STOPPED = {"runs": 20, "median_ms": 90.0, "worst_ms": 150.0, "calls_begun_after": 0}
SPREAD = {"median": 1.0, "least": 0.5, "most": 2.0}
ROW = dict.fromkeys(("p50", "p99", "cost", "asks_per_call", "failed"), SPREAD)
FIGURES: dict[str, Any] = {
    "segmentation": {
        "coverage": {"documents": 10_000, "lossy": 0, "over_budget": 0, "crossing_parts": 0},
        "memory": {"tokens": 1_056_790, "rss_mb": 86},
    },
    "prompts": {
        "documents": 10_000,
        "windows": [1024, 4096],
        "prompts": 70_000,
        "over_the_window": 0,
    },
    "needles": {
        "runs": [
            {
                "tokens": 100_000,
                "window": 8192,
                "needles": 50,
                "needles_cut_by_a_segment": 20,
                "percent": 100.0,
            }
        ]
    },
    "kill": {
        "points": 100,
        "with_calls_out": 60,
        "completed_calls_repeated": 0,
        "identical_outputs": 100,
        "in_flight_calls_lost": 80,
    },
    "steering": {"pause": STOPPED, "cancel": STOPPED},
    "cost": {
        "usage": {"upstream": {"calls": 19}, "equal": True},
        "estimates": [{"error_percent": -0.4}, {"error_percent": 0.1}],
        "caps": {"runs": 40, "caps_passed": 0},
    },
    "faults": {
        "chains": 1000,
        "share_of_asks_that_fail": 0.2,
        "finished": 1.0,
        "calls_per_answer": 1.25,
        "waits_asked_for": 100,
        "asks_before_a_wait_was_over": 0,
    },
    "speed": {
        "fifty_thousand": {**LONG, "tokens": 50_000, "wall_seconds": 5.0},
        "long": LONG,
        "long_in_small_windows": {**LONG, "window": 2304},
    },
    "serving": {
        "rounds": 10,
        **{key: {"median": 1.5} for key in ("health", "models", "answer")},
    },
    "routing": {
        "peers": 1000,
        "calls": 2000,
        "seeds": 5,
        "seconds_and_dollars": [{"strategy": "balanced, hedged 5 %", **ROW}],
        "beside_the_default": {"balanced, hedged 5 %": {"p50": 1.0, "p99": 1.0, "cost": 1.0}},
    },
}
WHEN = {"measured": "2026-01-01", "took_seconds": 1, "load_before": 0.5, "load": 1.5}
DOCUMENT = {
    "machine": {"cpu": "a chip", "cores": 2, "python": "3.11.0", "loop_ms": 30},
    **{name: {**figures, **WHEN} for name, figures in FIGURES.items()},
}
TARGETS = 27
SMALL = {
    "prompts": ["20"],
    "needles": ["5000"],
    "kill": ["1"],
    "steering": ["1"],
    "faults": ["--chains", "4"],
    "speed": ["60000"],
    "serving": ["1"],
    "routing": ["--peers", "20", "--calls", "20", "--seeds", "1"],
}
"""Arguments with which a measure takes seconds; the others have one size."""


def test_a_page_of_figures_that_all_meet_their_targets_says_so() -> None:
    assert set(DOCUMENT) == {"machine", *MEASURES}
    page = written(DOCUMENT)
    assert "missed" not in page and page.count("| met |") == TARGETS
    assert "`ricochet serve`, median of 10 starts: s until it answers | ≤ 2 | 1.50 | met |" in page
    assert "| kill | 2026-01-01 | 1 | 0.5 | 1.5 |" in page


@pytest.mark.parametrize(
    ("measure", "path", "found"),
    [
        ("segmentation", ("coverage", "over_budget"), 1),
        ("segmentation", ("coverage", "lossy"), 1),
        ("segmentation", ("memory", "rss_mb"), 151),
        ("prompts", ("over_the_window",), 1),
        ("needles", ("runs", 0, "percent"), 98.0),
        ("kill", ("completed_calls_repeated",), 1),
        ("kill", ("identical_outputs",), 99),
        ("steering", ("pause", "worst_ms"), 200.1),
        ("steering", ("cancel", "calls_begun_after"), 1),
        ("cost", ("usage", "equal"), False),
        ("cost", ("estimates", 0, "error_percent"), -5.1),
        ("cost", ("caps", "caps_passed"), 1),
        ("faults", ("finished",), 0.998),
        ("faults", ("calls_per_answer",), 1.31),
        ("faults", ("asks_before_a_wait_was_over",), 1),
        ("speed", ("fifty_thousand", "wall_seconds"), 20.1),
        ("speed", ("long", "percent_of_ideal"), 94.9),
        ("speed", ("long", "peak_rss_mb"), 151),
        ("speed", ("long_in_small_windows", "engine_ms_per_call"), 4.1),
        ("serving", ("health", "median"), 2.01),
    ],
)
def test_a_figure_beyond_its_target_is_missed(
    measure: str, path: tuple[str | int, ...], found: object
) -> None:
    document = json.loads(json.dumps(DOCUMENT))
    at = document[measure]
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = found
    missed = [row for row in rows(document) if row.met is False]
    assert len(missed) == 1, [row.measure for row in missed]


@pytest.mark.deep
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", SMALL)
def test_each_measure_runs_at_a_small_size_and_has_what_the_page_shows(name: str) -> None:
    done = subprocess.run(
        [sys.executable, *MEASURES[name], *SMALL[name]],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        timeout=280,
        check=False,
    )
    assert done.returncode in (0, 1), "1 tells that a target is missed"
    figures = {**json.loads(done.stdout), **WHEN}
    assert name in written({**DOCUMENT, name: figures})
