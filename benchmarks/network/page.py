"""The figures of one run as a page of the documentation: measured, and held against the targets."""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

_HEAD: Final = """# What a call between peers costs

`python -m benchmarks.network --write docs/network-benchmarks.md` measures and writes this page: two
processes on loopback, medians over {runs} runs, each of which measures all contenders one after
the other. Ours is what the product runs: Noise of py-libp2p and yamux in a thread of their own, and
the multiplexer above them. *FastAPI* is uvicorn on uvloop, asked by httpx over 50 kept
connections, unencrypted. *Echo* is length-prefixed frames on plain asyncio: what Python does
without encryption, multiplexing or flow control. All answer a prompt of 100 characters.

CPU time is that of both processes together. Measured {measured} on {cores} cores of "{cpu}",
Python {python}; a million additions in a bare loop take {loop_ms} ms there. The load average was
{before} before and {after} after: well above 1 before, the machine had other work, and every
figure of time is worse than the machine's own. Ratios and CPU times suffer least.

"""
_COLUMNS: Final = (
    ("warm_p50_ms", "request p50 ms, one at a time"),
    ("warm_p99_ms", "request p99 ms, one at a time"),
    ("requests_per_s", "requests/s, 50 at once"),
    ("cpu_ms_per_request", "CPU ms a request, both ends"),
    ("words_per_s_one_stream", "streamed tokens/s, one answer"),
    ("words_per_s_together", "streamed tokens/s, 8 answers at once"),
    ("cpu_us_per_word", "CPU µs a streamed token, both ends"),
)


class Row(NamedTuple):
    """A measure, its bound, what was found, and whether more is better."""

    measure: str
    target: float
    found: float
    more: bool

    @property
    def met(self) -> bool:
        """Whether the figure is on the right side of its bound."""
        return self.found >= self.target if self.more else self.found <= self.target


def written(document: dict[str, Any]) -> str:
    """Markdown."""
    lines = ["| | target | measured | |", "|---|--:|--:|---|"]
    for row in rows(document):
        sign, verdict = "≥" if row.more else "≤", "met" if row.met else "**missed**"
        target = f"{sign} {row.target:,g}" if row.target else "0"
        lines.append(f"| {row.measure} | {target} | {_number(row.found)} | {verdict} |")
    lines += ["", "## Beside others", "", "| | ours | FastAPI | echo |", "|---|--:|--:|--:|"]
    calls = document["calls"]
    for key, name in _COLUMNS:
        cells = (_number(calls[one][key]) for one in ("ours", "fastapi", "echo"))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    before, after = document["load"]
    head = _HEAD.format(
        **document, **document["machine"], before=before, after=after, concurrent=50
    )
    return head + "\n".join(lines) + "\n"


def rows(document: dict[str, Any]) -> Iterator[Row]:
    """All targets, in the order of the issue."""
    ours, fastapi = document["calls"]["ours"], document["calls"]["fastapi"]
    yield Row("warm request, p50 ms", 2, ours["warm_p50_ms"], more=False)
    yield Row("warm request, p99 ms", 10, ours["warm_p99_ms"], more=False)
    yield Row("requests/s, 50 at once", 800, ours["requests_per_s"], more=True)
    cpu = ours["cpu_ms_per_request"]
    yield Row("CPU ms a request, both ends", 1.5, cpu, more=False)
    times = ours["requests_per_s"] / fastapi["requests_per_s"]
    yield Row("times FastAPI's requests/s", 1, times, more=True)
    share = cpu / fastapi["cpu_ms_per_request"]
    yield Row("times FastAPI's CPU a request", 1, share, more=False)
    tokens = ours["words_per_s_together"]
    yield Row("streamed tokens/s, 8 answers at once", 50_000, tokens, more=True)
    yield Row("large requests, MB/s", 60, ours["request_mb_per_s"], more=True)
    yield Row("large replies, MB/s", 60, ours["reply_mb_per_s"], more=True)
    yield Row("delay of a first token, ms", 5, ours["first_token_delay_ms"], more=False)
    yield Row("cold dial, ms", 25, ours["cold_dial_ms"], more=False)
    yield from _rest(document["swarm"], document["growth"])


def _rest(swarm: dict[str, Any], growth: dict[str, Any]) -> Iterator[Row]:
    peers = swarm["peers"]
    yield Row(f"an advert reaches {peers} peers, s", 1, swarm["advert_everywhere_s"], more=False)
    yield Row(f"a newcomer knows {peers} peers, s", 1, swarm["newcomer_complete_s"], more=False)
    calls = f"{growth['calls']:,} requests"
    yield Row(f"{calls}: memory grown by MB, the worse end", 5, growth["mb"], more=False)
    yield Row(f"{calls}: calls, streams and tasks left", 0, growth["left"], more=False)


def _number(value: float) -> str:
    return f"{value:,.{0 if value >= 100 or value == int(value) else 2}f}"
