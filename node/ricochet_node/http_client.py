"""HTTP/1.1 calls of providers and of the vault, one after the other on connections that are kept.

A general client costs half of what a node may spend on a call. This one does what the node needs:
one request, its answer as it comes, no redirects, cookies, proxies or decompression. Parsing is
llhttp's. What is not HTTP, or ends before its end, is a BrokenAnswer; a connection that never stood
is Unreachable, and then nothing was sent.

A connection is kept only after an answer that ended in order and was not a stream: llama.cpp closes
its socket after a stream without saying so. It is used again within two seconds, less than any
server's own patience. Nothing is ever sent twice. Quick streams are read in gulps (`gulps.py`).
"""

import asyncio
import math
import re
import ssl
from collections import deque
from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from types import TracebackType
from typing import Any, Final, NamedTuple, Protocol, Self, cast
from urllib.parse import urlsplit

import httptools

from ricochet_node.gulps import Gulps, Pace

CONNECT_SECONDS: Final = 10
KEEP_SECONDS: Final = 2.0
MAX_HEAD: Final = 64 * 1024
"""Bytes of all headers of one answer, or of its 1xx ones."""
_MOST_WAITING: Final = 256 * 1024
"""Bytes that wait for their reader before the other side is held back."""
_UNSAFE: Final = re.compile(r"[\r\n\0]")
STREAM: Final = "text/event-stream"


class Unreachable(ConnectionError):
    """No connection stood; nothing was sent."""


class BrokenAnswer(ConnectionError):
    """The answer ended before its end, or is no HTTP."""


class Patience(NamedTuple):
    """Seconds to wait for an answer's first sign of life, and from each one to the next."""

    first: float
    idle: float


FOREVER: Final = Patience(math.inf, math.inf)
"""For a caller with a limit of his own."""


class _Place(NamedTuple):
    host: str
    port: int
    tls: bool
    netloc: str
    path: str


@cache
def _place(origin: str) -> _Place:
    parts = urlsplit(origin)
    tls = parts.scheme == "https"
    return _Place(
        parts.hostname or "", parts.port or (443 if tls else 80), tls, parts.netloc, parts.path
    )


class Source(Protocol):
    """Where an answer comes from."""

    def hold_back(self, wanted: bool) -> None:
        """Read on, or not for now."""


class Answer:
    """One answer; names of headers are in lower case, of equal ones the first counts."""

    def __init__(self, link: Source, release: Callable[[], None]) -> None:
        self._link = link
        self._release: Callable[[], None] | None = release
        self._parts: deque[bytes] = deque()
        self._waiting = 0
        self.status = 0
        self.headers: dict[str, str] = {}
        self.done = False
        self.framed = False
        self._error: BrokenAnswer | TimeoutError | None = None
        self._reader: asyncio.Future[None] | None = None

    @property
    def content_type(self) -> str:
        """Without parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    async def begun(self) -> None:
        """Wait for status and headers; BrokenAnswer, TimeoutError."""
        while not self.status:
            await self._more()

    def ready(self) -> bytes | None:
        """What `read` would give without waiting, None when it would wait."""
        if not self._parts:
            return b"" if self.done else None
        data = self._parts.popleft() if len(self._parts) == 1 else b"".join(self._parts)
        self._parts.clear()
        self._waiting = 0
        self._link.hold_back(False)
        return data

    async def read(self) -> bytes:
        """The next bytes of the body, b"" at its end; BrokenAnswer, TimeoutError."""
        while (data := self.ready()) is None:
            await self._more()
        return data

    def close(self) -> None:
        """Hang up, unless it has ended; may be called twice."""
        release, self._release = self._release, None
        if release is not None:
            release()

    async def _more(self) -> None:
        if self._error is not None:
            raise self._error
        self._reader = asyncio.get_running_loop().create_future()
        try:
            await self._reader
        finally:
            self._reader = None

    def add(self, data: bytes) -> None:
        """The link has got a part of the body."""
        self._parts.append(data)
        self._waiting += len(data)
        if self._waiting > _MOST_WAITING:
            self._link.hold_back(True)
        self.wake()

    def fail(self, error: BrokenAnswer | TimeoutError) -> None:
        """The link can get no more of it."""
        self._error = self._error or error
        self.wake()

    def wake(self) -> None:
        """Something has changed."""
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)


class _Link(asyncio.Protocol):
    """One connection; it carries one answer at a time."""

    def __init__(self, gulps: Gulps) -> None:
        self.lost = False
        self.kept_at = 0.0
        self._gulps = gulps
        self._pace: Pace | None = None
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._until = math.inf
        self._answer: Answer | None = None
        self._may_follow = False
        self._held_back = False
        self._resting = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # libuv's are transports by what they do, not by their class.
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True
        if self._timer is not None:
            self._timer.cancel()
        answer = self._answer
        if answer is None or answer.done:
            return
        if answer.status and not answer.framed and error is None:
            answer.done = True  # a body without a length ends with its connection
            answer.wake()
        else:
            answer.fail(BrokenAnswer("the connection ended"))

    def data_received(self, data: bytes) -> None:
        answer = self._answer
        if answer is None or answer.done:
            self.abort()  # nobody asked for that
            return
        now = self._loop.time()
        self._until = now + self._patience.idle
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            answer.fail(BrokenAnswer("no HTTP"))
            self.abort()
            return
        if self._pace is not None and not answer.done and self._pace.heard(len(data), now):
            self._gulps.rest(self)

    def send(self, request: bytes, release: Callable[[], None], patience: Patience) -> Answer:
        """Send a request; `release` is called when its answer is closed."""
        self._answer = Answer(self, release)
        self._patience = patience
        self._until = self._loop.time() + patience.first
        self._watch()
        self._head = 0
        self._parser: Any = httptools.HttpResponseParser(self)
        self._transport.write(request)
        return self._answer

    def hold_back(self, wanted: bool) -> None:
        """Read on, or not for now."""
        if wanted != self._held_back and not self.lost:
            self._held_back = wanted
            if not wanted:
                self._until = self._loop.time() + self._patience.idle
            if not self._resting:
                self._read_on(not wanted)

    def rest(self) -> None:
        """Read nothing for a moment, whatever the reader wants."""
        self._resting = True
        if not self._held_back:
            self._read_on(False)

    def wake_up(self) -> None:
        """The moment is over."""
        self._resting = False
        if self._pace is not None:
            self._pace.rested(self._loop.time())
        if not self._held_back:
            self._read_on(True)

    def _read_on(self, wanted: bool) -> None:
        if not self.usable:
            return
        if wanted:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def keep(self) -> bool:
        """Whether another request may follow."""
        answer, self._answer = self._answer, None
        self._until = math.inf
        if self.lost or self._transport.is_closing() or answer is None or not answer.done:
            return False
        return answer.framed and self._may_follow and answer.content_type != STREAM

    def abort(self) -> None:
        """End it at once."""
        self._transport.abort()

    @property
    def usable(self) -> bool:
        """Whether the other side has not gone yet, as far as is known."""
        return not self.lost and not self._transport.is_closing()

    def _watch(self) -> None:
        # One timer a connection, not one a wait: when it goes off it looks how long it has been.
        look = self._loop.time() + min(self._patience)
        if look < math.inf and (self._timer is None or self._timer.when() > look):
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(look, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._answer is None or self._answer.done:
            return
        if self._held_back or self._loop.time() < self._until:
            self._timer = self._loop.call_at(self._next_look(), self._look)
        else:
            self._answer.fail(TimeoutError())

    def _next_look(self) -> float:
        soon = self._loop.time() + min(self._patience)
        return soon if self._held_back else min(soon, self._until)

    # What the parser calls.

    def on_header(self, name: bytes, value: bytes) -> None:
        assert self._answer is not None
        self._head += len(name) + len(value)
        if self._head > MAX_HEAD:
            raise ValueError("too many headers")
        self._answer.headers.setdefault(_lower(name), value.decode("latin-1"))

    def on_headers_complete(self) -> None:
        assert self._answer is not None
        status = self._parser.get_status_code()
        if status < 200:
            self._answer.headers.clear()
            return
        headers = self._answer.headers
        chunked = headers.get("transfer-encoding", "").lower().endswith("chunked")
        self._answer.framed = chunked or "content-length" in headers or status in (204, 304)
        self._answer.status = status
        self._pace = Pace() if self._answer.content_type == STREAM else None
        self._answer.wake()

    def on_body(self, data: bytes) -> None:
        assert self._answer is not None
        self._answer.add(data)

    def on_message_complete(self) -> None:
        assert self._answer is not None
        if self._answer.status:
            self._may_follow = bool(self._parser.should_keep_alive())
            self._answer.done = True
            self._answer.wake()


class HttpClient:
    """A context; leaving it closes what is kept. Certificates are verified."""

    def __init__(self) -> None:
        self._kept: dict[_Place, list[_Link]] = {}
        self._gulps = Gulps()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for links in self._kept.values():
            for link in links:
                link.abort()
        self._kept.clear()
        self._gulps.close()

    async def send(
        self,
        method: str,
        origin: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes = b"",
        patience: Patience = FOREVER,
    ) -> Answer:
        """An answer whose headers have come, to be closed by the caller.

        `path` continues the origin's own, as it is. Unreachable, BrokenAnswer, TimeoutError when
        `patience` is over; other OSErrors do not occur. Connecting has a limit of its own.
        """
        place = _place(origin)
        head = _head(method, place, path, tuple(headers.items()))
        request = b"%b%d\r\n\r\n%b" % (head, len(body), body)
        link = self._take(place) or await _connected(place, self._gulps)
        answer = link.send(request, lambda: self._release(place, link), patience)
        try:
            await answer.begun()
        except BaseException:
            answer.close()
            raise
        return answer

    def _release(self, place: _Place, link: _Link) -> None:
        if link.keep():
            link.kept_at = asyncio.get_running_loop().time()
            self._kept.setdefault(place, []).append(link)
        else:
            link.abort()

    def _take(self, place: _Place) -> _Link | None:
        links = self._kept.get(place)
        since = asyncio.get_running_loop().time() - KEEP_SECONDS
        while links:
            link = links.pop()
            if link.usable and link.kept_at > since:
                return link
            link.abort()
        return None


@lru_cache(512)
def _head(method: str, place: _Place, path: str, headers: tuple[tuple[str, str], ...]) -> bytes:
    """What comes before the length of the body: mostly that of the call before."""
    lines = [f"{method} {place.path}{path} HTTP/1.1", f"Host: {place.netloc}"]
    lines += [f"{name}: {value}" for name, value in headers]
    if any(map(_UNSAFE.search, lines)):
        raise ValueError("a header that would be two")
    return "\r\n".join((*lines, "Content-Length: ")).encode("latin-1")


@lru_cache(512)
def _lower(name: bytes) -> str:
    return name.decode("latin-1").lower()


async def _connected(place: _Place, gulps: Gulps) -> _Link:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            _, link = await loop.create_connection(
                lambda: _Link(gulps), place.host, place.port, ssl=_verified() if place.tls else None
            )
    except (TimeoutError, OSError) as error:
        raise Unreachable(type(error).__name__) from None
    return link


@cache
def _verified() -> ssl.SSLContext:
    return ssl.create_default_context()
