"""Many calls over one connection: each streams replies under its own credit, none blocks another.

Ids rise by two, odd for the dialling side, so an id tells whose call it is and whether it is new.
What a call may do next is the table in `call`; a violation of it, a reused id or a call beyond
`MAX_CALLS` ends the connection with `garbage`.

Memory is bounded by credit: complete messages are credited when consumed, and of the requests
that are still arriving only the oldest is credited ahead, so one peer holds at most `MAX_MESSAGE`
plus `MAX_CALLS` windows, and all peers together what `MemoryBudget` allows. Any frame is a sign of
life; after three silent beats the peer is gone. A request has `ARRIVAL` seconds to arrive, counted
from when nothing of its peer's arrives before it; a connection without any call ends after `IDLE`.
"""

import asyncio
import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Final

from ricochet_network.call import ON_FRAME, Call, CallFrame, State
from ricochet_network.faults import fail_of, fault_untrusted
from ricochet_network.outbox import Outbox
from ricochet_network.quota import FRAME_COST, RATES, Bucket, MemoryBudget, Rates
from ricochet_protocol.errors import LocalFault, RemoteCode, RemoteFault, garbage
from ricochet_protocol.mux import (
    FRAGMENT,
    MAX_CALLS,
    MAX_MESSAGE,
    AnyFrame,
    Cancel,
    Credit,
    Data,
    End,
    Fail,
    Ping,
    Pong,
    decode_untrusted,
)
from ricochet_protocol.ports import Connection

HEARTBEAT: Final = 2.0
"""Seconds between beats: a stopped peer is noticed within eight seconds."""
SILENT_BEATS: Final = 3
"""More than one, so that a loop of ours that was blocked reads its backlog before it judges."""

ARRIVAL: Final = 120.0
"""Seconds: the largest message at 35 kB/s. Slower is who holds memory and a slot on purpose."""
IDLE: Final = 900.0
"""Seconds: every node renews its advert within ten minutes and announces it on each link, so a
link without calls for longer serves neither side."""

Serve = Callable[[bytes], AsyncGenerator[bytes, None]]
"""Answers one request message with reply messages; closed when the caller leaves or vanishes."""


class Multiplexer:
    """Runs the calls of one connection; `run` does the work and must be awaited by an owner."""

    def __init__(
        self,
        connection: Connection,
        serve: Serve,
        heartbeat: float = HEARTBEAT,
        memory: MemoryBudget | None = None,
        rates: Rates = RATES,
        idle: float = IDLE,
    ) -> None:
        self._connection = connection
        self._idle = idle
        self._serve = serve
        self._heartbeat = heartbeat
        self._ours: dict[int, Call] = {}
        self._theirs: dict[int, Call] = {}
        self._next_id = 1 if connection.dialled else 2
        self._highest_theirs = 0
        self._outbox = Outbox()
        self._memory = memory or MemoryBudget()
        self._held: dict[int, int] = {}
        self._pace = Bucket(rates.bytes, rates.bytes * rates.burst)
        self._shed = asyncio.Event()
        self._called = _now()
        self._oldest = (0, 0.0)
        self.traffic = Traffic()
        self._pings = itertools.count()
        self._pinged: dict[int, asyncio.Event] = {}
        self._heard = True
        self.silent = False
        """Whether the connection ended because the peer said nothing any more."""
        self._end: RemoteFault | None = None
        self._changed = asyncio.Event()
        self._tasks: asyncio.TaskGroup

    @property
    def idle(self) -> bool:
        """Whether no call is open in either direction; always so once the connection has ended."""
        return self._end is not None or not (self._ours or self._theirs)

    async def run(self) -> RemoteFault:
        """Serve and carry calls until the connection ends; why it ended, `garbage` or another."""
        end = RemoteFault(RemoteCode.DISCONNECTED, "the connection is closed")
        try:
            async with asyncio.TaskGroup() as self._tasks:
                self._tasks.create_task(self._read())
                self._tasks.create_task(self._outbox.drain(self._send_frame))
                self._tasks.create_task(self._beat())
                self._tasks.create_task(self._until_shed())
        except* RemoteFault as faults:
            end = _first(faults)
        finally:
            self._end = end
            self._outbox.close()
            self._memory.release(self)
            self._notify()
            for call in self._ours.values():
                call.notify()
            for answered in self._pinged.values():
                answered.set()
            await self._connection.close()
        return end

    async def close(self) -> None:
        """Close the connection, so that `run` ends."""
        await self._connection.close()

    @asynccontextmanager
    async def call(self, request: bytes) -> AsyncIterator[AsyncIterator[bytes]]:
        """Send a request and receive its replies; leaving early cancels the call.

        RemoteFault with the peer's own code, or with the reason of the connection's end. Waits
        while `MAX_CALLS` calls are open. LocalFault `too_long` above `MAX_MESSAGE` bytes.
        """
        _check_size(request)
        call = await self._open(min(FRAGMENT, len(request)))
        try:
            await self._send(call, request)
            yield _Replies(self, call)
        finally:
            self._leave(call)

    async def ping(self) -> float:
        """Seconds until the peer has answered a ping; RemoteFault when the connection ends."""
        number, answered, start = next(self._pings), asyncio.Event(), _now()
        self._pinged[number] = answered
        try:
            self._check_end()
            self._outbox.post(Ping(number))
            await answered.wait()
            self._check_end()
            return _now() - start
        finally:
            self._pinged.pop(number, None)

    def shed(self) -> None:
        """End the connection, because of all it holds the most memory."""
        self._shed.set()

    # The caller's side.

    async def _open(self, first: int) -> Call:
        while True:
            self._check_end()
            if len(self._ours) >= MAX_CALLS:
                await self._changed.wait()
            elif self._outbox.full(first):
                await self._outbox.room(first)
            else:
                break
        # No pause between this and the first fragment: ids must rise on the wire.
        call = Call(self._next_id, State.WAITING)
        self._next_id += 2
        self._ours[call.id] = call
        self._called = _now()
        return call

    async def next_reply(self, call: Call) -> bytes:
        """The next message of a call of ours; for its iterator."""
        while not call.messages:
            if isinstance(call.ending, Fail):
                raise fault_untrusted(call.ending)
            if call.state is not State.WAITING:
                raise StopAsyncIteration
            self._check_end()
            await call.changed.wait()
        message = call.take_message()
        self._return_credit(call)
        return message

    def _leave(self, call: Call) -> None:
        if call.state is State.WAITING:
            call.state = State.LEAVING
            call.messages.clear()
            self._outbox.post(Cancel(call.id))

    # Both sides.

    async def _send(self, call: Call, message: bytes) -> None:
        start = 0
        while start < len(message) and call.state is not State.ENDED:
            self._check_end()
            if not call.sendable:
                await call.changed.wait()
                continue
            size = min(FRAGMENT, call.sendable, len(message) - start)
            if self._outbox.full(size):
                await self._outbox.room(size)
                continue
            body = message[start : start + size]
            opens = start == 0 and call.id % 2 == self._next_id % 2
            start += size
            call.sendable -= size
            self._outbox.post(Data(call.id, body, more=start < len(message)), opens=opens)

    def _return_credit(self, call: Call) -> None:
        if call.state in (State.WAITING, State.ASSEMBLING) and (amount := call.take_credit()):
            self._outbox.post(Credit(call.id, amount))

    def _check_end(self) -> None:
        if self._end is not None:
            raise RemoteFault(self._end.code, self._end.message, self._end.hint, self._end.wait)

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _beat(self) -> None:
        silent = 0
        while True:
            await asyncio.sleep(self._heartbeat)
            silent = 0 if self._heard else silent + 1
            self._heard = False
            if silent == SILENT_BEATS:
                self.silent = True
                raise RemoteFault(RemoteCode.DISCONNECTED, "the peer has fallen silent")
            if silent:
                self._outbox.post(Ping(next(self._pings)))
            self._check_progress_untrusted()

    def _check_progress_untrusted(self) -> None:
        """RemoteFault when a request does not get on, or nobody calls."""
        now = _now()
        if self._ours or self._theirs:
            self._called = now
        if now - self._called >= self._idle:
            raise RemoteFault(RemoteCode.DISCONNECTED, "neither side has called for long")
        oldest = self._oldest_arriving()
        if oldest is None or oldest.id != self._oldest[0]:
            self._oldest = (0 if oldest is None else oldest.id, now)
        elif now - self._oldest[1] >= ARRIVAL:
            raise garbage("a request that does not arrive")

    async def _until_shed(self) -> None:
        await self._shed.wait()
        raise garbage("more than this peer has memory for")

    async def _send_frame(self, payload: bytes) -> None:
        self.traffic.sent += len(payload)
        await self._connection.send(payload)

    # What the peer sends. Nothing here waits, so no call can hold up another.

    async def _read(self) -> None:
        while True:
            payload = await self._connection.receive()
            frame = decode_untrusted(payload)
            self._heard = True
            self.traffic.received += len(payload)
            self._take_untrusted(frame)
            # Not reading is all it takes to slow a peer down: its own pipe fills.
            if pause := self._pace.pause(len(payload) + FRAME_COST, _now()):
                await asyncio.sleep(pause)
            self._outbox.check_flood_untrusted()

    def _take_untrusted(self, frame: AnyFrame) -> None:
        if isinstance(frame, Ping):
            self._outbox.post(Pong(frame.n))
        elif isinstance(frame, Pong):
            # Of several pongs a busy peer sends only the last: it answers them all.
            for number in [number for number in self._pinged if number <= frame.n]:
                self._pinged.pop(number).set()
        else:
            ours = frame.id % 2 == self._next_id % 2
            call = self._ours.get(frame.id) if ours else self._their_call(frame.id)
            state = None if call is None else ON_FRAME.get((call.state, type(frame)))
            if call is None or state is None:
                raise garbage("a frame that its call does not expect")
            previous, call.state = call.state, state
            if ours:
                self._take_reply_untrusted(call, frame)
            else:
                self._take_request_untrusted(call, frame, previous)
            call.notify()

    def _their_call(self, call_id: int) -> Call:
        new = State.ABSENT if call_id > self._highest_theirs else State.ENDED
        return self._theirs.get(call_id) or Call(call_id, new)

    def _take_reply_untrusted(self, call: Call, frame: CallFrame) -> None:
        if isinstance(frame, Data) and call.state is State.WAITING:
            call.take_untrusted(frame)
            self._return_credit(call)
        elif isinstance(frame, Credit):
            call.credit_untrusted(frame)
        elif isinstance(frame, End | Fail):
            call.ending = frame
            del self._ours[call.id]
            self._notify()

    def _take_request_untrusted(self, call: Call, frame: CallFrame, previous: State) -> None:
        if isinstance(frame, Data):
            if previous is State.ABSENT:
                self._admit_untrusted(call)
            call.take_untrusted(frame)
            self._held[call.id] = self._held.get(call.id, 0) + len(frame.body)
            self._memory.charge(self, len(frame.body))
            if call.messages:
                call.state = State.SERVING
                call.task = self._tasks.create_task(self._answer(call, call.take_message()))
                call.task.add_done_callback(lambda _: self._finish(call))
            self._credit_oldest_request()
        elif isinstance(frame, Credit) and previous is not State.ENDED:
            call.credit_untrusted(frame)
        elif isinstance(frame, Cancel) and call.task is not None:
            call.task.cancel()
        elif isinstance(frame, Cancel) and previous is State.ASSEMBLING:
            self._finish(call)
            self._credit_oldest_request()

    def _admit_untrusted(self, call: Call) -> None:
        if len(self._theirs) >= MAX_CALLS:
            raise garbage(f"more than {MAX_CALLS} calls at once")
        self._highest_theirs = call.id
        self._theirs[call.id] = call

    def _credit_oldest_request(self) -> None:
        if oldest := self._oldest_arriving():
            self._return_credit(oldest)

    def _oldest_arriving(self) -> Call | None:
        arriving = (call for call in self._theirs.values() if call.state is State.ASSEMBLING)
        return next(arriving, None)

    async def _answer(self, call: Call, request: bytes) -> None:
        try:
            async with aclosing(self._serve(request)) as replies:
                async for reply in replies:
                    _check_size(reply)
                    await self._send(call, reply)
        except Exception as error:
            call.ending = fail_of(call.id, error)

    def _finish(self, call: Call) -> None:
        """A call of theirs is over; also when its task was cancelled before it began."""
        call.state = State.ENDED
        del self._theirs[call.id]
        if self._end is None and not self._shed.is_set():
            self._memory.charge(self, -self._held.pop(call.id, 0))
        self._outbox.post(call.ending)


class Traffic:
    """Bytes of frames that a connection has carried."""

    def __init__(self) -> None:
        self.sent = 0
        self.received = 0


class _Replies:
    """The replies of one call of ours."""

    def __init__(self, multiplexer: Multiplexer, call: Call) -> None:
        self._multiplexer = multiplexer
        self._call = call

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        return await self._multiplexer.next_reply(self._call)


def _now() -> float:
    return asyncio.get_running_loop().time()


def _check_size(message: bytes) -> None:
    if not 0 < len(message) <= MAX_MESSAGE:
        raise LocalFault(
            RemoteCode.TOO_LONG,
            f"a message of {len(message)} bytes; between 1 and {MAX_MESSAGE} can be sent",
            "cut the text into smaller segments",
        )


def _first(faults: ExceptionGroup[RemoteFault]) -> RemoteFault:
    """Why the connection ended: what the peer did wrong says more than that it is closed."""
    found = [fault for fault in faults.exceptions if isinstance(fault, RemoteFault)]
    return next((fault for fault in found if fault.code == RemoteCode.GARBAGE), found[0])
