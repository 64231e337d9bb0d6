"""The figures of one run as a page of the documentation."""

from typing import Any, Final

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

*direct* is an upstream that needs no key, *vault* one whose key only the vault holds; CPU time is
that of node and vault together. Every request goes through token counting, metering, a signed
receipt, the ledger on disk and the request log.

Measured {measured}.

"""


def written(document: dict[str, Any]) -> str:
    """Markdown."""
    gateways = document["gateways"]
    lines = ["| | " + " | ".join(gateways) + " |", "|---|" + "--:|" * len(gateways)]
    for key, name in _ROWS:
        cells = (
            f"{figures[key]:,.{0 if figures[key] >= 100 else 2}f}" for figures in gateways.values()
        )
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    for key, name in (("first_request_s", "first answer after start, s"), ("rss_mb", "RSS MB")):
        found = document[key]
        cells = (str(found.get(gateway.split()[0], "")) for gateway in gateways)
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines += ["", "| | " + " | ".join(document["against"]["ricochet direct"]) + " |"]
    lines.append("|---|" + "--:|" * len(document["against"]["ricochet direct"]))
    for name in ("ricochet direct", "ricochet vault"):
        cells = map(str, document["against"][name].values())
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines += ["", *_accounts(document["accounts"])]
    return _HEAD.format(**document) + "\n".join(lines) + "\n"


def _accounts(books: dict[str, Any]) -> list[str]:
    lines = ["Accounts, held against the upstream's own counters (ours / upstream's):", ""]
    for model, one in books.items():
        faults = ", ".join(f"{count} {name}" for name, count in one["faults"].items())
        pairs = ", ".join(
            f"{name} {ours:,} / {theirs:,}"
            for name, (ours, theirs) in one["node, upstream"].items()
        )
        verdict = "equal" if one["equal"] else "**not equal**"
        lines.append(f"- {model}: {one['calls']:,} calls with {faults}: {verdict} ({pairs}).")
    return lines
