"""A provider's double that is far faster than what stands before it, and counts what it does.

It runs as a process of its own, prints its base URL, and answers OpenAI's chat completions, whole
or streamed. The prompt says how: `[chunks=N]` for the length, `[paced]` for one chunk each
millisecond instead of all at once, `[wait]` for an answer that stops in the middle until its caller
hangs up. `POST /plan` sets the share of calls that fail in each way, `GET /stats` tells the counts,
those of each key as well.
A call counts as answered when its last byte was handed to the socket of a caller who is there.
"""

import asyncio
import json
import random
import re
import socket
import struct
from collections import Counter
from typing import Any, Final, cast

import uvloop

CHUNKS: Final = 20
FAULTS: Final = ("429", "500", "reset", "cut")
_NAMED: Final = re.compile(rb"\[chunks=(\d+)\]")
_HEAD: Final = {
    "id": "chatcmpl-1",
    "created": 1_700_000_000,
    "model": "fake",
}


class State:
    """What all connections share; the random numbers are seeded, so a run can be repeated."""

    def __init__(self) -> None:
        self.reset({})

    def reset(self, plan: dict[str, float]) -> None:
        self.counts: Counter[str] = Counter()
        self.keys: Counter[str] = Counter()
        self.tokens_in: Counter[str] = Counter()
        self.tokens_out: Counter[str] = Counter()
        self._plan = plan
        self._random = random.Random(7)

    def fault(self) -> str:
        """How the next call fails, "" for not at all."""
        if not self._plan:
            return ""
        drawn = self._random.random()
        for name in FAULTS:
            drawn -= self._plan.get(name, 0.0)
            if drawn < 0:
                return name
        return ""


def _response(status: str, body: bytes, kind: str = "application/json", extra: str = "") -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{extra}\r\n"
    )
    return head.encode() + body


def _json(status: str, document: Any, extra: str = "") -> bytes:
    return _response(status, json.dumps(document).encode(), extra=extra)


def _usage(chunks: int, number: int) -> dict[str, int]:
    # Not the same for every call, so that sums which agree mean something.
    tokens_in, tokens_out = 10 + number % 7, chunks + number % 3
    return {
        "prompt_tokens": tokens_in,
        "completion_tokens": tokens_out,
        "total_tokens": tokens_in + tokens_out,
    }


def _whole(chunks: int, usage: dict[str, int]) -> bytes:
    message = {"role": "assistant", "content": "word " * chunks}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return _json(
        "200 OK", {**_HEAD, "object": "chat.completion", "choices": [choice], "usage": usage}
    )


def _event(delta: dict[str, str], finish: str | None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    document = {**_HEAD, "object": "chat.completion.chunk", "choices": [choice], **more}
    return _chunk(b"data: " + json.dumps(document).encode() + b"\n\n")


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


_STREAM_HEAD: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
)
_WORD: Final = _event({"content": "word "}, None)


def _end(usage: dict[str, int]) -> bytes:
    return _event({}, "stop", usage=usage) + _chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"


class Connection(asyncio.Protocol):
    """One caller; requests come one after the other."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._buffer = b""
        self._waiting = False
        self._key = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's are transports by what they do, not by their class.
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, error: Exception | None) -> None:
        if self._waiting:
            self._state.counts["left"] += 1

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end]
            length, at = 0, head.lower().find(b"content-length:")
            if at >= 0:
                length = int(head[at + 15 :].split(b"\r", 1)[0])
            if len(self._buffer) < end + 4 + length:
                return
            body = self._buffer[end + 4 : end + 4 + length]
            self._buffer = self._buffer[end + 4 + length :]
            self._answer(head, body)

    def _answer(self, head: bytes, body: bytes) -> None:
        path = head.split(b" ", 2)[1]
        if path.endswith(b"/chat/completions"):
            self._chat(head, body)
        elif path == b"/stats":
            counts = {
                **self._state.counts,
                "keys": self._state.keys,
                "keys_in": self._state.tokens_in,
                "keys_out": self._state.tokens_out,
            }
            self._transport.write(_json("200 OK", counts))
        elif path == b"/plan":
            self._state.reset(json.loads(body))
            self._transport.write(_json("200 OK", {}))
        else:
            self._transport.write(_json("200 OK", {"object": "list", "data": [{"id": "fake"}]}))

    def _chat(self, head: bytes, body: bytes) -> None:
        state = self._state
        state.counts["calls"] += 1
        at = head.lower().find(b"authorization: bearer ")
        self._key = "" if at < 0 else head[at + 22 :].split(b"\r", 1)[0].decode()
        state.keys[self._key] += 1
        named = _NAMED.search(body)
        chunks = int(named.group(1)) if named else CHUNKS
        usage = _usage(chunks, state.counts["calls"])
        streamed = b'"stream":true' in body or b'"stream": true' in body
        if b"[wait]" in body:
            self._waiting = True
            self._transport.write(_STREAM_HEAD + _WORD * (chunks // 2))
        elif fault := state.fault():
            state.counts[fault] += 1
            self._fail(fault, streamed, chunks, usage)
        elif b"[paced]" in body and streamed:
            self._transport.write(_STREAM_HEAD)
            self._pace(chunks, usage)
        else:
            whole = _STREAM_HEAD + _WORD * chunks + _end(usage) if streamed else None
            self._transport.write(whole or _whole(chunks, usage))
            self._answered(usage)

    def _pace(self, left: int, usage: dict[str, int]) -> None:
        if self._transport.is_closing():
            return
        if not left:
            self._transport.write(_end(usage))
            self._answered(usage)
            return
        self._transport.write(_WORD)
        asyncio.get_running_loop().call_later(0.001, self._pace, left - 1, usage)

    def _answered(self, usage: dict[str, int]) -> None:
        self._state.counts["answered"] += 1
        self._state.tokens_in[self._key] += usage["prompt_tokens"]
        self._state.tokens_out[self._key] += usage["completion_tokens"]
        self._state.counts["tokens_in"] += usage["prompt_tokens"]
        self._state.counts["tokens_out"] += usage["completion_tokens"]

    def _fail(self, fault: str, streamed: bool, chunks: int, usage: dict[str, int]) -> None:
        error = {"error": {"message": "injected", "type": "injected", "code": "injected"}}
        match fault:
            case "429":
                self._transport.write(_json("429 Too Many Requests", error, "Retry-After: 0\r\n"))
            case "500":
                self._transport.write(_json("500 Internal Server Error", error))
            case "reset":
                # No FIN: the other side's kernel is told that the connection is gone.
                linger = struct.pack("ii", 1, 0)
                self._transport.get_extra_info("socket").setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, linger
                )
                self._transport.abort()
            case _:
                half = _STREAM_HEAD + _WORD * (chunks // 2)
                whole = _whole(chunks, usage)
                self._transport.write(half if streamed else whole[: len(whole) - 20])
                self._transport.close()


async def serve() -> None:
    """Until it is told to end."""
    state = State()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(state), "127.0.0.1", 0, backlog=1024)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve())
