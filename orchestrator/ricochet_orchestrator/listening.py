"""How a working process hears what is wanted of its run, and how a run is closed for now.

The wish is read often and cheaply: it is a look at one row that takes no lock. What a run stands at
in the end follows from the last wish alone, so that a cancellation wins over a pause that came with
it, whoever reads them first.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from ricochet_orchestrator.checkpoint import ENDED, RunRecord, RunStatus, Status, Wish
from ricochet_orchestrator.request import Options
from ricochet_orchestrator.store import Store
from ricochet_protocol.errors import BudgetError

LOOK: Final = 0.05
"""Seconds between looks: a pause takes effect within 200 ms, and a look costs 0.2 ms."""
_OPEN: Final = (Status.PENDING, Status.READY, Status.RUNNING, Status.PAUSED)


@asynccontextmanager
async def listening(store: Store, run_id: str, stop: asyncio.Event) -> AsyncIterator[None]:
    """Set `stop` once the run is wanted to pause or to end, while the context lasts."""
    if store.wish(run_id) is not Wish.RUN:
        stop.set()
    task = asyncio.create_task(_listen(store, run_id, stop))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _listen(store: Store, run_id: str, stop: asyncio.Event) -> None:
    while True:
        if store.wish(run_id) is not Wish.RUN:
            stop.set()
            return
        await asyncio.sleep(LOOK)


@asynccontextmanager
async def limited(record: RunRecord, options: Options, stop: asyncio.Event) -> AsyncIterator[None]:
    """Set `stop` once the run has been worked on for `max_time`; then BudgetError at the end."""
    if options.max_time is None:
        yield
        return
    expired = asyncio.Event()

    def expire() -> None:
        if not stop.is_set():
            expired.set()
            stop.set()

    left = max(0.0, options.max_time - record.seconds)
    timer = asyncio.get_running_loop().call_later(left, expire)
    try:
        yield
    finally:
        timer.cancel()
    if expired.is_set():
        raise BudgetError(
            "max_time",
            f"The run has been worked on for the {options.max_time:g} s that it may take.",
            f"Finished steps are kept. Go on: ricochet chain resume {record.id} --max-time SECONDS",
        )


def close(store: Store, run_id: str, status: RunStatus, seconds: float) -> RunStatus:
    """Enter where the run stands now that nobody works on it; a completed run stays completed."""
    moved = {Status.RUNNING: Status.PAUSED}
    if status not in ENDED and store.wish(run_id) is Wish.CANCEL:
        status = RunStatus.CANCELLED
        moved = dict.fromkeys(_OPEN, Status.CANCELLED)
    store.close_run(run_id, status, seconds, moved)
    return status
