"""All measures of the network between peers, in two processes: JSON on stdout.

    python -m benchmarks.network [--runs 5] [--only calls|growth|swarm] [--scale 1] [--write FILE]

Each run measures every contender once, one after the other: ours, FastAPI on uvicorn asked by
httpx, and a bare echo of length-prefixed frames on asyncio, which has neither encryption nor
multiplexing nor flow control. Figures are medians over the runs. Then come what many calls leave
behind, and a network of real peers. `--scale 0.01` measures a hundredth of everything, to try it.
`--write` also writes the page with the figures held against their targets.
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

from benchmarks.machine import machine
from benchmarks.network.calls import Figures, Size, of_contender
from benchmarks.network.growth import growth
from benchmarks.network.other import other
from benchmarks.network.page import written
from benchmarks.network.swarm import swarm

CONTENDERS: Final = ("ours", "fastapi", "echo")
MEASURES: Final = ("calls", "growth", "swarm")


async def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """The whole document."""
    size, load = _scaled(arguments.scale), os.getloadavg()[0]
    found: dict[str, Any] = {}
    async with AsyncExitStack() as stack:
        needed = CONTENDERS if "calls" in arguments.only else CONTENDERS[:1]
        others = {name: await stack.enter_async_context(other("servers", name)) for name in needed}
        if "calls" in arguments.only:
            rounds: dict[str, list[Figures]] = {name: [] for name in CONTENDERS}
            for number in range(arguments.runs):
                for name in CONTENDERS:
                    print(f"run {number + 1}: {name}", file=sys.stderr)
                    rounds[name].append(await of_contender(name, others[name], size))
            found["calls"] = {name: _medians(figures) for name, figures in rounds.items()}
        if "growth" in arguments.only:
            print(f"{size.growth} calls", file=sys.stderr)
            found["growth"] = await growth(others["ours"], size.growth)
    if "swarm" in arguments.only:
        print(f"{size.nodes} peers", file=sys.stderr)
        found["swarm"] = await swarm(size.nodes, size.rounds)
    return {
        "measured": time.strftime("%Y-%m-%d"),
        "machine": machine(),
        "runs": arguments.runs,
        "load": [round(load, 2), round(os.getloadavg()[0], 2)],
        **found,
    }


def _scaled(scale: float) -> Size:
    whole = Size()
    parts = {name: max(2, round(scale * count)) for name, count in vars(whole).items()}
    return Size(**parts)


def _medians(rounds: list[Figures]) -> Figures:
    return {key: round(statistics.median(one[key] for one in rounds), 3) for key in rounds[0]}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=MEASURES, default=MEASURES)
    parser.add_argument("--scale", type=float, default=1.0, help="of what is measured, up to 1")
    parser.add_argument("--write", type=Path, help="also write a page with the figures")
    arguments = parser.parse_args(argv)
    if arguments.runs < 1 or not 0 < arguments.scale <= 1:
        parser.error("at least one run, and a scale above 0 and up to 1")
    if arguments.write and set(arguments.only) != set(MEASURES):
        parser.error("the page needs every measure: leave out --only")
    document = asyncio.run(run(arguments))
    if arguments.write:
        arguments.write.write_text(written(document), "utf-8")
    print(json.dumps(document, indent=2))


if __name__ == "__main__":
    main()
