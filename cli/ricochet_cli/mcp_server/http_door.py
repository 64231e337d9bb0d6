"""The server for editors that connect by URL: on loopback, for whoever has the token.

Pages in a browser reach loopback too, and other users of the machine do. A Host that is not ours
means a name that was bent to this machine, an Origin means a page: both are refused, whatever they
carry.
"""

import asyncio
import hmac
import socket
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

from starlette.responses import JSONResponse

from ricochet_cli.mcp_server.server import Server
from ricochet_orchestrator.api.gate import App, Message, Receive, Send
from ricochet_orchestrator.api.server import names, serving

HOST: Final = "127.0.0.1"
PATH: Final = "/mcp"


class Door:
    """Lets requests to `PATH` through that name this server and carry its token."""

    def __init__(self, app: App, hosts: frozenset[str], token: str) -> None:
        self._app = app
        self._hosts = hosts
        self._token = token.encode()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        headers = dict(scope["headers"])
        refused = self._refusal(scope["path"], headers)
        if refused is None:
            await self._app(scope, receive, send)
        else:
            await refused(scope, receive, send)

    def _refusal(self, path: str, headers: dict[bytes, bytes]) -> Any:
        if headers.get(b"host", b"").decode("latin-1").lower() not in self._hosts:
            return _refused(403, "forbidden_host", "This host is not served here.", f"Use {HOST}.")
        if b"origin" in headers:
            hint = "Editors send no Origin; connect over stdio from elsewhere."
            return _refused(403, "forbidden_origin", "Pages are not let in.", hint)
        kind, _, secret = headers.get(b"authorization", b"").partition(b" ")
        good = hmac.compare_digest(secret.strip(), self._token)
        if kind.lower() != b"bearer" or not good:
            hint = "Send `Authorization: Bearer TOKEN`; the token is in mcp.token of the home."
            return _refused(401, "token_needed", "The token is missing or wrong.", hint)
        if path != PATH:
            return _refused(404, "not_found", "There is nothing here.", f"The server is at {PATH}.")
        return None


def _refused(status: int, code: str, message: str, hint: str) -> JSONResponse:
    content = {"error": {"code": code, "message": message, "hint": hint}}
    challenge = {"WWW-Authenticate": "Bearer"} if status == HTTPStatus.UNAUTHORIZED else None
    return JSONResponse(content, status, challenge)


async def serve(
    server: Server,
    listener: socket.socket,
    token: str,
    ready: Callable[[str], None],
    stop: asyncio.Event,
) -> None:
    """Serve until `stop` is set; `ready` hears the URL.

    Open calls are cut off: what they wait for goes on in processes of its own.
    """
    hosts, base = names(listener, HOST)
    app = server.streamable_http_app(streamable_http_path=PATH, host=HOST)
    async with server.session_manager.run(), serving(Door(app, hosts, token), listener):
        ready(base.removesuffix("/v1") + PATH)
        await stop.wait()
