"""What many calls leave behind, on both ends: memory, calls, streams and tasks."""

from typing import Any, Final

from benchmarks.network.calls import at_once
from benchmarks.network.clients import OPENED
from benchmarks.network.other import Other
from benchmarks.network.vitals import alive

WARM: Final = 2_000
"""Calls before the first look, after which queues and pools have the size that they keep."""


async def growth(other: Other, calls: int) -> dict[str, Any]:
    """Both ends before and after `calls`, and what came of it."""
    async with OPENED["ours"](await other.ask("where")) as client:
        await at_once(client, min(WARM, calls))
        before = [await alive(), await other.ask("alive")]
        await at_once(client, calls)
        after = [await alive(), await other.ask("alive")]
    grown = [
        {kind: later[kind] - count for kind, count in earlier.items()}
        for earlier, later in zip(before, after, strict=True)
    ]
    return {
        "calls": calls,
        "mb": round(max(one["rss"] for one in grown) / 1e6, 2),
        "left": sum(max(0, one[kind]) for one in grown for kind in one if kind != "rss"),
        "caller": grown[0],
        "callee": grown[1],
    }
