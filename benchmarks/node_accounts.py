"""Whether a node's books are right when calls fail: JSON on stdout, exit code 1 if they are not.

    python benchmarks/node_accounts.py [--calls 10000] [--seconds 5]

The real `ricochet node start` with its vault on a development chain, in front of an upstream double
that counts. Two measures over seven keys of one offer: calls are spread within one of each other,
and with faults injected (429, 500, resets, cut answers, clients that vanish) request log, sales and
the vault's audit trail equal the upstream's own counters exactly, key by key.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from gateways import key_accounts, own
from gateways.processes import SIDE, on_core

from node import GATEWAY, program


async def run(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The whole document."""
    with ExitStack() as stack:
        stack.enter_context(on_core(SIDE))
        _, provider = stack.enter_context(program("upstream.py", folder, SIDE))
        home = await own.home(folder, stack.enter_context(own.chain(folder)), provider)
        stack.enter_context(own.node(home, GATEWAY))
        target = home.target("spread")
        spread = await key_accounts.spread(target, provider, own.SPREAD, arguments.seconds)
        accounts = await key_accounts.compare(
            home.owner.home, target, provider, own.SPREAD, arguments.calls
        )
    return {
        "measured": time.strftime("%Y-%m-%d"),
        "load_average": round(os.getloadavg()[0], 2),
        "keys": len(own.SPREAD),
        "spread": spread,
        "accounts": accounts,
        "right": spread["within_one"] and accounts["equal"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--calls", type=int, default=10_000, help="with injected faults")
    parser.add_argument("--seconds", type=float, default=5, help="of load to see the spread")
    arguments = parser.parse_args()
    # What was started is ended however this ends.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory(prefix="ricochet-accounts-") as folder:
        document = asyncio.run(run(arguments, Path(folder)))
    print(json.dumps(document, indent=2))
    sys.exit(0 if document["right"] else 1)


if __name__ == "__main__":
    main()
