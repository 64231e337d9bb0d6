"""A process of its own that rates tasks: `python -P -m ricochet_orchestrator.tasks.rating_worker`.

Whoever starts it has entered the run already, for its id; this process goes on with that run,
because the request is the same, and writes what it finds into the tasks. It outlives its starter.
"""

import asyncio
import sys
import time
from pathlib import Path

import msgspec

from ricochet_orchestrator.app import RunResult, Task, run_chain
from ricochet_orchestrator.tasks import decomposing
from ricochet_orchestrator.worker import alone, start_process
from ricochet_protocol.errors import ExitCode
from ricochet_protocol.money import Units


class Order(msgspec.Struct, frozen=True):
    """Which tasks of a project to rate; none named: all that are open."""

    project: Path
    tag: str
    refs: tuple[str, ...]
    cap: Units | None


def start(home: Path, run_id: str, order: Order) -> None:
    """Start the process, in the project's folder, for a run of `decomposing.analysis`."""
    content = msgspec.json.encode(order, enc_hook=str).decode()
    start_process(home, run_id, "ricochet_orchestrator.tasks.rating_worker", str(home), content)


async def rate(home: Path, order: Order, stop: asyncio.Event) -> int:
    """Rate the tasks; the exit code."""

    async def run(task: Task) -> RunResult:
        return await run_chain(home, task, lambda _: None, stop)

    done = await decomposing.analyze(
        order.project, home, run, time.time(), order.tag, order.refs, order.cap
    )
    for ref, why in done.failed.items():
        print(f"{ref}: no usable answer: {why}", file=sys.stderr)
    return ExitCode.PARTIAL if done.failed else ExitCode.OK


def main() -> int:
    """Entry of the process; its exit code."""
    home = Path(sys.argv[1])
    order = msgspec.json.decode(sys.argv[2], type=Order, dec_hook=lambda kind, value: kind(value))
    return alone(lambda stop: rate(home, order, stop))


if __name__ == "__main__":
    sys.exit(main())
