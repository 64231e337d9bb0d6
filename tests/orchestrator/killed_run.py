"""A process to kill: runs a chain in memory, tells of finished steps, logs provider calls."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

from orchestrator_stage import Stage, numbered

from ricochet_orchestrator.progress import Event, StepFinished
from ricochet_protocol.messages import Ask

PARAGRAPHS = 6
THINK = 0.05
"""Seconds a call takes, so that there is a middle to be killed in."""


def begin(home: Path, log: Path, think: float = THINK) -> subprocess.Popen[str]:
    """Start the process; it prints a line for each finished step. Its caller ends it."""
    return subprocess.Popen(
        [sys.executable, __file__, str(home), str(log), str(think)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def stage_of(home: Path, log: Path, think: float) -> Stage:
    """The stage on which both the killed and the resuming process play.

    A call is logged when it begins, so that one which a kill cuts off is known too.
    """

    def begins(ask: Ask) -> None:
        with log.open("a") as file:
            file.write(ask.request_id + "\n")

    stage = Stage(home)
    for number, share in enumerate((1.0, 0.7)):
        # Nodes of one pace would answer at the same moments, and kills fall between pairs only.
        stage.node(number, begins=begins, think=share * think)
    return stage


def main() -> None:
    """Run; usage: HOME LOG THINK."""
    stage = stage_of(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]))

    def tell(event: Event) -> None:
        if isinstance(event, StepFinished):
            print(event.step, flush=True)

    stage.on_event = tell

    async def scene() -> None:
        async with stage.up():
            await stage.play(numbered(PARAGRAPHS))

    asyncio.run(scene())


if __name__ == "__main__":
    main()
