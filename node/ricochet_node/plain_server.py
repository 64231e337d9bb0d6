"""HTTP servers on this machine that answer what is no HTTP in their own shape, and log none of it.

aiohttp's logs a traceback with the bytes that came, and sends them back: they may hold a token or a
prompt. Here they are in neither. A defect of ours is logged by the name of its exception and the
line that raised it, without its words.
"""

import traceback
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from ricochet_node.http_server import DEFECT, NO_HTTP

Handle = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
Refuse = Callable[[int, str], web.Response]
"""An answer of this status that says this."""


class PlainServer(web.Server):
    """`handle` answers requests, `refuse` what is none."""

    def __init__(self, handle: Handle, refuse: Refuse) -> None:
        super().__init__(handle, access_log=None)
        self._refuse = refuse

    def __call__(self) -> web.RequestHandler:
        """A new connection."""
        return _Connection(self._refuse, self, loop=self._loop, **self._kwargs)


class _Connection(web.RequestHandler):
    __slots__ = ("_refuse",)

    def __init__(self, refuse: Refuse, server: web.Server, **options: Any) -> None:
        super().__init__(server, **options)
        self._refuse = refuse

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """As the parent's; `message` quotes what came and is dropped."""
        ours = status >= 500
        if ours:
            self.log_exception("", exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("an answer has begun already")
        response = self._refuse(status, DEFECT if ours else NO_HTTP)
        response.force_close()
        return response

    def log_exception(self, *_: Any, exc_info: BaseException | None = None, **__: Any) -> None:
        """Name and place, nothing that a request or an answer said."""
        # A body that is no body was answered already, or has nobody left to answer.
        if exc_info is not None and not isinstance(exc_info, web.RequestPayloadError):
            places = traceback.extract_tb(exc_info.__traceback__)
            where = f" at {places[-1].filename}:{places[-1].lineno}" if places else ""
            self.logger.error("%s%s", type(exc_info).__name__, where)
