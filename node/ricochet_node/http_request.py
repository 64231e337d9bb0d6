"""One request to a server of ours, and its answer, as a handler sees them.

A handler reads the body within bounds of its own and answers once, whole or as a stream. How that
becomes bytes of a connection is the `Carrier`'s business (`http_server`).
"""

import asyncio
from collections import deque
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Protocol

_NONE: Final[Mapping[str, str]] = MappingProxyType({})


class Carrier(Protocol):
    """The connection that a request came on."""

    def invite(self, request: "Request") -> None:
        """Let a client send its body that waits for leave to."""

    def taken(self, size: int) -> None:
        """A handler has read so much."""

    def answer(
        self, request: "Request", status: int, headers: Mapping[str, str], body: bytes
    ) -> None: ...

    def begin(self, request: "Request", status: int, headers: Mapping[str, str]) -> "Stream": ...

    async def pass_on(self, request: "Request", data: bytes) -> None:
        """ConnectionError when the client is gone."""

    def end(self, request: "Request", data: bytes) -> None: ...

    def abort(self) -> None: ...


class Request:
    """One request; names of headers are in lower case, `doubled` are those that came twice."""

    def __init__(self, connection: Carrier) -> None:
        self._connection = connection
        self._parts: deque[bytes] = deque()
        self._reader: asyncio.Future[None] | None = None
        self.method = ""
        self.target = ""
        """As it was sent, undecoded."""
        self.headers: dict[str, str] = {}
        self.doubled: set[str] = set()
        self.keep_alive = True
        self.chunks = True
        """Whether the client knows bodies without a length."""
        self.waiting = 0
        self.complete = False

    @property
    def path(self) -> str:
        """Without the query."""
        return self.target.partition("?")[0]

    async def read(self) -> bytes:
        """The next bytes of the body, b"" at its end."""
        if not self._parts and not self.complete:
            self._connection.invite(self)
        while not self._parts:
            if self.complete:
                return b""
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        data = self._parts.popleft() if len(self._parts) == 1 else b"".join(self._parts)
        self._parts.clear()
        self._connection.taken(len(data))
        self.waiting = 0
        return data

    def ready(self) -> bytes | None:
        """The whole body if it has come, as it mostly has when a handler begins."""
        if not self.complete:
            return None
        data = b"".join(self._parts)
        self._parts.clear()
        self._connection.taken(self.waiting)
        self.waiting = 0
        return data

    def add(self, data: bytes) -> None:
        """The connection has got a part of the body."""
        self._parts.append(data)
        self.waiting += len(data)
        self.wake()

    def wake(self) -> None:
        """Something has changed."""
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def answer(self, status: int, body: bytes, headers: Mapping[str, str] = _NONE) -> None:
        """Send a whole answer, the only one; `headers` name the content's type."""
        self._connection.answer(self, status, headers, body)

    def begin(self, status: int, headers: Mapping[str, str]) -> "Stream":
        """Send the beginning of an answer whose end is not known yet."""
        return self._connection.begin(self, status, headers)

    def abort(self) -> None:
        """Cut the connection: what was sent of an answer is then no whole one."""
        self._connection.abort()


class Stream:
    """The rest of an answer that has begun."""

    def __init__(self, connection: Carrier, request: Request) -> None:
        self._connection = connection
        self._request = request

    async def write(self, data: bytes) -> None:
        """Send some of it, and wait if the other side reads slower than that."""
        if data:
            await self._connection.pass_on(self._request, data)

    def end(self, data: bytes = b"") -> None:
        """Send the last of it."""
        self._connection.end(self._request, data)
