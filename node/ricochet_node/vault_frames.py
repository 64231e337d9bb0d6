"""What the node and its vault say to each other on the line between them.

Each frame is four bytes of big-endian length and one msgpack array. Calls are told apart by a
number that the node chooses. Of each the vault says either `Whole`, or `Begun`, any number of
`Data` and `End`; `Cut` may come at any time and is the last.
"""

from collections.abc import Iterator
from typing import Any, Final, Generic, TypeVar

import msgspec

MAX_FRAME: Final = 16 * 1024 * 1024
"""Above the largest request, and far above what of an answer is read at once."""
MAX_HELLO: Final = 256
"""Until a caller has shown the token."""
_LENGTH: Final = 4


class Frame(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Base of every frame."""


class Hello(Frame, frozen=True, tag=0):
    """The node's first frame."""

    token: str


class Call(Frame, frozen=True, tag=1):
    """Ask for `target`, a path as in `vault`, with POST."""

    number: int
    target: str
    body: bytes


class Leave(Frame, frozen=True, tag=2):
    """Nobody waits for this answer any more."""

    number: int


class Hold(Frame, frozen=True, tag=3):
    """More of this answer than is read waits already."""

    number: int


class Resume(Frame, frozen=True, tag=4):
    """It was read."""

    number: int


class Whole(Frame, frozen=True, tag=5):
    """An answer that came at once."""

    number: int
    status: int
    headers: dict[str, str]
    body: bytes


class Begun(Frame, frozen=True, tag=6):
    """The beginning of another."""

    number: int
    status: int
    headers: dict[str, str]


class Data(Frame, frozen=True, tag=7):
    """Some of it."""

    number: int
    data: bytes


class End(Frame, frozen=True, tag=8):
    """The last of it, possibly nothing."""

    number: int
    data: bytes


class Cut(Frame, frozen=True, tag=9):
    """It ended before its end."""

    number: int


ToVault = Hello | Call | Leave | Hold | Resume
FromVault = Whole | Begun | Data | End | Cut
T = TypeVar("T")

_encode = msgspec.msgpack.Encoder().encode


class BadFrame(Exception):
    """The other side does not speak this protocol: the line is worth nothing any more."""


def encode(frame: ToVault | FromVault) -> bytes:
    """The frame with its length."""
    data = _encode(frame)
    return len(data).to_bytes(_LENGTH, "big") + data


class Cutter(Generic[T]):
    """Cuts what comes, in whatever pieces, into frames of at most `most` bytes."""

    def __init__(self, kind: Any, most: int = MAX_FRAME) -> None:
        self._decoder: msgspec.msgpack.Decoder[T] = msgspec.msgpack.Decoder(kind)
        self._kept = bytearray()
        self.most = most

    def feed_untrusted(self, data: bytes) -> Iterator[T]:
        """The frames that are whole now; BadFrame, after which it is of no more use.

        Each is cut when it is asked for, so that one may raise `most` for those behind it.
        """
        self._kept += data
        at, known = 0, len(self._kept)
        with memoryview(self._kept) as kept:
            while known - at >= _LENGTH:
                size = int.from_bytes(kept[at : at + _LENGTH], "big")
                if size > self.most:
                    raise BadFrame
                if known - at - _LENGTH < size:
                    break
                at += _LENGTH
                yield self._decoded(kept[at : at + size])
                at += size
        del self._kept[:at]

    def _decoded(self, data: memoryview) -> T:
        try:
            return self._decoder.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise BadFrame from None
