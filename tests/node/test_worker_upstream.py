"""Many calls over one worker: their order, their end, and the worker's, with a worker in memory."""

import asyncio
import contextlib
import io
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ricochet_node import upstream
from ricochet_node.faults import ProviderFault, Reason
from ricochet_node.log import EventLog
from ricochet_node.upstream import Usage
from ricochet_node.worker_frames import (
    MAX_FRAME,
    Alive,
    BadFrame,
    Boot,
    Call,
    Cancel,
    Done,
    Failed,
    FromWorker,
    Part,
    Text,
    ToWorker,
    encode,
    read_from_node,
    read_untrusted,
)
from ricochet_node.worker_upstream import WorkerUpstream
from ricochet_protocol.conversation import Tool, Turn
from ricochet_protocol.ids import ModelId, Period, RequestId
from ricochet_protocol.messages import Ask, CallPiece, Chunk

BOOT = Boot(vault="http://127.0.0.1:1", token="t")
TOOL = Tool("look", "", "{}")


def ask(**changes: Any) -> Ask:
    values: dict[str, Any] = {
        "request_id": RequestId("0" * 32),
        "period": Period(1),
        "model": ModelId("m"),
        "turns": (Turn("user", "hello"),),
        "max_tokens": 50,
        "deadline": 60,
    }
    return Ask(**{**values, **changes})


class MemoryWorker:
    """Implements `Link`: notes what it is sent, says what a test lets it say."""

    def __init__(self) -> None:
        self.sent: list[ToWorker] = []
        self.stopped = False
        self._says: asyncio.Queue[FromWorker | BadFrame | None] = asyncio.Queue()
        self._heard = asyncio.Event()

    @property
    def pid(self) -> int:
        return 1

    def send(self, frame: ToWorker) -> None:
        self.sent.append(frame)
        self._heard.set()

    async def receive(self) -> FromWorker | None:
        said = await self._says.get()
        if isinstance(said, BadFrame):
            raise said
        return said

    async def stop(self) -> None:
        self.stopped = True

    def say(self, *frames: FromWorker | BadFrame | None) -> None:
        for frame in frames:
            self._says.put_nowait(frame)

    async def heard(self, count: int) -> list[ToWorker]:
        """The first `count` frames, once they have come."""
        async with asyncio.timeout(10):
            while len(self.sent) < count:
                self._heard.clear()
                await self._heard.wait()
        return self.sent


class Stage:
    """A port whose workers are in memory; `workers` are those that were started."""

    def __init__(self, idle: float = 100) -> None:
        self.workers: list[MemoryWorker] = []
        self.log = io.StringIO()
        channels: dict[str, Any] = {"claude": "anthropic", "gemini": "google"}
        self.port = WorkerUpstream(self._launch, channels, BOOT, EventLog(self.log), idle)

    async def _launch(self) -> MemoryWorker:
        self.workers.append(MemoryWorker())
        return self.workers[-1]

    def call(self, key: str = "claude", **changes: Any) -> "asyncio.Task[list[Any]]":
        async def collect() -> list[Any]:
            return [piece async for piece in self.port.stream(key, "real", ask(**changes))]

        return asyncio.create_task(collect())

    async def worker(self) -> MemoryWorker:
        """The latest worker, once there is one."""
        while not self.workers:  # noqa: ASYNC110 - nobody signals a start
            await asyncio.sleep(0)
        return self.workers[-1]


def run(scenario: Callable[[Stage], Awaitable[None]], idle: float = 100) -> None:
    async def inner() -> None:
        stage = Stage(idle)
        try:
            async with asyncio.timeout(30):
                await scenario(stage)
        finally:
            await stage.port.stop()
        assert all(worker.stopped for worker in stage.workers)

    asyncio.run(inner())


async def reason_of(call: "asyncio.Task[list[Any]]") -> Reason:
    with pytest.raises(ProviderFault) as caught:
        await call
    return caught.value.reason


def test_calls_share_a_worker_and_do_not_mix() -> None:
    async def scenario(stage: Stage) -> None:
        first, second = stage.call(), stage.call("gemini", tools=(TOOL,))
        worker = await stage.worker()
        boot, one, two = await worker.heard(3)
        assert boot == BOOT and isinstance(one, Call) and isinstance(two, Call)
        assert (one.channel, one.key, one.model) == ("anthropic", "claude", "real")
        assert two.channel == "google" and json.loads(two.body)["max_tokens"] == 50
        worker.say(
            Text(one.id, "Hel"),
            Alive(two.id),
            Part(two.id, 0, "c1", "look", ""),
            Text(one.id, "lo"),
            Part(two.id, 0, "", "", "{}"),
            Done(two.id, "tool_calls", None),
            Done(one.id, "stop", (3, 2)),
            Text(99, "nobody's"),
        )
        assert await first == [Chunk("Hel"), Chunk("lo"), Usage("stop", (3, 2))]
        assert await second == [
            CallPiece(0, "c1", "look", ""),
            CallPiece(0, "", "", "{}"),
            Usage("tool_calls", None),
        ]
        assert len(stage.workers) == 1 and len(worker.sent) == 3

    run(scenario)


@pytest.mark.parametrize(
    ("failed", "reason"),
    [
        (Failed(1, "status", 429, b"", 7), Reason.RATE),
        (Failed(1, "status", 401, b"secret"), Reason.KEY_REFUSED),
        (Failed(1, "refusal", body=b"cap_day"), Reason.LIMIT),
        (Failed(1, "refusal", body=b"unreachable"), Reason.FAILED),
        (Failed(1, "stream", body=b'{"type":"overloaded_error"}'), Reason.OVERLOADED),
        (Failed(1, "broken", body=b"an answer that breaks off"), Reason.BROKEN),
        (Failed(1, "unsupported"), Reason.REFUSED),
        (Failed(1, "bug", body=b"\x1b[31mKeyError"), Reason.FAILED),
        (Done(1, "", None), Reason.BROKEN),
        (Done(1, "content_filter", (1, 1)), Reason.FILTERED),
        (Part(1, 0, "", "", "{}"), Reason.BROKEN),
        (None, Reason.INTERRUPTED),
        (BadFrame(), Reason.INTERRUPTED),
    ],
)
def test_every_failure_has_its_reason(failed: Any, reason: Reason) -> None:
    async def scenario(stage: Stage) -> None:
        call = stage.call(tools=(TOOL,))
        worker = await stage.worker()
        await worker.heard(2)
        worker.say(failed)
        with pytest.raises(ProviderFault) as caught:
            await call
        assert caught.value.reason is reason
        assert caught.value.message.isprintable() and "secret" not in caught.value.message
        assert caught.value.retry_after == (7 if reason is Reason.RATE else None)

    run(scenario)


def test_a_worker_that_died_is_replaced() -> None:
    async def scenario(stage: Stage) -> None:
        calls = [stage.call(), stage.call()]
        worker = await stage.worker()
        await worker.heard(3)
        worker.say(None)
        assert [await reason_of(call) for call in calls] == [Reason.INTERRUPTED] * 2
        again = stage.call()
        while len(stage.workers) < 2:  # noqa: ASYNC110 - nobody signals a start
            await asyncio.sleep(0)
        boot, call = await stage.workers[1].heard(2)
        assert boot == BOOT and isinstance(call, Call)
        stage.workers[1].say(Text(call.id, "x"), Done(call.id, "stop", None))
        assert await again == [Chunk("x"), Usage("stop", None)]
        assert "it died" in stage.log.getvalue()

    run(scenario)


def test_who_leaves_early_cancels_at_the_worker() -> None:
    async def scenario(stage: Stage) -> None:
        stream: Any = stage.port.stream("claude", "real", ask())
        begun = asyncio.create_task(anext(stream))
        worker = await stage.worker()
        worker.say(Text(1, "x"))
        assert await begun == Chunk("x")
        await stream.aclose()
        assert worker.sent[-1] == Cancel(1)

    run(scenario)


def test_a_silent_worker_is_a_silent_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "FIRST_BYTE_SECONDS", 0.01)

    async def scenario(stage: Stage) -> None:
        call = stage.call()
        worker = await stage.worker()
        assert await reason_of(call) is Reason.SILENT
        assert worker.sent[-1] == Cancel(1)

    run(scenario)


def test_a_worker_that_nobody_needs_is_ended() -> None:
    async def scenario(stage: Stage) -> None:
        call = stage.call()
        worker = await stage.worker()
        # Idle time passes while the call is open, and does not count.
        await asyncio.sleep(0.03)
        assert not worker.stopped
        worker.say(Text(1, "x"), Done(1, "stop", None))
        await call
        while not worker.stopped:  # noqa: ASYNC110 - a worker does not signal its end
            await asyncio.sleep(0.001)
        assert stage.port.pid is None and '"idle"' in stage.log.getvalue()

    run(scenario, idle=0.01)


def test_strict_tools_are_refused_without_a_worker() -> None:
    async def scenario(stage: Stage) -> None:
        strict = Tool("look", "", "{}", strict=True)
        assert await reason_of(stage.call(tools=(strict,))) is Reason.REFUSED
        assert not stage.workers

    run(scenario)


def test_stopping_fails_open_calls() -> None:
    async def scenario(stage: Stage) -> None:
        call = stage.call()
        await (await stage.worker()).heard(2)
        await stage.port.stop()
        assert await reason_of(call) is Reason.INTERRUPTED

    run(scenario)


async def _read(data: bytes, read: Any) -> list[Any]:
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    frames = []
    while (frame := await read(reader)) is not None:
        frames.append(frame)
    return frames


TO_WORKER = [BOOT, Call(1, "google", "k", "m", b"{}", 9), Cancel(1)]
FROM_WORKER = [
    Alive(1),
    Text(1, "é"),
    Part(1, 0, "c", "f", "{}"),
    Done(1, "stop", (1, 2)),
    Failed(1, "status", 500, b"\xff", 3),
]


def test_frames_come_back_as_they_were() -> None:
    for frames, read in ((TO_WORKER, read_from_node), (FROM_WORKER, read_untrusted)):
        data = b"".join(map(encode, frames))  # type: ignore[arg-type] # of both directions
        assert asyncio.run(_read(data, read)) == frames
        assert asyncio.run(_read(data[:-1], read)) == frames[:-1]


@given(st.binary(max_size=100).map(lambda b: len(b).to_bytes(4, "big") + b) | st.binary())
def test_any_bytes_are_frames_or_a_bad_frame(data: bytes) -> None:
    for read in (read_from_node, read_untrusted):
        with contextlib.suppress(BadFrame):
            asyncio.run(_read(data, read))


def test_a_frame_without_bounds_is_refused() -> None:
    with pytest.raises(BadFrame):
        asyncio.run(_read((MAX_FRAME + 1).to_bytes(4, "big"), read_untrusted))
