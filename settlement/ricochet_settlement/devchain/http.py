"""The dev chain's door: JSON-RPC over HTTP on loopback, for programs only.

A page in the user's browser could otherwise send transactions: it can post to loopback, and by DNS
rebinding under its own name. So the Host must be loopback's and any Origin is refused. Requests run
one after another on the event loop: the chain has one state, and nothing else happens here.
"""

import errno
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import uvicorn
from fastapi import FastAPI, Request, Response

from ricochet_protocol.errors import LocalFault
from ricochet_settlement.devchain.chain import DevChain
from ricochet_settlement.devchain.rpc import Rpc

MAX_BODY: Final = 2 * 1024 * 1024
"""Bytes; the largest request there is deploys a contract of 24 KiB."""
_LOOPBACK: Final = "127.0.0.1"


def serve(state: Path, port: int, ready: Callable[[str], None]) -> None:
    """Run the chain stored in `state` until SIGINT or SIGTERM; `ready` gets its URL.

    Port 0 takes a free one. LocalFault `port_in_use`, `state_in_use` or `state_damaged`.
    """
    with _listen(port) as listener:
        bound: int = listener.getsockname()[1]
        chain = DevChain(state)
        try:
            app = _app(Rpc(chain), bound, lambda: ready(f"http://{_LOOPBACK}:{bound}"))
            config = uvicorn.Config(
                app, log_level="warning", access_log=False, timeout_graceful_shutdown=2
            )
            uvicorn.Server(config).run(sockets=[listener])
        finally:
            chain.close()


def _listen(port: int) -> socket.socket:
    listener = socket.socket()
    try:
        # A restarted chain takes its port back at once; one that is listened on is still refused.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((_LOOPBACK, port))
        listener.listen()
    except OSError as error:
        listener.close()
        if error.errno != errno.EADDRINUSE:
            raise LocalFault(
                "port_unusable", f"cannot listen on port {port}: {error.strerror}", "Use another."
            ) from None
        raise LocalFault(
            "port_in_use",
            f"port {port} of {_LOOPBACK} is in use",
            "Stop the program that uses it, or choose another port (0 takes a free one).",
        ) from None
    return listener


def _app(rpc: Rpc, port: int, started: Callable[[], None]) -> FastAPI:
    hosts = {f"{_LOOPBACK}:{port}", f"localhost:{port}"}

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        started()
        yield

    app = FastAPI(openapi_url=None, lifespan=lifespan)

    @app.post("/")
    async def door(request: Request) -> Response:
        if request.headers.get("host") not in hosts or "origin" in request.headers:
            return Response("loopback programs only", 403)
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > MAX_BODY:
                return Response("request too large", 413)
        return Response(rpc.answer_untrusted(bytes(body)), media_type="application/json")

    return app
