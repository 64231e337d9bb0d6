"""Runs a chain in the foreground: progress on stderr; Ctrl-C once stops in order, twice at once."""

import asyncio
import signal
import sys
from pathlib import Path
from typing import NamedTuple

from ricochet_cli.console import say
from ricochet_cli.progress_view import ProgressView
from ricochet_orchestrator.app import run_chain
from ricochet_orchestrator.context import Context
from ricochet_orchestrator.document import Document
from ricochet_orchestrator.progress import printable
from ricochet_orchestrator.reading import Inputs, load
from ricochet_orchestrator.result import RunResult
from ricochet_orchestrator.routing import RoutingFlags
from ricochet_protocol.ids import ModelId


class Calls(NamedTuple):
    """How a run's calls are to be made."""

    model: ModelId | None
    private_nodes: tuple[str, ...]
    allow_logging: bool
    routing: RoutingFlags
    seed: int


def run_with_view(
    home: Path,
    inputs: Inputs,
    context: Context,
    chain: str,
    model: str | None,
    private_nodes: tuple[str, ...],
    *,
    allow_logging: bool,
    routing: RoutingFlags,
    seed: int,
) -> RunResult:
    """Run to the end or to an interruption; KeyboardInterrupt when stopped at once."""
    wanted = None if model is None else ModelId(model)
    # Read before the loop starts: from then on Ctrl-C asks a run to stop.
    loaded = load(inputs)
    for one in loaded.skipped:
        say(f"skipped {printable(one.name)}: {printable(one.reason)}")
    words = (*inputs.words(), *context.words(), *routing.words())
    words += ("--seed", str(seed)) if seed else ()
    calls = Calls(wanted, private_nodes, allow_logging, routing, seed)
    return asyncio.run(_run(home, loaded.document, context, words, chain, calls))


async def _run(
    home: Path,
    document: Document,
    context: Context,
    words: tuple[str, ...],
    chain: str,
    calls: Calls,
) -> RunResult:
    stop = asyncio.Event()
    run = asyncio.ensure_future(
        run_chain(
            home,
            document,
            chain,
            ProgressView(sys.stderr),
            stop,
            model=calls.model,
            seed=calls.seed,
            private_nodes=calls.private_nodes,
            allow_logging=calls.allow_logging,
            context=context,
            inputs=words,
            routing=calls.routing,
        )
    )

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
        result = await run
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    if result.hint:
        say(result.hint)
    return result
