"""HTTP/1.1 on loopback for programs of this machine: the vault's calls and the owner's own door.

A general server costs more than the rest of a call. This one does what both doors need: a handler
that gets one request, reads its body within bounds, and answers whole or as a stream. Parsing is
llhttp's. Requests of one connection are answered in their order; what comes too early waits, and
beyond a bound the other side is held back. What is not HTTP is answered in the words of `Refuse`
(400, or 431 for a head without end), and that was all; none of it is in a log.

A caller who hangs up cancels the handler, which is what ends a call upstream. A head, and the wait
for the next one, have `HEAD_SECONDS`; everything that comes after has the time that the server is
given, after which the connection is cut. One timer a connection looks after both.
"""

import asyncio
import traceback
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Final, NamedTuple, cast

import httptools

from ricochet_node.http_request import Request, Stream

HEAD_SECONDS: Final = 60.0
"""Longer than any client of ours keeps a connection."""
MAX_HEAD: Final = 64 * 1024
"""Bytes of a request's line and headers."""
MOST_WAITING: Final = 256 * 1024
"""Bytes of bodies that wait for their handler before the other side is held back."""
NO_HTTP: Final = "this is no HTTP request that can be read"
DEFECT: Final = "the program failed at this request"
_MOST_QUEUED: Final = 16
"""Requests that a client may send ahead of their answers."""
_LINGER_SECONDS: Final = 5.0
"""For a client that still sends what is not wanted to read why."""
_CLOSE_SECONDS: Final = 1.0
_REASONS: Final = {status.value: status.phrase for status in HTTPStatus}


Handler = Callable[[Request], Coroutine[Any, Any, None]]
"""Answers one request; the connection is cut when it raises or answers nothing."""


class Words(NamedTuple):
    """What is said to a client whose request no handler has answered."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = {}


Refuse = Callable[[int], Words]
"""The words for 400, 431, or 500 when the handler has failed."""


class _Connection(asyncio.Protocol):
    """One client."""

    def __init__(self, server: "_Server") -> None:
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._queue: deque[Request] = deque()
        self._coming: Request | None = None
        self._current: Request | None = None
        self._task: asyncio.Task[None] | None = None
        self._streaming = False
        self._answered = False
        self._refused = 0
        self._ending = False
        self._deaf = False
        self._head = 0
        self._size = 0
        self._waiting = 0
        self._held_back = False
        self._writable: asyncio.Future[None] | None = None
        self._full = False
        self._timer: asyncio.TimerHandle | None = None
        self._until = 0.0

    # What the loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's are transports by what they do, not by their class.
        self._transport = cast("asyncio.Transport", transport)
        self._parser: Any = httptools.HttpRequestParser(self)
        self._server.connections.add(self)
        self._expect_head()

    def connection_lost(self, error: Exception | None) -> None:
        self._server.connections.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()
        self.resume_writing()

    def eof_received(self) -> bool:
        return False

    def data_received(self, data: bytes) -> None:
        if self._ending or self._deaf:
            return  # it is read so that the client, still sending, gets to read the answer
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._deaf = True  # an offer of another protocol, which is not taken up
        except httptools.HttpParserError:
            self._reject(400)
            return
        if self._coming is not None and not self._coming.method:
            self._head += len(data)
            if self._head > MAX_HEAD:
                self._reject(431)

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        writable, self._writable = self._writable, None
        if writable is not None and not writable.done():
            writable.set_result(None)

    # What the parser calls.

    def on_message_begin(self) -> None:
        self._coming = Request(self)
        self._head = self._size = 0

    def on_url(self, url: bytes) -> None:
        assert self._coming is not None
        self._coming.target += url.decode("latin-1")
        self._size += len(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        request = self._coming
        assert request is not None
        key = _lower(name)
        self._size += len(name) + len(value)
        if key in request.headers:
            request.doubled.add(key)
        else:
            request.headers[key] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        request, parser = self._coming, self._parser
        assert request is not None
        request.method = parser.get_method().decode("latin-1")
        if self._size > MAX_HEAD or request.method == "CONNECT":
            raise ValueError("too much of a head, or no request of ours")
        request.chunks = parser.get_http_version() != "1.0"
        may_follow = request.chunks and not parser.should_upgrade()
        request.keep_alive = may_follow and bool(parser.should_keep_alive())
        if self._current is None:
            self._begin(request)
        elif len(self._queue) < _MOST_QUEUED:
            self._queue.append(request)
        else:
            raise ValueError("too many requests ahead of their answers")

    def on_body(self, data: bytes) -> None:
        assert self._coming is not None
        self._waiting += len(data)
        self._coming.add(data)
        self._hold_back()

    def on_message_complete(self) -> None:
        request, self._coming = self._coming, None
        assert request is not None
        request.complete = True
        request.wake()

    # What a request calls.

    def invite(self, request: Request) -> None:
        """Let a client send its body that waits for leave to."""
        if request.headers.pop("expect", "").lower() == "100-continue":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def taken(self, size: int) -> None:
        """A handler has read so much."""
        self._waiting -= size
        self._hold_back()

    def answer(
        self, request: Request, status: int, headers: Mapping[str, str], body: bytes
    ) -> None:
        """As of `Request`."""
        head = self._opening(request, status, {**headers, "Content-Length": str(len(body))})
        self._transport.write(head if request.method == "HEAD" else head + body)
        self._answered = True

    def begin(self, request: Request, status: int, headers: Mapping[str, str]) -> Stream:
        """As of `Request`."""
        if request.chunks:
            headers = {**headers, "Transfer-Encoding": "chunked"}
        else:
            request.keep_alive = False
        self._transport.write(self._opening(request, status, headers))
        self._streaming = True
        return Stream(self, request)

    async def pass_on(self, request: Request, data: bytes) -> None:
        """As of `Stream`; ConnectionError when the client is gone."""
        if self._transport.is_closing():
            raise ConnectionResetError
        self._transport.write(_chunk(data) if request.chunks else data)
        if self._full:
            self._writable = self._loop.create_future()
            await self._writable

    def end(self, request: Request, data: bytes) -> None:
        """As of `Stream`."""
        if request.chunks:
            data = (_chunk(data) if data else b"") + b"0\r\n\r\n"
        if data:
            self._transport.write(data)
        self._answered = True

    def abort(self) -> None:
        """As of `Request`."""
        self._transport.abort()

    # Its own course.

    def stop(self) -> None:
        """End it as soon as nothing is being answered."""
        self._ending = True
        if self._task is None:
            self._transport.close()

    def _begin(self, request: Request) -> None:
        self._current = request
        self._refused = 0
        self._set_timer(self._server.most_seconds)
        self._streaming = self._answered = False
        self._task = self._loop.create_task(self._server.handle(request))
        self._server.tasks.add(self._task)
        self._task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        request, self._current, self._task = self._current, None, None
        assert request is not None
        self._server.tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if self._transport.is_closing():
            return
        if error is not None:
            self._tell(error)
        broken = bool(self._refused) or task.cancelled() or error is not None
        if broken and not (self._streaming or self._answered):
            self._say(self._refused or 500)
        elif broken or not self._answered:
            self._transport.abort()
        elif self._ending or not request.keep_alive:
            self._transport.close()
        elif not request.complete:
            self._linger()
        elif self._queue:
            self._begin(self._queue.popleft())
        else:
            self._expect_head()

    def _tell(self, error: BaseException) -> None:
        """Name and place of a defect: its words may quote what came."""
        if isinstance(error, Exception) and not isinstance(error, ConnectionError):
            place = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{type(error).__name__} at {place.filename}:{place.lineno}"
            self._loop.call_exception_handler({"message": f"a request was not answered: {where}"})

    def _reject(self, status: int) -> None:
        """Answer what cannot be understood, unless an answer is under way, and close."""
        if self._task is None:
            self._say(status)
        elif self._coming is self._current and not (self._streaming or self._answered):
            # Its handler has nothing to wait for any more.
            self._refused = status
            self._task.cancel()
        else:
            self._transport.abort()
        self._ending = True

    def _say(self, status: int) -> None:
        words = self._server.refuse(status)
        headers = {**words.headers, "Connection": "close", "Content-Length": str(len(words.body))}
        self._transport.write(_head(words.status, headers) + words.body)
        self._linger()

    def _linger(self) -> None:
        self._ending = True
        if self._held_back:
            self._held_back = False
            self._transport.resume_reading()
        self._transport.write_eof()
        self._set_timer(_LINGER_SECONDS)

    def _expect_head(self) -> None:
        self._set_timer(HEAD_SECONDS)

    def _set_timer(self, seconds: float) -> None:
        # One timer a connection: it looks at the deadline of the moment when it goes off.
        self._until = self._loop.time() + seconds
        if self._timer is None or self._timer.when() > self._until:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(self._until, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._loop.time() < self._until:
            self._timer = self._loop.call_at(self._until, self._look)
        elif self._task is not None:
            self._transport.abort()
        else:
            self._transport.close()

    def _hold_back(self) -> None:
        wanted = self._waiting > MOST_WAITING
        if wanted != self._held_back and not self._transport.is_closing():
            self._held_back = wanted
            if wanted:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    def _opening(self, request: Request, status: int, headers: Mapping[str, str]) -> bytes:
        if not request.complete:
            request.keep_alive = False  # what is still coming is not wanted
        if not request.keep_alive or self._ending:
            headers = {**headers, "Connection": "close"}
        return _head(status, headers)


@lru_cache(512)
def _lower(name: bytes) -> str:
    return name.decode("latin-1").lower()


def _head(status: int, headers: Mapping[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} {_REASONS.get(status, '')}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join((*lines, "\r\n")).encode("latin-1")


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class _Server:
    def __init__(self, handle: Handler, refuse: Refuse, most_seconds: float) -> None:
        self.handle = handle
        self.refuse = refuse
        self.most_seconds = most_seconds
        self.connections: set[_Connection] = set()
        self.tasks: set[asyncio.Task[None]] = set()

    async def end(self) -> None:
        """Give open answers a moment, then cut them."""
        for one in list(self.connections):
            one.stop()
        if self.tasks:
            _, late = await asyncio.wait(self.tasks, timeout=_CLOSE_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        for one in list(self.connections):
            one.abort()


@asynccontextmanager
async def serving(
    handle: Handler, host: str, port: int, most_seconds: float, refuse: Refuse = Words
) -> AsyncIterator[int]:
    """Serve while the context lasts; the port. OSError when the place is taken.

    `most_seconds` is the time for a request's body and its answer.
    """
    server = _Server(handle, refuse, most_seconds)
    listener = await asyncio.get_running_loop().create_server(
        lambda: _Connection(server), host, port, backlog=1024
    )
    try:
        yield int(listener.sockets[0].getsockname()[1])
    finally:
        listener.close()
        await server.end()
