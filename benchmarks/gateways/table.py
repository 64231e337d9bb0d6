"""The figures of one run as a page of the documentation: measured, and held against the targets."""

import math
from collections.abc import Iterable
from typing import Any, Final

OWN: Final = ("ricochet direct", "ricochet vault")
RELAY: Final = "relay of bytes"
_ROWS: Final = (
    ("requests_per_s", "requests/s, 50 at once"),
    ("cpu_us_per_request", "CPU µs a request"),
    ("p50_ms_alone", "p50 ms, one at a time"),
    ("p99_ms", "p99 ms, 50 at once"),
    ("first_token_ms_alone", "first token ms, one at a time"),
    ("cpu_us_per_stream", "CPU µs a stream of 20 chunks"),
    ("cpu_us_per_chunk", "CPU µs a further chunk, all at once"),
    ("cpu_us_per_paced_chunk", "CPU µs a chunk, one a millisecond"),
    ("failures", "failures"),
    ("load_average", "load average of the machine"),
)
_HEAD: Final = """# What the node costs

`python benchmarks/node.py --write docs/benchmarks.md` measures and writes this page: the real
`ricochet node start` with its vault, LiteLLM's proxy 1.106.2 and Portkey's gateway 1.15.2, each
alone at work on one core before the same upstream double, which has the other core together with
the load. Load comes from the benchmark's own client on uvloop. Figures are medians over
{rounds} rounds of {seconds} seconds for each cell.

Asked is the owner's local door. *direct* is an upstream that needs no key, *vault* one whose key
only the vault holds; CPU time is that of node and vault together. Every request is checked,
admitted to a slot and a key, counted by what the provider reports, and written to the request log;
through the vault, its worst cost is debited before it is sent and settled after.

Measured {measured} on {cores} cores of "{cpu}", Python {python}; a million additions in a bare loop
take {loop_ms} ms there. Where the load average is above {cores}, it had other work too, and
every figure of time is worse than that of the machine by itself; ratios of gateways to each other
suffer least. A dash stands where a gateway answered no call of that kind; `failures` has them.
`python benchmarks/node_accounts.py` compares the accounts alone.

The *relay of bytes* passes on what either side sends, on the same loop, and reads nothing: what it
costs is the price of sockets and wake-ups on this machine, below which no gateway on this loop can
come. Chunks of {paced} streams that come one a millisecond are read in gulps of at most 16 ms
([adr/031](adr/031-streams-in-gulps.md)): their figure is the price of a gulp, shared by what was in
it. A chunk that comes later than 8 ms after the one before goes on alone, at the price of a gulp.

LiteLLM's proxy and Portkey's gateway, which is compiled as it runs, are warmed {warm:g} seconds,
the others for one. Portkey's ended each stream of this upstream with an error of its own
(`TypeError: immutable`).

"""


def written(document: dict[str, Any]) -> str:
    """Markdown."""
    gateways = document["gateways"]
    lines = ["| | " + " | ".join(gateways) + " |", "|---|" + "--:|" * len(gateways)]
    for key, name in _ROWS:
        lines.append(f"| {name} | " + " | ".join(_number(one[key]) for one in gateways.values()))
    for key, name in (("first_request_s", "first answer after start, s"), ("rss_mb", "RSS MB")):
        found = document[key]
        cells = (str(found.get(gateway.split()[0], "")) for gateway in gateways)
        lines.append(f"| {name} | " + " | ".join(cells))
    lines = [line if line.endswith("|") else f"{line} |" for line in lines]
    lines += ["", "## Against the targets", "", *_targets(document)]
    lines += ["", "## Accounts", "", *_accounts(document["accounts"])]
    head = _HEAD.format(**document, **document["machine"])
    return head + "\n".join([*lines, *_spread(document["spread"])]) + "\n"


def _number(value: float) -> str:
    if math.isnan(value):
        return "-"
    return f"{value:,.{0 if value >= 100 else 2}f}"


def _targets(document: dict[str, Any]) -> Iterable[str]:
    gateways, against = document["gateways"], document["against"]
    yield "| | target | direct | | target | vault | |"
    yield "|---|--:|--:|---|--:|--:|---|"
    rows = [
        ("CPU µs a request", "cpu_us_per_request", 400.0, 700.0, False),
        ("requests/s, 50 at once", "requests_per_s", 2500.0, 1400.0, True),
        ("added to p50, ms", "added_p50_ms", 0.5, 1.0, False),
    ]
    both = [{**gateways[name], **against[name]} for name in OWN]
    for name, key, *wanted, more in rows:
        cells = (
            f"{_bound(bound, more)} | {_number(one[key])} | {_met(one[key], bound, more)}"
            for one, bound in zip(both, wanted, strict=True)
        )
        yield f"| {name} | {' | '.join(cells)} |"
    direct = both[0]
    single: list[tuple[str, float, float, bool]] = [
        ("added to the first token, ms", 5, direct["added_first_token_ms"], False),
        ("CPU µs a streamed chunk, all at once", 20, direct["cpu_us_per_chunk"], False),
        ("CPU µs a streamed chunk, one a millisecond", 20, direct["cpu_us_per_paced_chunk"], False),
        ("the same above the relay", 20, direct["paced_chunk_above_relay"], False),
        ("first answer after start, s", 1.5, document["first_request_s"]["ricochet"], False),
        ("RSS of node and vault, MB", 200, document["rss_mb"]["ricochet"], False),
    ]
    for peer, times in (("litellm", 10.0), ("portkey", 1.0)):
        if f"times_{peer}" in direct:
            single.append((f"times {peer}'s throughput", times, direct[f"times_{peer}"], True))
    for name, wanted, found, more in single:
        met = _met(found, wanted, more)
        yield f"| {name} | {_bound(wanted, more)} | {_number(found)} | {met} | | | |"


def _bound(wanted: float, more: bool) -> str:
    return f"{'≥' if more else '≤'} {wanted:,g}"


def _met(found: float, wanted: float, more: bool) -> str:
    return "met" if (found >= wanted if more else found <= wanted) else "**missed**"


def _accounts(books: dict[str, Any]) -> list[str]:
    lines = ["Held against the upstream's own counters (ours / upstream's):", ""]
    for model, one in books.items():
        faults = ", ".join(f"{count} {name}" for name, count in one["faults"].items())
        pairs = ", ".join(
            f"{name} {ours:,} / {theirs:,}"
            for name, (ours, theirs) in one["node, upstream"].items()
        )
        verdict = "equal" if one["equal"] else "**not equal**"
        each = "; so are calls and tokens of each key" if "keys" in one else ""
        lines.append(f"- {model}: {one['calls']:,} calls with {faults}: {verdict}{each} ({pairs}).")
    return lines


def _spread(found: dict[str, Any]) -> list[str]:
    calls = ", ".join(f"{count:,}" for count in found["calls"].values())
    verdict = "within one" if found["within_one"] else "**not within one**"
    return [f"- calls without faults over the keys of `spread`: {calls}: {verdict}."]
