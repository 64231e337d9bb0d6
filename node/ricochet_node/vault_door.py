"""The vault's end of the line: calls that come in frames, answered by a handler of requests.

A connection counts for nothing until its first frame has shown the token; any other bytes end it.
A call that its caller leaves, or whose line ends, is cancelled. See `docs/adr/034`.
"""

import asyncio
import hmac
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final, cast

from ricochet_node.http_request import Request, Stream
from ricochet_node.http_server import Handler
from ricochet_node.vault_frames import (
    MAX_FRAME,
    MAX_HELLO,
    BadFrame,
    Begun,
    Call,
    Cut,
    Cutter,
    Data,
    End,
    FromVault,
    Hello,
    Hold,
    Leave,
    Resume,
    ToVault,
    Whole,
    encode,
)

HELLO_SECONDS: Final = 10.0
_CLOSE_SECONDS: Final = 1.0


class _Open:
    """One call under way: what carries its request and its answer."""

    def __init__(self, line: "_Line", call: Call) -> None:
        self._line = line
        self._number = call.number
        self._writable: asyncio.Future[None] | None = None
        self.held = False
        self.ended = False
        self.request = Request(self)
        self.request.method, self.request.target = "POST", call.target
        self.request.add(call.body)
        self.request.complete = True

    def wake(self) -> None:
        """Something has changed."""
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)

    # What the request calls.

    def invite(self, request: Request) -> None:
        """Its body has come with it."""

    def taken(self, size: int) -> None:
        """Nothing more comes."""

    def answer(
        self, request: Request, status: int, headers: Mapping[str, str], body: bytes
    ) -> None:
        """As of `Request`."""
        self.ended = True
        self._line.say(Whole(self._number, status, dict(headers), body))

    def begin(self, request: Request, status: int, headers: Mapping[str, str]) -> Stream:
        """As of `Request`."""
        self._line.say(Begun(self._number, status, dict(headers)))
        return Stream(self, request)

    async def pass_on(self, request: Request, data: bytes) -> None:
        """As of `Stream`; ConnectionError when the caller is gone."""
        if self._line.lost:
            raise ConnectionResetError
        self._line.say(Data(self._number, data))
        while self.held or self._line.full:
            self._writable = asyncio.get_running_loop().create_future()
            await self._writable

    def end(self, request: Request, data: bytes) -> None:
        """As of `Stream`."""
        self.ended = True
        self._line.say(End(self._number, data))

    def abort(self) -> None:
        """As of `Request`."""
        if not self.ended:
            self.ended = True
            self._line.say(Cut(self._number))


class _Line(asyncio.Protocol):
    """One connection."""

    def __init__(self, door: "_Door") -> None:
        self._door = door
        self._loop = asyncio.get_running_loop()
        self._cutter: Cutter[ToVault] = Cutter(ToVault, MAX_HELLO)
        self._known = False
        self._calls: dict[int, tuple[_Open, asyncio.Task[None]]] = {}
        self._said: list[bytes] = []
        self.full = False
        self.lost = False

    # What the loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's are transports by what they do, not by their class.
        self._transport = cast("asyncio.Transport", transport)
        self._door.lines.add(self)
        self._timer = self._loop.call_later(HELLO_SECONDS, self._transport.abort)

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True
        self._timer.cancel()
        self._door.lines.discard(self)
        for _, task in self._calls.values():
            task.cancel()

    def data_received(self, data: bytes) -> None:
        if self._transport.is_closing():
            return
        try:
            for frame in self._cutter.feed_untrusted(data):
                self._obey(frame)
        except BadFrame:
            self._transport.abort()

    def pause_writing(self) -> None:
        self.full = True

    def resume_writing(self) -> None:
        self.full = False
        for call, _ in self._calls.values():
            call.wake()

    # Its own course.

    def say(self, frame: FromVault) -> None:
        """Send it with all else that this turn of the loop says."""
        if not self._said:
            self._loop.call_soon(self._write)
        self._said.append(encode(frame))

    def abort(self) -> None:
        """End it at once."""
        self._transport.abort()

    def _write(self) -> None:
        said, self._said = self._said, []
        if not self._transport.is_closing():
            self._transport.write(b"".join(said))

    def _obey(self, frame: ToVault) -> None:
        if not self._known:
            self._greet(frame)
            return
        match frame:
            case Hello():
                raise BadFrame
            case Call():
                self._begin(frame)
            case Leave() | Hold() | Resume():
                # Of a call that has just ended, which the other side does not know yet, nothing.
                if (found := self._calls.get(frame.number)) is not None:
                    self._steer(*found, frame)

    def _steer(self, call: _Open, task: asyncio.Task[None], frame: Leave | Hold | Resume) -> None:
        if isinstance(frame, Leave):
            task.cancel()
        else:
            call.held = isinstance(frame, Hold)
            call.wake()

    def _greet(self, frame: ToVault) -> None:
        if not isinstance(frame, Hello) or not self._door.opens(frame.token):
            raise BadFrame
        self._known = True
        self._cutter.most = MAX_FRAME
        self._timer.cancel()

    def _begin(self, call: Call) -> None:
        if call.number in self._calls or self._door.closing:
            raise BadFrame
        one = _Open(self, call)
        task = self._loop.create_task(self._door.handle(one.request))
        self._calls[call.number] = one, task
        self._door.tasks.add(task)
        task.add_done_callback(lambda done: self._done(call.number, done))

    def _done(self, number: int, task: asyncio.Task[None]) -> None:
        one, _ = self._calls.pop(number)
        self._door.tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # Its kind only: the words of a defect may quote what came.
            told = f"a call was not answered: {type(error).__name__}"
            self._loop.call_exception_handler({"message": told})
        one.abort()  # unless it has ended in order


class _Door:
    def __init__(self, handle: Handler, token: str) -> None:
        self.handle = handle
        self._token = token.encode()
        self.lines: set[_Line] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self.closing = False

    def opens(self, token: str) -> bool:
        """Whether it is the one."""
        return hmac.compare_digest(token.encode("utf-8", "replace"), self._token)

    async def end(self) -> None:
        """Give open answers a moment, then cut them."""
        self.closing = True
        if self.tasks:
            _, late = await asyncio.wait(self.tasks, timeout=_CLOSE_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        await asyncio.sleep(0)  # what they said last is written in the turn after them
        for line in list(self.lines):
            line.abort()


@asynccontextmanager
async def frames_served(handle: Handler, token: str) -> AsyncIterator[int]:
    """Serve who has that token, on a free port of loopback, while the context lasts; the port."""
    door = _Door(handle, token)
    listener = await asyncio.get_running_loop().create_server(
        lambda: _Line(door), "127.0.0.1", 0, backlog=64
    )
    try:
        yield int(listener.sockets[0].getsockname()[1])
    finally:
        listener.close()
        await door.end()
