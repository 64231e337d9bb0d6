"""What the node and its litellm worker say to each other over the worker's stdin and stdout.

Each frame is four bytes of big-endian length and one msgpack map, tagged `t`. Calls are told apart
by a number that the node chooses; after `Done` or `Failed` nothing more is said of a call. The
worker runs a large foreign library, so the node reads its frames as it reads a peer's.
"""

import asyncio
from typing import Final, Literal

import msgspec

MAX_FRAME: Final = 16 * 1024 * 1024
"""Above the largest ask as JSON."""
Channel = Literal["anthropic", "google"]
"""How litellm is told whose API to speak."""


class Frame(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="t"):
    """Base of every frame."""


class Boot(Frame, frozen=True, tag="boot"):
    """The node's first frame: where the vault is and what opens it. The worker gets no key."""

    vault: str
    token: str


class Call(Frame, frozen=True, tag="call"):
    """Begin a call; `body` is OpenAI's chat completion as JSON, `most` the answer's characters."""

    id: int
    channel: Channel
    key: str
    model: str
    body: bytes
    most: int


class Cancel(Frame, frozen=True, tag="cancel"):
    """Nobody waits for this call any more."""

    id: int


class Alive(Frame, frozen=True, tag="alive"):
    """The provider has shown a sign of life without content."""

    id: int


class Text(Frame, frozen=True, tag="text"):
    """A piece of the answer's text."""

    id: int
    text: str


class Part(Frame, frozen=True, tag="part"):
    """A piece of the call of a function, as the provider sent it; see `call_order`."""

    id: int
    number: int
    call: str
    name: str
    arguments: str


class Done(Frame, frozen=True, tag="done"):
    """The answer is whole; `tokens` are the provider's own count (in, out), None without one."""

    id: int
    finish: str
    tokens: tuple[int, int] | None


class Failed(Frame, frozen=True, tag="failed"):
    """The call failed.

    `status`: the provider answered `status` and `body`. `refusal`: the vault refused, its code is
    in `body`. `stream`: `body` is an error in the middle of the answer. `broken`: what came was no
    answer. `unsupported`: litellm cannot say this to the provider. `bug`: something else, in it.
    """

    id: int
    kind: Literal["status", "refusal", "stream", "broken", "unsupported", "bug"]
    status: int = 0
    body: bytes = b""
    retry_after: int | None = None


ToWorker = Boot | Call | Cancel
FromWorker = Alive | Text | Part | Done | Failed

_encoder = msgspec.msgpack.Encoder()
_to_worker = msgspec.msgpack.Decoder(ToWorker)
_from_worker = msgspec.msgpack.Decoder(FromWorker)


class BadFrame(Exception):
    """The other side does not speak this protocol: the connection is worth nothing any more."""


def encode(frame: ToWorker | FromWorker) -> bytes:
    """The frame with its length."""
    data = _encoder.encode(frame)
    return len(data).to_bytes(4, "big") + data


async def read_from_node(reader: asyncio.StreamReader) -> ToWorker | None:
    """The next frame for the worker, None at the end; BadFrame."""
    data = await _read(reader)
    try:
        return None if data is None else _to_worker.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadFrame from None


async def read_untrusted(reader: asyncio.StreamReader) -> FromWorker | None:
    """The next frame of a worker, None at its end; BadFrame."""
    data = await _read(reader)
    try:
        return None if data is None else _from_worker.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadFrame from None


async def _read(reader: asyncio.StreamReader) -> bytes | None:
    try:
        size = int.from_bytes(await reader.readexactly(4), "big")
        if size > MAX_FRAME:
            raise BadFrame
        return await reader.readexactly(size)
    except (asyncio.IncompleteReadError, ConnectionError):
        # A process that dies cuts its frames: that is an end like any other.
        return None
