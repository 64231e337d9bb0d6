"""What a process has used so far and what is alive in it, told by that process itself."""

import asyncio
import gc
import time
from typing import Final

import psutil
import trio

from ricochet_network.call import Call
from ricochet_network.libp2p_yamux import YamuxStream

KINDS: Final = {"calls": Call, "streams": YamuxStream, "trio_tasks": trio.lowlevel.Task}


async def cpu_seconds() -> float:
    """CPU time of all threads."""
    return time.process_time()


async def alive() -> dict[str, int]:
    """Bytes of resident memory, and the number of calls, streams and tasks; garbage is none."""
    gc.collect()
    objects = gc.get_objects()
    return {
        "rss": psutil.Process().memory_info().rss,
        "asyncio_tasks": len(asyncio.all_tasks()),
        **{
            name: sum(1 for one in objects if isinstance(one, kind)) for name, kind in KINDS.items()
        },
    }
