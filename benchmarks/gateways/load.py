"""Load on one gateway: a bare asyncio protocol on uvloop, so that the gateway is what is measured.

Each connection sends a request, reads its answer to the end, and sends the next. An answer ends
with its Content-Length or its last chunk; the first token of a stream is there when the first of
its words is. About 20 microseconds a request: ten times what the fastest gateway can serve.
"""

import asyncio
import json
from dataclasses import dataclass, field
from time import perf_counter
from typing import Final, cast
from urllib.parse import urlsplit

_WORD: Final = b"word"


@dataclass(frozen=True)
class Target:
    """Where requests go; `headers` authorise them, `model` is what they ask for."""

    url: str
    model: str
    headers: dict[str, str] = field(default_factory=dict)

    def request(self, prompt: str, *, stream: bool) -> bytes:
        """The bytes of one request, the same every time."""
        message = {"role": "user", "content": prompt}
        document = {"model": self.model, "messages": [message], "max_tokens": 1000}
        if stream:
            document["stream"] = True
        body = json.dumps(document).encode()
        parts = urlsplit(self.url)
        headers = {
            "Host": parts.netloc,
            "Content-Type": "application/json",
            **self.headers,
            "Content-Length": str(len(body)),
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"POST {parts.path} HTTP/1.1\r\n{lines}\r\n".encode() + body

    @property
    def address(self) -> tuple[str, int]:
        parts = urlsplit(self.url)
        return parts.hostname or "", parts.port or 80


@dataclass
class Result:
    """What came of a load; times are seconds."""

    elapsed: float = 0.0
    latencies: list[float] = field(default_factory=list)
    first_tokens: list[float] = field(default_factory=list)
    failures: int = 0

    @property
    def requests(self) -> int:
        return len(self.latencies)

    @property
    def rate(self) -> float:
        return self.requests / self.elapsed


class _Connection(asyncio.Protocol):
    def __init__(self, request: bytes, until: float, result: Result) -> None:
        self._request = request
        self._until = until
        self._result = result
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's are transports by what they do, not by their class.
        self._transport = cast("asyncio.Transport", transport)
        self._send()

    def _send(self) -> None:
        self._data = b""
        self._body = -1
        self._length = -1
        self._first = 0.0
        self._start = perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._data += data
        if self._body < 0 and not self._read_head():
            return
        if not self._first and _WORD in data:
            self._first = perf_counter()
        if self._length >= 0:
            ended = len(self._data) >= self._body + self._length
        else:
            ended = self._data.endswith(b"0\r\n\r\n")
        if ended:
            self._end()

    def _read_head(self) -> bool:
        end = self._data.find(b"\r\n\r\n")
        if end < 0:
            return False
        self._body = end + 4
        head = self._data[:end].lower()
        at = head.find(b"content-length:")
        if at >= 0:
            self._length = int(head[at + 15 :].split(b"\r", 1)[0])
        return True

    def _end(self) -> None:
        now = perf_counter()
        if not self._data.startswith(b"HTTP/1.1 200") or _WORD not in self._data:
            self._result.failures += 1
        else:
            self._result.latencies.append(now - self._start)
            self._result.first_tokens.append(self._first - self._start)
        if now < self._until:
            self._send()
        else:
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if error is not None:
            self._result.failures += 1
        if not self.done.done():
            self.done.set_result(None)


async def load(
    target: Target, seconds: float, connections: int, prompt: str = "Say hello.", *, stream: bool
) -> Result:
    """Keep `connections` busy for that long."""
    request = target.request(prompt, stream=stream)
    result = Result()
    loop = asyncio.get_running_loop()
    start = perf_counter()
    opened = [
        await loop.create_connection(
            lambda: _Connection(request, start + seconds, result), *target.address
        )
        for _ in range(connections)
    ]
    async with asyncio.timeout(seconds + 60):
        await asyncio.gather(*(connection.done for _, connection in opened))
    result.elapsed = perf_counter() - start
    return result
