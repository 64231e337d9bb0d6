"""The litellm worker: a process of its own, the only one that imports litellm.

It speaks to Anthropic and Google, and only through the vault: it holds no key, and litellm gets the
vault as `api_base` and a placeholder. litellm's Router is never used. Importing litellm takes three
seconds, so the process is started on demand and kept for a while; see `worker_upstream.py`.

What litellm says of a failed call is not relied on: it loses headers and statuses on some paths,
repeats a request whose connection broke (which is billed twice), and ends a stream that stopped
short as if it were complete. So every request goes through `_OneCall`, which sends it once and
notes what really came back, and an answer counts as whole only when the provider said so itself.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from typing import Any, Final

import httpx
import msgspec

from ricochet_node.faults import MAX_ERROR, seconds_of
from ricochet_node.worker_frames import (
    Alive,
    Boot,
    Call,
    Cancel,
    Done,
    Failed,
    FromWorker,
    Part,
    Text,
    encode,
    read_from_node,
)

_PREFIX: Final = {"anthropic": "anthropic", "google": "gemini"}
_PATH: Final = {"anthropic": "", "google": "/v1beta"}
"""What litellm expects `api_base` to end with; it adds `/v1/messages` or `/models/…`."""
_REFUSAL: Final = "x-vault-refusal"
_TIMEOUT: Final = httpx.Timeout(None, connect=10.0)
"""The node ends calls that take too long; only it knows their deadlines."""


class _Delta(msgspec.Struct, frozen=True):
    stop_reason: str | None = None


class _Candidate(msgspec.Struct, frozen=True):
    finishReason: str | None = None  # noqa: N815 - Google's spelling


class _Event(msgspec.Struct, frozen=True):
    """Of an event of Anthropic's or Google's, what tells an end or an error."""

    delta: _Delta = _Delta()
    candidates: tuple[_Candidate, ...] = ()
    error: msgspec.Raw = msgspec.Raw()


class _Stopped(Exception):
    """The call has failed, and `failure` of its watch says how."""


class _Watch:
    """What really happens on the wire of one call."""

    def __init__(self, call: Call, send: "_Sender") -> None:
        self._call = call
        self._send = send
        self.failure: Failed | None = None
        self.ended = False
        self.response: httpx.Response | None = None

    def fail(self, kind: Any, **facts: Any) -> _Stopped:
        """Note the first failure: later ones follow from it."""
        if self.failure is None:
            self.failure = Failed(self._call.id, kind, **facts)
        return _Stopped()

    async def check(self, response: httpx.Response) -> None:
        """Stop unless the response is an event stream."""
        self.response = response
        wait = seconds_of(response.headers.get("retry-after"))
        if refusal := response.headers.get(_REFUSAL):
            raise self.fail("refusal", body=refusal.encode(), retry_after=wait)
        if response.status_code != 200:
            body = await _error(response)
            raise self.fail("status", status=response.status_code, body=body, retry_after=wait)
        if not response.headers.get("content-type", "").startswith("text/event-stream"):
            raise self.fail("broken", body=b"something that is no event stream")

    async def lines(self, stream: AsyncIterator[str]) -> AsyncIterator[str]:
        """The lines of the stream, each looked at before litellm reads it."""
        try:
            async for line in stream:
                if line.startswith("data:"):
                    self._look(line[len("data:") :])
                elif line.startswith("event: ping"):
                    self._send.frame(Alive(self._call.id))
                yield line
        except httpx.HTTPError:
            raise self.fail("broken", body=b"an answer that breaks off") from None

    def _look(self, data: str) -> None:
        try:
            event = msgspec.json.decode(data, type=_Event)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            raise self.fail("broken", body=b"an unreadable event") from None
        if (error := bytes(event.error)) not in (b"", b"null"):
            raise self.fail("stream", body=error[:MAX_ERROR])
        reasons = [event.delta.stop_reason, *(one.finishReason for one in event.candidates)]
        self.ended = self.ended or any(reasons)


class _Sender:
    """Writes frames to the node."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer

    def frame(self, frame: FromWorker) -> None:
        """Queue a frame."""
        self._writer.write(encode(frame))

    async def flush(self) -> None:
        """Wait while the node is slow."""
        await self._writer.drain()


class Worker:
    """Makes the calls; `litellm` is the imported library."""

    def __init__(self, litellm: Any, boot: Boot, send: _Sender, client: httpx.AsyncClient) -> None:
        self._litellm = litellm
        self._boot = boot
        self._send = send
        self._client = client
        self._calls: dict[int, asyncio.Task[None]] = {}

    async def run(self, reader: asyncio.StreamReader) -> None:
        """Serve until the node closes our stdin."""
        try:
            async with asyncio.TaskGroup() as tasks:
                while (frame := await read_from_node(reader)) is not None:
                    if isinstance(frame, Call):
                        self._calls[frame.id] = tasks.create_task(self._serve(frame))
                    elif isinstance(frame, Cancel) and frame.id in self._calls:
                        self._calls[frame.id].cancel()
                for task in self._calls.values():
                    task.cancel()
        finally:
            await self._client.aclose()

    async def _serve(self, call: Call) -> None:
        watch = _Watch(call, self._send)
        try:
            self._send.frame(await self._answer(call, watch))
        except self._litellm.UnsupportedParamsError:
            self._send.frame(watch.failure or Failed(call.id, "unsupported"))
        except Exception as error:
            # litellm raises its own errors for ours, and what it does not foresee as anything.
            kind = type(error).__name__.encode()
            self._send.frame(watch.failure or Failed(call.id, "bug", body=kind))
        finally:
            del self._calls[call.id]
            if watch.response is not None:
                # Ends the provider's call, whatever litellm still holds of it.
                await asyncio.shield(watch.response.aclose())
        await self._send.flush()

    async def _answer(self, call: Call, watch: _Watch) -> Done:
        stream = await self._litellm.acompletion(
            **_arguments(call),
            api_base=f"{self._boot.vault}/{call.key}{_PATH[call.channel]}",
            api_key="placeholder",
            extra_headers={"Authorization": f"Bearer {self._boot.token}"},
            client=_one_call(self._client, watch),
            num_retries=0,
            max_retries=0,
            # Else litellm imports its proxy for every call with tools.
            _skip_mcp_handler=True,
        )
        left = call.most
        async for chunk in stream:
            for frame, size in _pieces(call.id, chunk):
                left -= size
                if left < 0:
                    raise watch.fail("broken", body=b"more than was asked for")
                self._send.frame(frame)
            await self._send.flush()
        if watch.failure is not None:
            raise _Stopped
        return _done(call, stream, watch)


def _one_call(client: httpx.AsyncClient, watch: _Watch) -> Any:
    """litellm's HTTP handler with our own sending: one request, one try."""
    from litellm.llms.custom_httpx.http_handler import AsyncHTTPHandler

    class _OneCall(AsyncHTTPHandler):  # type: ignore[misc] # litellm is not type-checked
        def __init__(self) -> None:
            # Not the parent's: it would build another client, whose settings are not ours.
            self._client = client
            self._owns_client = False

        def __del__(self) -> None:
            """Not the parent's: the client is shared."""

        async def post(self, url: str, data: Any = None, headers: Any = None, **_: Any) -> Any:
            request = client.build_request("POST", url, content=data, headers=headers)
            try:
                response = await client.send(request, stream=True)
            except httpx.ConnectError:
                raise watch.fail("refusal", body=b"unreachable") from None
            except httpx.HTTPError:
                raise watch.fail("refusal", body=b"cut") from None
            await watch.check(response)
            lines = watch.lines(response.aiter_lines())
            response.aiter_lines = lambda: lines  # type: ignore[method-assign] # litellm's way in
            return response

    return _OneCall()


def _arguments(call: Call) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(call.body)
    body["model"] = f"{_PREFIX[call.channel]}/{call.model}"
    for message in body["messages"]:
        if message.get("tool_calls") and not message["content"]:
            # litellm replaces an empty text by words of its own.
            message["content"] = None
    return body


def _pieces(call: int, chunk: Any) -> list[tuple[FromWorker, int]]:
    if not chunk.choices:
        return []
    delta = chunk.choices[0].delta
    found: list[tuple[FromWorker, int]] = []
    if delta.content:
        found.append((Text(call, delta.content), len(delta.content)))
    for part in delta.tool_calls or ():
        name, arguments = part.function.name or "", part.function.arguments or ""
        frame = Part(call, part.index, part.id or "", name, arguments)
        found.append((frame, 1 + len(name) + len(arguments)))
    return found


def _done(call: Call, stream: Any, watch: _Watch) -> Done:
    """The end, if the provider said it: litellm says "stop" of a stream that just stopped."""
    reason = stream.received_finish_reason or stream.intermittent_finish_reason
    if reason is None or not watch.ended:
        raise watch.fail("broken", body=b"an answer that breaks off")
    if reason == "stop" and stream.tool_call:
        reason = "tool_calls"
    # Only what came with a chunk: without any, litellm estimates and does not say so.
    counted = [usage for c in stream.chunks if (usage := getattr(c, "usage", None)) is not None]
    tokens = (_most(counted, "prompt_tokens"), _most(counted, "completion_tokens"))
    return Done(call.id, reason, tokens if counted else None)


def _most(counted: list[Any], side: str) -> int:
    """A provider's counts only grow during an answer."""
    return max(int(getattr(usage, side) or 0) for usage in counted) if counted else 0


async def _error(response: httpx.Response) -> bytes:
    body = bytearray()
    try:
        async for data in response.aiter_bytes():
            body += data
            if len(body) > MAX_ERROR:
                break
    except httpx.HTTPError:
        pass  # what has come says enough
    return bytes(body[:MAX_ERROR])


async def _run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    boot = await read_from_node(reader)
    if not isinstance(boot, Boot):
        return
    import litellm

    litellm.suppress_debug_info = True
    litellm.drop_params = False
    client = httpx.AsyncClient(timeout=_TIMEOUT, trust_env=False, follow_redirects=False)
    await Worker(litellm, boot, _Sender(writer), client).run(reader)


async def _connect(output: int) -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer)
    pipe = os.fdopen(output, "wb", buffering=0)
    transport, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, pipe)
    await _run(reader, asyncio.StreamWriter(transport, protocol, None, loop))
    transport.close()


def main() -> None:
    """The process; it ends when its stdin does."""
    # Ctrl-C reaches every process of a terminal; this one ends when its parent has drained.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold prompts
    # Whatever a library prints must not end up among the frames.
    output = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    asyncio.run(_connect(output))
    # Threads that litellm left behind would hold up the end; there is nothing to save.
    os._exit(0)
