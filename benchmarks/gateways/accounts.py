"""Whether the node's accounts equal the upstream's own counters, over calls of which many fail.

The upstream fails a share of the calls (429, 500, a reset, an answer cut short), and some clients
vanish in the middle of a stream. Then three books are held against what the upstream has counted:
the request log (which ends each call in one line), the ledger's sales, and the vault's audit trail.
"""

import asyncio
import contextlib
import json
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any, Final

from gateways.load import Target
from ricochet_node import request_log
from ricochet_node.admin import status

PLAN: Final = {"429": 0.03, "500": 0.03, "reset": 0.02, "cut": 0.02}
VANISHING: Final = 50
"""One call in so many is left by its client after the first word."""
AT_ONCE: Final = 50
_SECONDS: Final = 300


def control(upstream: str, path: str, document: Any = None) -> Any:
    """Ask the upstream double something, or tell it."""
    url = upstream.removesuffix("/v1") + path
    data = None if document is None else json.dumps(document).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data), timeout=10) as reply:
        return json.load(reply)


async def compare(home: Path, target: Target, upstream: str, calls: int) -> dict[str, Any]:
    """Make the calls and compare; `equal` says whether every figure agreed."""
    before = await _books(home, target.model)
    control(upstream, "/plan", PLAN)
    await make_calls(target, calls)
    counted = Counter(control(upstream, "/stats"))
    async with asyncio.timeout(30):
        # Calls that were left end a moment after their clients.
        while (after := await _books(home, target.model))["lines"] - before["lines"] < calls:  # noqa: ASYNC110 - nobody signals the end of another process's call
            await asyncio.sleep(0.1)
    after.subtract(before)
    failed = sum(counted[fault] for fault in PLAN)
    pairs = {
        "calls": (after["asked"], counted["calls"]),
        "answered": (after["ok"], counted["answered"]),
        "failed": (after["failed"], failed),
        "left": (after["cancelled"], counted["left"]),
        "tokens_in": (after["tokens_in"], counted["tokens_in"]),
        "tokens_out": (after["tokens_out"], counted["tokens_out"]),
        "sales": (after["sold"], counted["answered"]),
    }
    if target.model == "vaulted":
        pairs["audited calls"] = (after["audited"], counted["calls"])
        pairs["audited tokens_in"] = (after["audited_in"], counted["tokens_in"])
        pairs["audited tokens_out"] = (after["audited_out"], counted["tokens_out"])
    control(upstream, "/plan", {})
    faults = {fault: counted[fault] for fault in PLAN}
    return {
        "calls": calls,
        "faults": {**faults, "left": counted["left"]},
        "node, upstream": pairs,
        "equal": all(ours == theirs for ours, theirs in pairs.values()),
    }


async def _books(home: Path, model: str) -> "Counter[str]":
    found: Counter[str] = Counter()
    for record in request_log.read(home, request_log.Filter(model=model)):
        found["lines"] += 1
        if not record.key:
            continue  # refused while the pool spares a failing key: no provider was asked
        found["asked"] += 1
        if record.outcome == request_log.OK:
            found["ok"] += 1
            found["tokens_in"] += record.tokens_in
            found["tokens_out"] += record.tokens_out
        else:
            found["cancelled" if record.outcome == "cancelled" else "failed"] += 1
    trail = home / "keys.log"
    for line in trail.read_text("utf-8").splitlines() if trail.exists() else ():
        audited = json.loads(line)
        found["audited"] += 1
        found["audited_in"] += audited["tokens_in"] or 0
        found["audited_out"] += audited["tokens_out"] or 0
    sold = next(one for one in (await status(home))["models"] if one["model"] == model)
    found["sold"] = sold["calls"]
    return found


async def make_calls(target: Target, calls: int) -> None:
    """Half of them streamed, fifty at once, some left in their middle."""
    numbers = iter(range(calls))

    async def worker() -> None:
        for number in numbers:
            if number % VANISHING == 0:
                await _vanish(target)
            else:
                await _whole(target, stream=number % 2 == 0)

    async with asyncio.timeout(_SECONDS):
        await asyncio.gather(*(worker() for _ in range(AT_ONCE)))


async def _whole(target: Target, *, stream: bool) -> None:
    """One call, read to its end on a connection of its own."""
    reader, writer = await asyncio.open_connection(*target.address)
    request = target.request("Say hello.", stream=stream)
    writer.write(request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))
    await reader.read(-1)
    writer.close()


async def _vanish(target: Target) -> None:
    reader, writer = await asyncio.open_connection(*target.address)
    request = target.request("[wait]", stream=True)
    writer.write(request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))
    with contextlib.suppress(asyncio.IncompleteReadError):  # refused: there is nothing to leave
        await reader.readuntil(b"word")
    writer.transport.abort()
