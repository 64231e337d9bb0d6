"""Runs the application until it is told to stop, in order: calls, vouchers, network.

uvicorn serves; its own handling of signals, which would end the process before vouchers are handed
over, is left out: the program that owns the process says when to stop.
"""

import asyncio
import ipaddress
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

import uvicorn

from ricochet_orchestrator.api.gate import App
from ricochet_protocol.errors import LocalFault
from ricochet_settlement.file_lock import locked

OPEN_CALLS: Final = 30
"""Seconds that calls may take to end once the server is to stop."""
BACKLOG: Final = 128


End = Callable[[], Awaitable[None]]


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the owner's."""
        yield


@contextmanager
def bound(host: str, port: int) -> Iterator[socket.socket]:
    """A listening socket; LocalFault `port_in_use`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen(BACKLOG)
        except OSError as error:
            raise LocalFault(
                "port_in_use",
                f"the server cannot open at {host}:{port}: {error.strerror}",
                "choose another with --port, or stop what is there",
            ) from None
        listener.setblocking(False)
        yield listener


def names(listener: socket.socket, host: str) -> tuple[frozenset[str], str]:
    """How requests may call this server in `Host`, and its base URL for OpenAI clients."""
    port = int(listener.getsockname()[1])
    shown = f"[{host}]" if ":" in host else host
    known = {shown, "localhost", "127.0.0.1", "[::1]"}
    if ipaddress.ip_address(host).is_unspecified:
        shown = "127.0.0.1"
        known |= {socket.gethostname().lower(), *_own_addresses()}
    return frozenset(f"{name}:{port}" for name in known), f"http://{shown}:{port}/v1"


@contextmanager
def only_one(home: Path) -> Iterator[None]:
    """One server a home: what is open in its store is then its own. LocalFault otherwise."""
    with ExitStack() as held:
        try:
            held.enter_context(locked(home / "serve", wait=0))
        except LocalFault as error:
            if error.code != "file_busy":
                raise
            raise LocalFault(
                "already_serving",
                f"a server of {home} is running already",
                "stop it first, or use another home with --home",
            ) from None
        yield


@asynccontextmanager
async def serving(app: App, listener: socket.socket) -> AsyncIterator[End]:
    """Serve while the context lasts. What it yields ends serving, with time for open calls."""
    config = uvicorn.Config(
        app,
        lifespan="off",
        access_log=False,
        log_config=None,
        ws="none",
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=OPEN_CALLS,
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))

    async def end() -> None:
        server.should_exit = True
        await task

    try:
        yield end
    finally:
        server.should_exit = server.force_exit = True
        await asyncio.gather(task, return_exceptions=True)


def _own_addresses() -> set[str]:
    import psutil

    found = [one.address for group in psutil.net_if_addrs().values() for one in group]
    return {one for one in found if one.count(".") == 3}
