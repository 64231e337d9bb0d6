"""Serves the API in the foreground: Ctrl-C once lets calls end and settles, twice stops at once."""

import asyncio
import ipaddress
import signal
from pathlib import Path

import typer

from ricochet_cli.console import say
from ricochet_orchestrator.app import serve_api
from ricochet_protocol.errors import UsageError


def run_in_foreground(
    home: Path, host: str, port: int, origins: tuple[str, ...], as_json: bool
) -> None:
    """Serve until a signal; stdout gets the base URL once requests are taken."""
    try:
        beyond = not ipaddress.ip_address(host).is_loopback
    except ValueError:
        raise UsageError(
            "bad_address", f"not an IP address to listen at: {host!r}", "for example 127.0.0.1"
        ) from None
    if beyond:
        say(
            "warning: {host} is reachable from other machines, and there is no TLS "
            "here: whoever is on the way reads keys, prompts and answers",
            host=host,
        )
    asyncio.run(_serve(home, host, port, origins, as_json))


async def _serve(home: Path, host: str, port: int, origins: tuple[str, ...], as_json: bool) -> None:
    stop = asyncio.Event()

    def ready(url: str) -> None:
        import json

        typer.echo(json.dumps({"url": url}) if as_json else url)
        say("serving; Ctrl-C stops in order")

    serving = asyncio.ensure_future(serve_api(home, host, port, origins, ready, stop))

    def interrupted() -> None:
        if stop.is_set():
            serving.cancel()
        else:
            say("stopping: open calls may end (once more to stop at once)")
            stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupted)
    try:
        await serving
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
