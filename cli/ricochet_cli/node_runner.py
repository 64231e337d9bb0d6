"""Runs a node in the foreground: Ctrl-C once lets calls finish, twice stops at once."""

import asyncio
import signal
from pathlib import Path

import typer

from ricochet_cli.console import say
from ricochet_node import event_loop
from ricochet_node.app import NodeOptions, NodeReady, run_node
from ricochet_node.passphrase import Passphrase


def run_in_foreground(home: Path, passphrase: Passphrase, listen: tuple[str, ...]) -> None:
    """Run until a signal; stdout gets the node's first address once it serves."""
    event_loop.run(_run(NodeOptions(home=home, listen=listen), passphrase))


def _ready(node: NodeReady) -> None:
    for notice in node.notices:
        say(notice)
    say(
        "serving as {peer}; operator {operator}; Ctrl-C stops in order",
        peer=node.peer,
        operator=node.operator,
    )
    typer.echo(node.addresses[0])


async def _run(options: NodeOptions, passphrase: Passphrase) -> None:
    stop = asyncio.Event()
    node = asyncio.ensure_future(run_node(options, passphrase, _ready, stop))

    def interrupted() -> None:
        if stop.is_set():
            node.cancel()
        else:
            say("stopping: open calls may finish (once more to stop at once)")
            stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupted)
    try:
        await node
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
