"""Who gets in: the right Host, no page that was not named, and a key that is good.

It stands before everything, as plain ASGI, so that no route can forget it. Pages in a browser reach
loopback too: a Host that is not ours means a name that was bent to this machine, an Origin means a
page. Health and the description of the API need no key; they tell nothing of anybody.
"""

from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any, Final

from ricochet_orchestrator.api.failures import refusal
from ricochet_orchestrator.api_keys import ApiKey

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]
OPEN: Final = frozenset({"/health", "/openapi.json"})


class Gate:
    """`hosts` are spelled with their port; `opened_by` finds the key that a secret is.

    `closing` tells that no new call is taken any more.
    """

    def __init__(
        self,
        app: App,
        hosts: Collection[str],
        origins: Collection[str],
        opened_by: Callable[[str], ApiKey | None],
        closing: Callable[[], bool],
    ) -> None:
        self._app = app
        self._hosts = hosts
        self._origins = origins
        self._opened_by = opened_by
        self._closing = closing

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass a request on, with its key as state `key`, or refuse it."""
        if scope["type"] != "http":
            raise ValueError("only HTTP is served")
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        refused = self._refusal(scope, headers)
        if refused is not None:
            await refused(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _refusal(self, scope: Message, headers: dict[bytes, str]) -> App | None:
        if headers.get(b"host", "").lower() not in self._hosts:
            return refusal(403, "this host is not served here", "forbidden")
        origin = headers.get(b"origin")
        if origin is not None and origin not in self._origins:
            return refusal(403, f"pages of {origin[:200]!r} were not let in: --origin", "forbidden")
        preflight = scope["method"] == "OPTIONS" and origin is not None
        if scope["path"] in OPEN or preflight:
            return None
        kind, _, secret = headers.get(b"authorization", "").partition(" ")
        key = self._opened_by(secret.strip()) if kind.lower() == "bearer" else None
        if key is None:
            return refusal(
                401,
                "an API key of this server is needed: ricochet serve keys new",
                "invalid_api_key",
            )
        if self._closing():
            return refusal(503, "the server is stopping; try again later", "stopping")
        scope.setdefault("state", {})["key"] = key
        return None
