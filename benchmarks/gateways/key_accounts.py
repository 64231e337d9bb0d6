"""Whether calls spread evenly over several keys, and whether each key's account is the upstream's.

The first needs no faults: of calls that all succeed no key may have two more than another. The
second injects them, so that calls move from key to key: then the vault's audit trail is held
against what the upstream counted for each key, and request log and sales against its sums.
"""

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any, Final

from gateways.accounts import PLAN, control, make_calls
from gateways.load import Target, load
from ricochet_node import request_log
from ricochet_node.admin import status

_AT_ONCE: Final = 20


async def spread(target: Target, upstream: str, secrets: dict[str, str], seconds: float) -> Any:
    """Calls of each key after so many seconds of load."""
    control(upstream, "/plan", {})
    result = await load(target, seconds, _AT_ONCE, stream=False)
    found = control(upstream, "/stats")["keys"]
    calls = {key: found.get(secret, 0) for key, secret in secrets.items()}
    least, most = min(calls.values()), max(calls.values())
    return {
        "calls": calls,
        "failures": result.failures,
        "within_one": most - least <= 1 and least > 0 and not result.failures,
    }


async def compare(
    home: Path, target: Target, upstream: str, secrets: dict[str, str], calls: int
) -> dict[str, Any]:
    """Make the calls, with faults, and compare; `equal` says whether every figure agreed."""
    before = await _books(home, target.model)
    control(upstream, "/plan", PLAN)
    await make_calls(target, calls)
    counted = control(upstream, "/stats")
    async with asyncio.timeout(30):
        # Calls that were left end a moment after their clients.
        while (after := await _books(home, target.model))["lines"] - before["lines"] < calls:  # noqa: ASYNC110 - nobody signals the end of another process's call
            await asyncio.sleep(0.1)
    after.subtract(before)
    control(upstream, "/plan", {})
    pairs: dict[str, tuple[int, int]] = {
        "calls asked": (sum(after[f"calls {key}"] for key in secrets), counted["calls"]),
        "answered": (after["ok"], counted["answered"]),
        "sales": (after["sold"], counted["answered"]),
        "left": (after["cancelled"], counted.get("left", 0)),
        "tokens in": (after["tokens_in"], counted["tokens_in"]),
        "tokens out": (after["tokens_out"], counted["tokens_out"]),
    }
    keys = {
        key: {
            "calls": (after[f"calls {key}"], counted["keys"].get(secret, 0)),
            "tokens in": (after[f"in {key}"], counted["keys_in"].get(secret, 0)),
            "tokens out": (after[f"out {key}"], counted["keys_out"].get(secret, 0)),
        }
        for key, secret in secrets.items()
    }
    compared = (pairs, *keys.values())
    return {
        "calls": calls,
        "faults": {name: counted.get(name, 0) for name in (*PLAN, "left")},
        "node, upstream": pairs,
        "keys": keys,
        "equal": all(ours == theirs for one in compared for ours, theirs in one.values()),
    }


async def _books(home: Path, model: str) -> "Counter[str]":
    found: Counter[str] = Counter()
    for record in request_log.read(home, request_log.Filter(model=model)):
        found["lines"] += 1
        if record.outcome in (request_log.OK, "cancelled"):
            found[record.outcome] += 1
        if record.outcome == request_log.OK:
            found["tokens_in"] += record.tokens_in
            found["tokens_out"] += record.tokens_out
    trail = home / "keys.log"
    for line in trail.read_text("utf-8").splitlines() if trail.exists() else ():
        audited = json.loads(line)
        found[f"calls {audited['key']}"] += 1
        found[f"in {audited['key']}"] += audited["tokens_in"] or 0
        found[f"out {audited['key']}"] += audited["tokens_out"] or 0
    sold = next(one for one in (await status(home))["models"] if one["model"] == model)
    found["sold"] = sold["calls"]
    return found
