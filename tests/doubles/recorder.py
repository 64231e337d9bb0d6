"""A server that notes what reaches it and answers as it is told: for what no provider would do.

It has no dialect of its own. `answer` is called for each request with what arrived and returns the
response, or writes one itself.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from aiohttp import web


@dataclass(frozen=True)
class Seen:
    """One request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


Answer = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


async def empty(request: web.BaseRequest) -> web.StreamResponse:
    """An answer that says nothing."""
    return web.json_response({})


class Recorder:
    """The server, on a free port of loopback."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.answer: Answer = empty

    async def __aenter__(self) -> Self:
        server = web.Server(self._handle, handler_cancellation=True, access_log=None)
        self._runner = web.ServerRunner(server, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._runner.cleanup()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    def reset(self) -> None:
        """Forget what came, and answer as at the beginning."""
        self.seen.clear()
        self.answer = empty

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.seen.append(
            Seen(request.method, request.raw_path, dict(request.headers), await request.read())
        )
        return await self.answer(request)
