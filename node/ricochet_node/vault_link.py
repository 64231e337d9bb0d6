"""The node's end of the line to its vault: all its calls on one connection.

An answer is the `Answer` of an HTTP call, so that nobody behind it sees the difference. A line that
ends breaks the answers under way; the next call tries a new one. Nothing is ever sent twice.
"""

import asyncio
import math
from typing import cast

from ricochet_node.http_client import (
    CONNECT_SECONDS,
    FOREVER,
    Answer,
    BrokenAnswer,
    Patience,
    Unreachable,
)
from ricochet_node.vault_frames import (
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


class _Open:
    """One call under way, as its `Answer` and its line see it."""

    def __init__(self, line: "_Line", number: int, patience: Patience) -> None:
        self._line = line
        self._number = number
        self._patience = patience
        self._until = line.now() + patience.first
        self.held = False
        self.answer = Answer(self, self._release)

    def hold_back(self, wanted: bool) -> None:
        """Read on, or not for now."""
        if wanted != self.held:
            self.held = wanted
            self._heard()
            self._line.say(Hold(self._number) if wanted else Resume(self._number))

    @property
    def until(self) -> float:
        """When the patience with it ends, as far as is known."""
        return self._line.now() + self._patience.idle if self.held else self._until

    @property
    def soonest(self) -> float:
        """The least time that it has to be given from any moment on."""
        return min(self._patience)

    def take(self, frame: FromVault) -> None:
        """Something of the answer has come."""
        answer = self.answer
        self._heard()
        match frame:
            case Data():
                answer.add(frame.data)
            case Begun() | Whole():
                answer.headers.update(
                    (name.lower(), value) for name, value in frame.headers.items()
                )
                answer.status = frame.status
                if isinstance(frame, Whole):
                    self._end(frame.body)
                answer.wake()
            case End():
                self._end(frame.data)
            case Cut():
                answer.fail(BrokenAnswer("the vault cut it"))

    def _end(self, data: bytes) -> None:
        self.answer.done = True
        if data:
            self.answer.add(data)
        self.answer.wake()

    def _heard(self) -> None:
        self._until = self._line.now() + self._patience.idle

    def _release(self) -> None:
        self._line.drop(self._number, leave=not self.answer.done)


class _Line(asyncio.Protocol):
    """One connection, whose first frame is the token."""

    def __init__(self, token: str) -> None:
        self._token = token
        self._loop = asyncio.get_running_loop()
        self.now = self._loop.time
        self._cutter: Cutter[FromVault] = Cutter(FromVault)
        self._calls: dict[int, _Open] = {}
        self._count = 0
        self._said: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None
        self.lost = False

    # What the loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's are transports by what they do, not by their class.
        self._transport = cast("asyncio.Transport", transport)
        self.say(Hello(self._token))

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True
        if self._timer is not None:
            self._timer.cancel()
        for call in self._calls.values():
            if not call.answer.done:
                call.answer.fail(BrokenAnswer("the line to the vault ended"))

    def data_received(self, data: bytes) -> None:
        try:
            for frame in self._cutter.feed_untrusted(data):
                # Of a call that was left, what was under way still comes.
                if (call := self._calls.get(frame.number)) is not None:
                    call.take(frame)
        except BadFrame:
            self._transport.abort()

    # What calls do.

    def begin(self, target: str, body: bytes, patience: Patience) -> Answer:
        """Send a call."""
        self._count += 1
        call = self._calls[self._count] = _Open(self, self._count, patience)
        self.say(Call(self._count, target, body))
        self._watch(self.now() + call.soonest)
        return call.answer

    def say(self, frame: ToVault) -> None:
        """Send it with all else that this turn of the loop says."""
        if not self._said:
            self._loop.call_soon(self._write)
        self._said.append(encode(frame))

    def drop(self, number: int, *, leave: bool) -> None:
        """Nobody reads that answer any more; `leave` when it had not ended."""
        self._calls.pop(number, None)
        if leave and not self.lost:
            self.say(Leave(number))

    def abort(self) -> None:
        """End it at once."""
        self._transport.abort()

    def _write(self) -> None:
        said, self._said = self._said, []
        if not self._transport.is_closing():
            self._transport.write(b"".join(said))

    def _watch(self, look: float) -> None:
        # One timer a line, not one a call: when it goes off it looks at all of them.
        if look < math.inf and (self._timer is None or self._timer.when() > look):
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(look, self._look)

    def _look(self) -> None:
        self._timer = None
        now = self.now()
        next_look = math.inf
        for call in self._calls.values():
            if call.answer.done:
                continue
            if call.until <= now:
                call.answer.fail(TimeoutError())
            else:
                next_look = min(next_look, call.until, now + call.soonest)
        self._watch(next_look)


class VaultLink:
    """Calls of one vault; it connects when it is first asked."""

    def __init__(self, port: int, token: str) -> None:
        self._port = port
        self._token = token
        self._line: _Line | None = None
        self._connecting = asyncio.Lock()

    async def send(self, target: str, body: bytes, patience: Patience = FOREVER) -> Answer:
        """An answer whose headers have come, to be closed by the caller.

        `target` is the vault's path for a POST. Unreachable, BrokenAnswer, TimeoutError when
        `patience` is over.
        """
        line = self._line
        if line is None or line.lost:
            line = await self._connected()
        answer = line.begin(target, body, patience)
        try:
            await answer.begun()
        except BaseException:
            answer.close()
            raise
        return answer

    def close(self) -> None:
        """Cut it, and with it all answers; may be called twice."""
        line, self._line = self._line, None
        if line is not None:
            line.abort()

    async def _connected(self) -> _Line:
        async with self._connecting:
            if self._line is not None and not self._line.lost:
                return self._line
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    _, self._line = await asyncio.get_running_loop().create_connection(
                        lambda: _Line(self._token), "127.0.0.1", self._port
                    )
            except (TimeoutError, OSError) as error:
                raise Unreachable(type(error).__name__) from None
            return self._line
