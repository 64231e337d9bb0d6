"""Starts a server; the one module that loads all of it."""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from ricochet_cli.mcp_server.toolbox import Tier

if TYPE_CHECKING:
    from ricochet_cli.mcp_server.server import Server


def serve_stdio(home: Path, tier: Tier, reader: BinaryIO, writer: BinaryIO) -> None:
    """Serve one client over a pair of streams until it closes them."""
    import anyio

    server = _made(home, tier)
    try:
        anyio.run(server.serve, reader, writer)
    finally:
        server.runs.close()


def serve_http(home: Path, tier: Tier, port: int, ready: Callable[[str, Path], None]) -> None:
    """Serve clients that connect by URL until SIGINT or SIGTERM; `ready` hears the URL and where
    the token is. LocalFault `port_in_use`."""
    import asyncio
    import signal

    from ricochet_orchestrator.api.server import bound
    from ricochet_settlement.hot_key import load_or_create

    file = home / "mcp.token"
    token = load_or_create(file).hex()

    async def until_stopped(listener: socket.socket) -> None:
        from ricochet_cli.mcp_server import http_door

        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        server = _made(home, tier)
        try:
            await http_door.serve(server, listener, token, lambda url: ready(url, file), stop)
        finally:
            server.runs.close()

    with bound("127.0.0.1", port) as listener:
        asyncio.run(until_stopped(listener))


def _made(home: Path, tier: Tier) -> "Server":
    from ricochet_cli.mcp_server.server import make_server

    return make_server(home, tier)
