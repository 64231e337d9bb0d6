"""A process of its own for one run: `python -P -m ricochet_orchestrator.worker HOME RUN`.

It outlives the terminal, the command or the service that started it: it has a session of its own,
no standard input, and writes what a person would have seen of an error to `runs/RUN.log`. How the
run stands is in the store, for everybody; SIGTERM pauses it.
"""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from ricochet_orchestrator.app import work
from ricochet_orchestrator.ownership import run_file
from ricochet_protocol.errors import ExitCode, LocalFault, RicochetError

START_WAIT: Final = 60
"""Seconds; it takes a tenth of one on an idle machine."""


def start_worker(home: Path, run_id: str) -> None:
    """Start the process; LocalFault `worker_failed` when there can be none."""
    start_process(home, run_id, "ricochet_orchestrator.worker", str(home), run_id)


def start_process(home: Path, run_id: str, module: str, *arguments: str) -> None:
    """Start a module that goes on by itself (`main` shows how); the same error."""
    log = run_file(home, run_id, "log")
    # `-P`: nothing in the folder where this happens to be called gets imported.
    command = [sys.executable, "-P", "-m", module, *arguments]
    try:
        log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
        try:
            # Returns once the process has a child that goes on by itself.
            subprocess.run(  # noqa: S603 - this program's own interpreter and module
                command,
                stdin=subprocess.DEVNULL,
                stdout=descriptor,
                stderr=descriptor,
                start_new_session=True,
                check=True,
                timeout=START_WAIT,
            )
        finally:
            os.close(descriptor)
    except (OSError, subprocess.SubprocessError) as error:
        raise LocalFault(
            "worker_failed",
            f"No process could be started for run {run_id}: {error}.",
            f"Go on with it in this terminal: ricochet chain resume {run_id}",
        ) from None


async def _work(home: Path, run_id: str, stop: asyncio.Event) -> int:
    result = await work(home, run_id, lambda _: None, stop)
    return result.exit_code


def main() -> int:
    """Entry of the process; its exit code."""
    home, run_id = Path(sys.argv[1]), sys.argv[2]
    return alone(lambda stop: _work(home, run_id, stop))


def alone(task: Callable[[asyncio.Event], Awaitable[int]]) -> int:
    """Do it in a child that outlives who waits for this process; the exit code. SIGTERM sets the
    event that it is given."""

    async def until_stopped() -> int:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        return await task(stop)

    if os.fork():
        # Who started this waits for it; the child is left to the system, and leaves no zombie.
        os._exit(0)
    try:
        return asyncio.run(until_stopped())
    except RicochetError as error:
        print(f"error: {error.code}: {error.message}\nhint: {error.hint}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
