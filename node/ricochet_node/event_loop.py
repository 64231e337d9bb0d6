"""The loop under a node and its vault: libuv's where there is one, at half the cost a call.

Everything runs on asyncio's own loop too, and most tests do; only Windows has to.
"""

import asyncio
import gc
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def started() -> None:
    """What lives now lives to the end: spare the collector from walking it again and again."""
    gc.collect()
    gc.freeze()
    # What a call leaves behind has few cycles; seven hundred objects are a few calls.
    gc.set_threshold(10_000, 20, 20)


def run(main: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run`, on the faster loop."""
    if sys.platform == "win32":
        return asyncio.run(main)
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)
