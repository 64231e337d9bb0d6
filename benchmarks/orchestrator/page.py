"""The figures of one run of all measures as a page of the documentation, against their targets.

A row is met or missed by its figure alone; a measure that was cut short (fewer points, fewer
chains) shows so in its name, which is made from the document and not written here.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

ENGINE_MS: Final = 5.0
RSS_MB: Final = 150
STOP_MS: Final = 200
READY_S: Final = 2
_HEAD: Final = """# What the orchestrator does, measured

`python -m benchmarks.orchestrator --write docs/orchestrator-benchmarks.md` measures and writes this
page. The orchestrator is the product's own; models are scripts that count every call, and nodes and
network are the tests' twins, except where real processes are killed. What each program does in
detail stands on top of it in `benchmarks/orchestrator/` and in `benchmarks/routing.py`, and each
runs alone as well.

Where the load average is above 2, this machine had other work too, and every time on its clock is
worse than its own.

Measured on {cores} cores of "{cpu}", Python {python}; a million additions in a bare loop take
{loop_ms} ms there. Waits are on a virtual clock, so `s wall` and
the share of the ideal schedule do not depend on the machine; milliseconds a call are processor time
and do. Counting tokens is told apart: it depends on the text and on its tokenizer alone, and every
text is counted when it is cut and again as the prompt that is paid for.

"""


class Row(NamedTuple):
    """One line of the table; `met` is None for what has no target."""

    measure: str
    target: str
    found: str
    met: bool | None


def written(found: dict[str, Any]) -> str:
    """Markdown."""
    lines = ["| measure | target | measured | |", "|---|--:|--:|---|"]
    lines += [_line(row) for row in rows(found)]
    lines += ["", "## The router", "", *_router(found["routing"])]
    lines += ["", "## When, and with what load", "", *_runs(found)]
    return _HEAD.format(**found["machine"]) + "\n".join(lines) + "\n"


def rows(found: dict[str, Any]) -> list[Row]:
    """All targets, in the order of the measures."""
    return [
        *_segmentation(found["segmentation"]),
        *_prompts(found["prompts"]),
        *_needles(found["needles"]),
        *_kill(found["kill"]),
        *_steering(found["steering"]),
        *_cost(found["cost"]),
        *_faults(found["faults"]),
        *_speed(found["speed"]),
        *_serving(found["serving"]),
    ]


def _line(row: Row) -> str:
    verdict = {True: "met", False: "**missed**", None: ""}[row.met]
    return f"| {row.measure} | {row.target} | {row.found} | {verdict} |"


def _none(measure: str, count: int) -> Row:
    return Row(measure, "0", f"{count:,}", count == 0)


def _segmentation(found: dict[str, Any]) -> Iterator[Row]:
    covered = found["coverage"]
    number = f"{covered['documents']:,} random documents"
    yield _none(f"{number}: not the source when put together", covered["lossy"])
    yield _none(f"{number}: segments over budget", covered["over_budget"])
    yield _none(f"{number}: segments across files", covered["crossing_parts"])
    memory = found["memory"]
    name = f"reading and cutting {memory['tokens']:,} tokens, MB RSS"
    yield Row(name, f"≤ {RSS_MB}", str(memory["rss_mb"]), memory["rss_mb"] <= RSS_MB)


def _prompts(found: dict[str, Any]) -> Iterator[Row]:
    least, most = found["windows"]
    name = f"{found['prompts']:,} prompts of built-in chains over {found['documents']:,} documents"
    over = found["over_the_window"]
    yield _none(f"{name}, windows {least:,} to {most:,}: over the window", over)


def _needles(found: dict[str, Any]) -> Iterator[Row]:
    for run in found["runs"]:
        cut = run["needles_cut_by_a_segment"]
        placed = f"{run['needles']} needles ({cut} cut) in {run['tokens']:,} tokens"
        name = f"{placed}, window {run['window']:,}: in the final prompt"
        yield Row(name, "100 %", f"{run['percent']:g} %", run["percent"] == 100)


def _kill(found: dict[str, Any]) -> Iterator[Row]:
    points = found["points"]
    out = found["with_calls_out"]
    name = f"kill -9 of {points} processes at work ({out} with calls out)"
    yield _none(f"{name}: completed calls repeated", found["completed_calls_repeated"])
    same = found["identical_outputs"]
    yield Row(f"{name}: identical output", str(points), str(same), same == points)
    yield Row(f"{name}: calls in flight lost", "told", str(found["in_flight_calls_lost"]), None)


def _steering(found: dict[str, Any]) -> Iterator[Row]:
    for wish in ("pause", "cancel"):
        one = found[wish]
        name = f"{wish} of {one['runs']} processes at work"
        median = f"{name}, from the wish to its effect: median ms"
        yield Row(median, "", f"{one['median_ms']:g}", None)
        worst = one["worst_ms"]
        yield Row(f"{name}: worst ms", f"≤ {STOP_MS}", f"{worst:g}", worst <= STOP_MS)
        yield _none(f"{name}: calls begun after", one["calls_begun_after"])


def _cost(found: dict[str, Any]) -> Iterator[Row]:
    usage = found["usage"]
    calls = usage["upstream"]["calls"]
    said = "equal" if usage["equal"] else "not equal"
    yield Row(
        f"usage of {calls} calls against the upstream's counter", "equal", said, usage["equal"]
    )
    worst = max(abs(row["error_percent"]) for row in found["estimates"])
    name = f"dry run against the cost, worst of {len(found['estimates'])}"
    yield Row(name, "± 5 %", f"{worst:.2f} %", worst <= 5)
    caps = found["caps"]
    yield _none(f"{caps['runs']} runs under caps: caps passed", caps["caps_passed"])


def _faults(found: dict[str, Any]) -> Iterator[Row]:
    name = f"{found['chains']:,} chains, {found['share_of_asks_that_fail']:.0%} of asks fail"
    share = found["finished"]
    yield Row(f"{name}: finished", "≥ 99.9 %", f"{share:.2%}", share >= 0.999)
    calls = found["calls_per_answer"]
    yield Row(f"{name}: calls per useful call", "≤ 1.3", f"{calls:.3f}", calls <= 1.3)
    early = found["asks_before_a_wait_was_over"]
    yield _none(f"{name}: asks before `Retry-After` ({found['waits_asked_for']} waits)", early)


def _speed(found: dict[str, Any]) -> Iterator[Row]:
    first = found["fifty_thousand"]
    name = f"{first['tokens']:,} tokens, 2 s a call, 8 slots: s wall"
    yield Row(name, "≤ 20", f"{first['wall_seconds']:g}", first["wall_seconds"] <= 20)
    for key in ("fifty_thousand", "long", "long_in_small_windows"):
        one = found[key]
        name = f"{one['tokens']:,} tokens, window {one['window']:,}, {one['calls']:,} calls"
        share = one["percent_of_ideal"]
        yield Row(f"{name}: of the ideal makespan", "≥ 95 %", f"{share:g} %", share >= 95)
        if key != "fifty_thousand":
            yield from _long(name, one)


def _long(name: str, one: dict[str, Any]) -> Iterator[Row]:
    peak, engine = one["peak_rss_mb"], one["engine_ms_per_call"]
    whole = engine + one["counting_ms_per_call"]
    yield Row(f"{name}: MB RSS, nodes included", f"≤ {RSS_MB}", str(peak), peak <= RSS_MB)
    target = f"≤ {ENGINE_MS:g}"
    yield Row(f"{name}: engine ms a call", target, f"{whole:.2f}", whole <= ENGINE_MS)
    yield Row(f"{name}: the same without counting", "", f"{engine:.2f}", None)


def _serving(found: dict[str, Any]) -> Iterator[Row]:
    ready = found["health"]["median"]
    name = f"`ricochet serve`, median of {found['rounds']} starts"
    yield Row(f"{name}: s until it answers", f"≤ {READY_S}", f"{ready:.2f}", ready <= READY_S)
    for key, what in (("models", "its list of models"), ("answer", "a model's first answer")):
        yield Row(f"{name}: s until {what}", "", f"{found[key]['median']:.2f}", None)


def _router(found: dict[str, Any]) -> Iterable[str]:
    size = f"{found['peers']:,} simulated peers with stragglers, liars and churn"
    yield f"{size}; {found['calls']:,} calls, medians over {found['seeds']} seeds."
    yield "`oracle` knows what nobody can know and is a bound, not a rival. The last two columns"
    yield "are multiples of the default's (`balanced`, hedged)."
    yield ""
    yield "| | p50 s | p99 s | $ a call | asks a call | failed | p99, times | cost, times |"
    yield "|---|--:|--:|--:|--:|--:|--:|--:|"
    for row in found["seconds_and_dollars"]:
        beside = found["beside_the_default"][row["strategy"]]
        cells = (
            f"{row['p50']['median']:.2f}",
            f"{row['p99']['median']:.2f}",
            f"{row['cost']['median']:.6f}",
            f"{row['asks_per_call']['median']:.2f}",
            f"{row['failed']['median']:g}",
            f"{beside['p99']:.2f}",
            f"{beside['cost']:.2f}",
        )
        yield f"| {row['strategy']} | {' | '.join(cells)} |"


def _runs(found: dict[str, Any]) -> Iterable[str]:
    yield "| | measured | took s | load average before | at its end |"
    yield "|---|---|--:|--:|--:|"
    for name, one in found.items():
        if name != "machine":
            took, before = f"{one['took_seconds']:,}", f"{one['load_before']:.1f}"
            yield f"| {name} | {one['measured']} | {took} | {before} | {one['load']:.1f} |"
