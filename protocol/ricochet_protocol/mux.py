"""The frames that multiplex calls over one stream, as values.

A call is one request message from the dialling or the accepting side and a sequence of reply
messages. Messages are cut into `Data` frames of at most `FRAGMENT` bytes; `more` marks all but the
last fragment of a message. Ids are odd for calls of the dialling side and even for the other's, so
both may start calls. Each direction of a call may have `WINDOW` unacknowledged body bytes in
flight; the receiver returns them with `Credit` as it consumes them.
"""

from typing import Final

import msgspec

from ricochet_protocol.errors import garbage
from ricochet_protocol.framing import MAX_FRAME

WINDOW: Final = 256 * 1024
"""Bytes in flight per call and direction: as much as the stream below carries unread. Smaller ones
make large messages stop and wait, which costs more wake-ups than bytes."""
FRAGMENT: Final = 32 * 1024
MAX_MESSAGE: Final = 4 * 1024 * 1024
"""Largest message a peer may assemble here: a prompt of about a million tokens."""
MAX_WAIT: Final = 24 * 3600
"""Seconds a peer may want to be left alone: what resets daily is back by then."""
MAX_CALLS: Final = 256
"""Calls one peer may have open at once on a connection."""


class Frame(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="t"):
    """Base of the frames; the tag is one letter because every chunk of every answer carries it."""


class Data(Frame, frozen=True, tag="d"):
    """A fragment of the request (from the caller) or of a reply (from the callee)."""

    id: int
    body: bytes
    more: bool = False


class End(Frame, frozen=True, tag="e"):
    """The callee has sent its last reply."""

    id: int


class Fail(Frame, frozen=True, tag="f"):
    """The callee ends the call with an error; `code` is a `RemoteCode`.

    `wait` are seconds for which it wants no other ask, 0 when any time is good.
    """

    id: int
    code: str
    message: str
    hint: str = ""
    wait: int = 0


class Cancel(Frame, frozen=True, tag="c"):
    """The caller wants no more replies; the callee stops its work."""

    id: int


class Credit(Frame, frozen=True, tag="w"):
    """The receiver has consumed `bytes` more body bytes of this call."""

    id: int
    bytes: int


class Ping(Frame, frozen=True, tag="p"):
    """Asks for a Pong with the same number; silence means the peer is gone."""

    n: int


class Pong(Frame, frozen=True, tag="q"):
    """Answers a Ping."""

    n: int


AnyFrame = Data | End | Fail | Cancel | Credit | Ping | Pong

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(AnyFrame)
MAX_ID: Final = 2**53


def encode(frame: AnyFrame) -> bytes:
    """The payload for `framing.encode_frame`."""
    payload = _encoder.encode(frame)
    if len(payload) > MAX_FRAME:
        raise ValueError("frame too long: cut the body into fragments first")
    return payload


def decode_untrusted(payload: bytes) -> AnyFrame:
    """A frame from a peer; RemoteFault when it is not one or its numbers are out of range."""
    try:
        frame: AnyFrame = _decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise garbage("an unreadable frame") from None
    number = frame.n if isinstance(frame, Ping | Pong) else frame.id
    if not 0 <= number <= MAX_ID:
        raise garbage("a frame with an id out of range")
    if isinstance(frame, Data) and len(frame.body) > FRAGMENT:
        raise garbage("a fragment above the limit")
    if isinstance(frame, Fail) and not 0 <= frame.wait <= MAX_WAIT:
        raise garbage("a wait out of range")
    if isinstance(frame, Credit) and not 0 < frame.bytes <= WINDOW:
        raise garbage("a credit out of range")
    return frame
