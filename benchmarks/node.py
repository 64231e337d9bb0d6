"""What the node costs, against LiteLLM's proxy and Portkey's gateway: JSON on stdout.

    python benchmarks/node.py [--rounds 3] [--seconds 3] [--calls 10000] [--own] [--write FILE]

One run: the real `ricochet node start` with its vault on a development chain, and both peers, in
front of the same upstream double, and a relay of bytes, which no gateway can undercut. Gateways
share the first core; load, upstream and chain have the second. Each round measures every gateway
once; figures are medians over the rounds. CPU time comes from /proc and counts the gateway's
processes together; it says more than requests a second when the machine does other work, so the
load average stands beside it. Peers are installed into `~/.cache/ricochet-benchmarks` at first;
`--own` leaves them out. Needs two cores, Linux, uvloop, and node with npm for Portkey.
"""

import argparse
import contextlib
import json
import math
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import uvloop
from gateways import accounts, key_accounts, own
from gateways.load import Result, Target, load
from gateways.peers import PEERS
from gateways.processes import SIDE, cpu_seconds, on_core, process, rss_bytes
from gateways.table import RELAY, written
from machine import machine

GATEWAY: Final = 0
CONCURRENT: Final = 50
SHORT, LONG = 20, 200
"""Chunks of two streams: their difference is what a chunk costs."""
PACED_AT_ONCE: Final = 10


@dataclass(frozen=True)
class Gateway:
    """One to measure; `pid` is the root of its processes, None for the bare upstream."""

    target: Target
    pid: int | None


async def loaded(
    gateway: Gateway, seconds: float, connections: int, prompt: str, *, stream: bool
) -> tuple[Result, float]:
    """The result, and microseconds of the gateway's CPU for each request."""
    before = cpu_seconds(gateway.pid) if gateway.pid else {}
    result = await load(gateway.target, seconds, connections, prompt, stream=stream)
    after = cpu_seconds(gateway.pid) if gateway.pid else {}
    used = sum(spent - before.get(pid, 0.0) for pid, spent in after.items())
    return result, 1e6 * used / result.requests if result.requests else math.nan


async def measured(gateway: Gateway, seconds: float) -> dict[str, float]:
    """One round of one gateway."""
    hello, long = "Say hello.", f"[chunks={LONG}]"
    one, _ = await loaded(gateway, seconds, 1, hello, stream=False)
    many, cpu = await loaded(gateway, seconds, CONCURRENT, hello, stream=False)
    first, _ = await loaded(gateway, seconds, 1, hello, stream=True)
    short, short_cpu = await loaded(gateway, seconds, CONCURRENT, hello, stream=True)
    burst, burst_cpu = await loaded(gateway, seconds, CONCURRENT, long, stream=True)
    paced, paced_cpu = await loaded(gateway, seconds, PACED_AT_ONCE, f"[paced]{long}", stream=True)
    results = (one, many, first, short, burst, paced)
    return {
        "p50_ms_alone": 1e3 * _median(one.latencies),
        "requests_per_s": many.rate,
        "p50_ms": 1e3 * _median(many.latencies),
        "p99_ms": 1e3 * sorted(many.latencies)[many.requests * 99 // 100],
        "cpu_us_per_request": cpu,
        "first_token_ms_alone": 1e3 * _median(first.first_tokens),
        "streams_per_s": short.rate,
        "cpu_us_per_stream": short_cpu,
        "cpu_us_per_chunk": (burst_cpu - short_cpu) / (LONG - SHORT),
        "cpu_us_per_paced_chunk": paced_cpu / LONG,
        "failures": sum(result.failures for result in results),
        "load_average": os.getloadavg()[0],
    }


def _median(values: list[float]) -> float:
    return statistics.median(values) if values else float("nan")


@contextlib.contextmanager
def program(name: str, folder: Path, core: int, *arguments: str) -> Iterator[tuple[int, str]]:
    """A program beside the gateways: its pid, and the first line that it says."""
    command = (sys.executable, str(Path(__file__).parent / "gateways" / name), *arguments)
    with process(command, folder / f"{name}.log", core) as child:
        assert child.stdout is not None
        yield child.pid, child.stdout.readline().strip()


async def run(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The whole document."""
    with ExitStack() as stack:
        stack.enter_context(on_core(SIDE))
        _, provider = stack.enter_context(program("upstream.py", folder, SIDE))
        home = await own.home(folder, stack.enter_context(own.chain(folder)), provider)
        with own.node(home, GATEWAY):
            pass  # its first start registers it on the chain
        node = stack.enter_context(own.node(home, GATEWAY))
        books = {
            model: await accounts.compare(
                home.owner.home, home.target(model), provider, arguments.calls
            )
            for model in ("direct", "vaulted")
        }
        several = home.target("spread")
        spread = await key_accounts.spread(several, provider, own.SPREAD, arguments.seconds)
        books["spread"] = await key_accounts.compare(
            home.owner.home, several, provider, own.SPREAD, arguments.calls
        )
        parts = urlsplit(provider)
        relay, port = stack.enter_context(program("relay.py", folder, GATEWAY, str(parts.port)))
        relayed = f"http://127.0.0.1:{port}{parts.path}/chat/completions"
        gateways = {
            "upstream": Gateway(Target(f"{provider}/chat/completions", "fake"), None),
            RELAY: Gateway(Target(relayed, "fake"), relay),
            "ricochet direct": Gateway(home.target("direct"), node.pid),
            "ricochet vault": Gateway(home.target("vaulted"), node.pid),
        }
        starts = {"ricochet": node.first}
        for name, start in {} if arguments.own else PEERS.items():
            peer = stack.enter_context(start(folder, provider, own.free_port(), GATEWAY))
            gateways[name] = Gateway(peer.target, peer.pid)
            starts[name] = peer.first
        memory = {"ricochet": rss_bytes(node.pid)}
        rounds = await _rounds(gateways, arguments)
        for name, gateway in gateways.items():
            if gateway.pid:
                memory[name.split()[0]] = rss_bytes(gateway.pid)
    return {
        "measured": time.strftime("%Y-%m-%d"),
        "machine": machine(),
        "rounds": arguments.rounds,
        "seconds": arguments.seconds,
        "warm": arguments.warm,
        "paced": PACED_AT_ONCE,
        "gateways": {name: _medians(found) for name, found in rounds.items()},
        "against": _against({name: _medians(found) for name, found in rounds.items()}),
        "first_request_s": {name: round(value, 2) for name, value in starts.items()},
        "rss_mb": {name: round(value / 1e6, 1) for name, value in memory.items()},
        "accounts": books,
        "spread": spread,
    }


async def _rounds(
    gateways: dict[str, Gateway], arguments: argparse.Namespace
) -> dict[str, list[dict[str, float]]]:
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in gateways}
    for name, gateway in gateways.items():
        warm = arguments.warm if name in PEERS else 1
        await loaded(gateway, warm, 10, "Say hello.", stream=False)
    for number in range(arguments.rounds):
        for name, gateway in gateways.items():
            print(f"round {number + 1}: {name}", file=sys.stderr)
            rounds[name].append(await measured(gateway, arguments.seconds))
    return rounds


def _medians(rounds: list[dict[str, float]]) -> dict[str, float]:
    return {key: round(statistics.median(one[key] for one in rounds), 3) for key in rounds[0]}


def _against(figures: dict[str, dict[str, float]]) -> dict[str, Any]:
    """What each of our paths adds to the upstream, and its ratio to each peer's throughput."""
    bare, found = figures["upstream"], {}

    def added(one: dict[str, float], key: str) -> float:
        return round(one[key] - bare[key], 3)

    for name, one in figures.items():
        if name == "upstream":
            continue
        found[name] = {
            "added_p50_ms": added(one, "p50_ms_alone"),
            "added_first_token_ms": added(one, "first_token_ms_alone"),
            "paced_chunk_above_relay": round(
                one["cpu_us_per_paced_chunk"] - figures[RELAY]["cpu_us_per_paced_chunk"], 3
            ),
        }
        if name.startswith("ricochet"):
            for peer in PEERS.keys() & figures.keys():
                ratio = one["requests_per_s"] / figures[peer]["requests_per_s"]
                found[name][f"times_{peer}"] = round(ratio, 2)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3, help="of each load")
    parser.add_argument("--warm", type=float, default=15, help="seconds for each peer to warm up")
    parser.add_argument("--calls", type=int, default=10_000, help="of the comparison of accounts")
    parser.add_argument("--own", action="store_true", help="without the peers")
    parser.add_argument("--write", type=Path, help="also write a page with the figures")
    arguments = parser.parse_args()
    # What was started is ended however this ends.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory(prefix="ricochet-bench-") as folder:
        document = uvloop.run(run(arguments, Path(folder)))
    if arguments.write:
        arguments.write.write_text(written(document), "utf-8")
    print(json.dumps(document, indent=2))


if __name__ == "__main__":
    main()
