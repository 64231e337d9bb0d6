"""The messages of circuit relay v2: what a peer and its relay say to each other, as bytes.

libp2p's specification (`relay/circuit-v2.md`) writes them in protobuf; here is what they use of it.
A message on a stream is its length as a varint and then its fields. Reading is strict in
what counts (a wrong type of a known field, a cut or endless message is `garbage`) and, as protobuf
demands, blind to fields it does not know.

Both protocols have one shape, a `Message` whose `kind` means another thing in each: `HOP_*` between
a peer and the relay, `STOP_*` between the relay and the peer that is called.
"""

from enum import IntEnum
from typing import Final

import msgspec

from ricochet_protocol.errors import garbage

HOP: Final = "/libp2p/circuit/relay/0.2.0/hop"
STOP: Final = "/libp2p/circuit/relay/0.2.0/stop"
MAX_MESSAGE: Final = 4096
"""Bytes of a message: what go-libp2p reads at most."""
MAX_ADDRS: Final = 16
"""Addresses that are read of one message; the rest is skipped."""
HOP_RESERVE, HOP_CONNECT, HOP_STATUS = 0, 1, 2
STOP_CONNECT, STOP_STATUS = 0, 1
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_U64: Final = 2**64
Fields = dict[int, list[int | bytes]]


class Status(IntEnum):
    """How a request went; numbers and meanings are the specification's."""

    OK = 100
    RESERVATION_REFUSED = 200
    RESOURCE_LIMIT_EXCEEDED = 201
    PERMISSION_DENIED = 202
    CONNECTION_FAILED = 203
    NO_RESERVATION = 204
    MALFORMED_MESSAGE = 400
    UNEXPECTED_MESSAGE = 401


class Reservation(msgspec.Struct, frozen=True):
    """Until when (Unix seconds) a relay passes on, and its addresses as binary multiaddrs."""

    expire: int
    addrs: tuple[bytes, ...] = ()


class Limit(msgspec.Struct, frozen=True):
    """What one circuit may last in seconds and carry in bytes each way; 0 is without limit."""

    duration: int = 0
    data: int = 0


class Message(msgspec.Struct, frozen=True):
    """One message; `peer` is a binary peer id, empty for none, `status` 0 for none."""

    kind: int
    peer: bytes = b""
    reservation: Reservation | None = None
    limit: Limit | None = None
    status: int = 0


def encode_hop(message: Message) -> bytes:
    """A message of the hop protocol, with its length."""
    body = _number(1, message.kind) + _peer(message.peer)
    if message.reservation is not None:
        inner = _number(1, message.reservation.expire)
        inner += b"".join(_bytes(2, one) for one in message.reservation.addrs)
        body += _bytes(3, inner)
    return _framed(body + _limit(4, message.limit) + _status(5, message.status))


def encode_stop(message: Message) -> bytes:
    """A message of the stop protocol, which knows no reservation, with its length."""
    body = _number(1, message.kind) + _peer(message.peer)
    return _framed(body + _limit(3, message.limit) + _status(4, message.status))


def hop_untrusted(body: bytes) -> Message:
    """Read a hop message without its length; RemoteFault `garbage`."""
    fields = _fields_untrusted(body)
    reservation = None
    if 3 in fields:
        inner = _fields_untrusted(_last_bytes(fields, 3))
        addrs = inner.get(2, [])[:MAX_ADDRS]
        reservation = Reservation(_last_number(inner, 1), tuple(_as_bytes(one) for one in addrs))
    return _message(fields, reservation, 4, 5)


def stop_untrusted(body: bytes) -> Message:
    """Read a stop message without its length; RemoteFault `garbage`."""
    return _message(_fields_untrusted(body), None, 3, 4)


def length_untrusted(head: bytes) -> int | None:
    """The length that a message's first bytes tell, None while more are needed.

    RemoteFault `garbage` for one that no message has.
    """
    if head and head[-1] < 0x80:
        length, _ = _varint_untrusted(head, 0)
        if length > MAX_MESSAGE:
            raise garbage("a relay message that is too long")
        return length
    if len(head) > 2:
        raise garbage("the length of a relay message")
    return None


def _message(
    fields: Fields, reservation: Reservation | None, limit_at: int, status_at: int
) -> Message:
    if 1 not in fields:
        raise garbage("a relay message without a type")
    limit, peer = None, b""
    if 2 in fields:
        peer = _last_bytes(_fields_untrusted(_last_bytes(fields, 2)), 1)
    if limit_at in fields:
        inner = _fields_untrusted(_last_bytes(fields, limit_at))
        limit = Limit(_last_number(inner, 1) % 2**32, _last_number(inner, 2))
    return Message(
        kind=_last_number(fields, 1),
        peer=peer,
        reservation=reservation,
        limit=limit,
        status=_last_number(fields, status_at),
    )


def _fields_untrusted(body: bytes) -> Fields:
    """All fields of a protobuf message by number, in their order."""
    fields: Fields = {}
    at = 0
    while at < len(body):
        tag, at = _varint_untrusted(body, at)
        number, kind = tag >> 3, tag & 7
        if not 0 < number < 2**29:
            raise garbage("a field of a relay message")
        if kind == _VARINT:
            value, at = _varint_untrusted(body, at)
            fields.setdefault(number, []).append(value)
            continue
        if kind == _BYTES:
            size, at = _varint_untrusted(body, at)
        elif kind in (_FIXED32, _FIXED64):
            size = 4 if kind == _FIXED32 else 8
        else:
            raise garbage("a field of a relay message")
        if at + size > len(body):
            raise garbage("a relay message that is cut")
        fields.setdefault(number, []).append(body[at : at + size])
        at += size
    return fields


def _varint_untrusted(data: bytes, at: int) -> tuple[int, int]:
    """A varint and where it ends."""
    value = 0
    for count in range(10):
        if at + count >= len(data):
            raise garbage("a relay message that is cut")
        byte = data[at + count]
        value |= (byte & 0x7F) << (7 * count)
        if byte < 0x80:
            if value >= _U64:
                break
            return value, at + count + 1
    raise garbage("a number of a relay message")


def _as_bytes(value: int | bytes) -> bytes:
    if isinstance(value, bytes):
        return value
    raise garbage("a field of a relay message")


def _last_bytes(fields: Fields, number: int) -> bytes:
    return _as_bytes(fields[number][-1]) if number in fields else b""


def _last_number(fields: Fields, number: int) -> int:
    value = fields[number][-1] if number in fields else 0
    if isinstance(value, int):
        return value
    raise garbage("a field of a relay message")


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))


def _number(number: int, value: int) -> bytes:
    return _varint(number << 3 | _VARINT) + _varint(value)


def _bytes(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | _BYTES) + _varint(len(value)) + value


def _peer(peer: bytes) -> bytes:
    return _bytes(2, _bytes(1, peer)) if peer else b""


def _limit(number: int, limit: Limit | None) -> bytes:
    if limit is None:
        return b""
    return _bytes(number, _number(1, limit.duration) + _number(2, limit.data))


def _status(number: int, status: int) -> bytes:
    return _number(number, status) if status else b""


def _framed(body: bytes) -> bytes:
    return _varint(len(body)) + body
