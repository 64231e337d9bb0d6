"""A process to kill: runs a chain in memory, tells of finished steps, logs provider calls."""

import asyncio
import os
import sys
from pathlib import Path

from orchestrator_stage import Stage, numbered

from ricochet_orchestrator.progress import Event, StepFinished
from ricochet_protocol.messages import Ask
from twins.scripted_node import echo

PARAGRAPHS = 6
THINK = float(os.environ.get("THINK", "0.05"))
"""Seconds a call takes, so that there is a middle to be killed in."""


def stage_of(home: Path, log: Path, think: float = THINK) -> Stage:
    """The stage on which both the killed and the resuming process play."""

    def logged(ask: Ask) -> str:
        with log.open("a") as file:
            file.write(ask.request_id + "\n")
        return echo(ask)

    stage = Stage(home)
    for number in range(2):
        stage.node(number, answer=logged, think=think)
    return stage


def main() -> None:
    """Run; usage: HOME LOG."""
    stage = stage_of(Path(sys.argv[1]), Path(sys.argv[2]))

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
