"""Runs a chain in the foreground: progress on stderr; Ctrl-C once stops in order, twice at once."""

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

import typer

from ricochet_cli.console import print_json, say
from ricochet_cli.language import t, told
from ricochet_cli.progress_view import ProgressView
from ricochet_cli.run_commands import skipped_document
from ricochet_orchestrator.app import Options, RunResult, Task, resume_run, run_chain
from ricochet_orchestrator.progress import printable
from ricochet_orchestrator.reading import Inputs, Loaded, load
from ricochet_orchestrator.source_files import Skipped
from ricochet_orchestrator.trace import place, place_document

T = TypeVar("T")
Work = Callable[[ProgressView, asyncio.Event], Awaitable[T]]


def read_document(inputs: Inputs) -> Loaded:
    """What the inputs make, before any loop starts; what of folders is left out is told."""
    loaded = load(inputs)
    for one in loaded.skipped:
        say(
            "skipped {name}: {reason}", name=printable(one.name), reason=told(printable(one.reason))
        )
    return loaded


def run_with_view(home: Path, task: Task) -> RunResult:
    """Run to the end or to an interruption; KeyboardInterrupt when stopped at once."""
    return _hinted(watched(lambda view, stop: run_chain(home, task, view, stop)))


def resume_with_view(
    home: Path, run_id: str | None, change: Callable[[Options], Options]
) -> RunResult:
    """Go on with a run in the same way."""
    return _hinted(watched(lambda view, stop: resume_run(home, run_id, view, stop, change)))


def watched(work: Work[T]) -> T:
    """Do work to its end; it is shown its view, and the event that Ctrl-C sets."""
    return asyncio.run(_watched(work))


def _hinted(result: RunResult) -> RunResult:
    if result.hint:
        say(result.hint)
    return result


def show_result(result: RunResult, as_json: bool, skipped: Sequence[Skipped] | None = None) -> None:
    """Print what a run has come to; ends the command unless it is complete."""
    if as_json:
        print_json({**run_document(result), **skipped_document(skipped)})
    else:
        typer.echo(result.output)
        if result.citations:
            typer.echo("\n" + t("Sources:"))
        for cited in result.citations:
            typer.echo(f"[{cited.number}] {printable(place(cited.origin, cited.passages))}")
    if result.exit_code:
        raise typer.Exit(result.exit_code)


async def _watched(work: Work[T]) -> T:
    stop = asyncio.Event()
    run = asyncio.ensure_future(work(ProgressView(sys.stderr), stop))

    def interrupted() -> None:
        if stop.is_set():
            run.cancel()
        else:
            say("\nstopping: finished steps are kept (once more to stop at once)")
            stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupted)
    try:
        return await run
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


def run_document(result: RunResult) -> dict[str, object]:
    """A run's result as the JSON that `chain run --json` prints."""
    return {
        "run": {
            "id": result.run_id,
            "status": result.status,
            "steps": result.steps,
            "calls": result.calls,
            "tokens_in": result.tokens_in,
            "tokens_out": result.tokens_out,
            "cost": result.cost,
            "seconds": round(result.seconds, 3),
        },
        "peers": [
            {
                "peer": peer.peer,
                "operator": peer.operator,
                "calls": peer.calls,
                "tokens_in": peer.tokens_in,
                "tokens_out": peer.tokens_out,
                "cost": peer.cost,
                "first_token_seconds": peer.first_token,
            }
            for peer in result.peers
        ],
        "output": result.output,
        "citations": [
            place_document(one.number, one.origin, one.passages) for one in result.citations
        ],
    }
