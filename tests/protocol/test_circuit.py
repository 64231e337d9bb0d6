"""Messages of circuit relay v2: what they are as bytes, and that no bytes do harm."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from libp2p.relay.circuit_v2.pb import circuit_pb2

from ricochet_protocol.circuit import (
    MAX_ADDRS,
    MAX_MESSAGE,
    Limit,
    Message,
    Reservation,
    Status,
    encode_hop,
    encode_stop,
    hop_untrusted,
    length_untrusted,
    stop_untrusted,
)
from ricochet_protocol.errors import RemoteFault

PEER = bytes.fromhex("002408011220") + bytes(range(32))
U64 = st.integers(0, 2**64 - 1)
PEERS = st.one_of(st.just(b""), st.binary(min_size=1, max_size=64))
LIMITS = st.none() | st.builds(Limit, st.integers(0, 2**32 - 1), U64)
STATUSES = st.sampled_from([0, *Status])
RESERVATIONS = st.none() | st.builds(
    Reservation, U64, st.lists(st.binary(max_size=60), max_size=MAX_ADDRS).map(tuple)
)
HOPS = st.builds(Message, st.integers(0, 2), PEERS, RESERVATIONS, LIMITS, STATUSES)
STOPS = st.builds(
    Message, st.integers(0, 1), PEERS, reservation=st.none(), limit=LIMITS, status=STATUSES
)


def body(framed: bytes) -> bytes:
    """A message without its length, which is checked."""
    for size in range(1, 4):
        length = length_untrusted(framed[:size])
        if length is not None:
            assert len(framed) == size + length
            return framed[size:]
    raise AssertionError("no length")


@pytest.mark.parametrize(
    ("framed", "message"),
    [
        ("02 0800", Message(0)),
        ("2c 0801 1228 0a26" + PEER.hex(), Message(1, peer=PEER)),
        ("05 0802 28c801", Message(2, status=Status.RESERVATION_REFUSED)),
        (
            "1a 0802 1a0d 08ac02 1208 0408080808060fa1 2205 08880e 1005 2864",
            Message(
                2,
                reservation=Reservation(300, (bytes.fromhex("0408080808060fa1"),)),
                limit=Limit(1800, 5),
                status=Status.OK,
            ),
        ),
    ],
)
def test_a_hop_message_is_these_bytes(framed: str, message: Message) -> None:
    assert encode_hop(message) == bytes.fromhex(framed)
    assert hop_untrusted(body(bytes.fromhex(framed))) == message


@pytest.mark.parametrize(
    ("framed", "message"),
    [
        (
            "33 0800 1228 0a26" + PEER.hex() + "1a05 08880e 1005",
            Message(0, PEER, None, Limit(1800, 5)),
        ),
        ("04 0801 2064", Message(1, status=Status.OK)),
    ],
)
def test_a_stop_message_is_these_bytes(framed: str, message: Message) -> None:
    assert encode_stop(message) == bytes.fromhex(framed)
    assert stop_untrusted(body(bytes.fromhex(framed))) == message


@given(HOPS)
def test_libp2p_reads_and_writes_hop_messages_as_we_do(message: Message) -> None:
    framed = encode_hop(message)
    theirs = circuit_pb2.HopMessage.FromString(body(framed))
    assert (theirs.type, theirs.peer.id, theirs.status) == (
        message.kind, message.peer, message.status,
    )  # fmt: skip
    assert theirs.HasField("reservation") == (message.reservation is not None)
    if message.reservation is not None:
        assert theirs.reservation.expire == message.reservation.expire
        assert tuple(theirs.reservation.addrs) == message.reservation.addrs
    assert theirs.HasField("limit") == (message.limit is not None)
    if message.limit is not None:
        limit = theirs.limit
        assert (limit.duration, limit.data) == (message.limit.duration, message.limit.data)
    assert hop_untrusted(theirs.SerializeToString()) == message


@given(STOPS)
def test_libp2p_reads_and_writes_stop_messages_as_we_do(message: Message) -> None:
    theirs = circuit_pb2.StopMessage.FromString(body(encode_stop(message)))
    assert (theirs.type, theirs.peer.id, theirs.status) == (
        message.kind, message.peer, message.status,
    )  # fmt: skip
    assert theirs.HasField("limit") == (message.limit is not None)
    assert stop_untrusted(theirs.SerializeToString()) == message


@given(HOPS, st.binary(max_size=20))
def test_fields_that_are_not_known_are_passed_over(message: Message, record: bytes) -> None:
    theirs = circuit_pb2.HopMessage.FromString(body(encode_hop(message)))
    theirs.senderRecord = record
    if message.reservation is not None:
        theirs.reservation.voucher = record
    assert hop_untrusted(theirs.SerializeToString()) == message


@given(st.binary(max_size=300))
@example(b"\x08" + b"\xff" * 20)
@example(b"\x0a\x00")
@example(b"\x08\x00\x12\xff\xff\xff\xff\x7f")
@example(b"\x08\x00\x1a\x02\x0a\x00")
def test_any_bytes_are_a_message_or_garbage(data: bytes) -> None:
    for parse in (hop_untrusted, stop_untrusted):
        try:
            assert isinstance(parse(data), Message)
        except RemoteFault as fault:
            assert fault.code == "garbage"


@given(HOPS, st.data())
def test_a_cut_message_is_garbage_or_a_shorter_one(message: Message, data: st.DataObject) -> None:
    whole = body(encode_hop(message))
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    try:
        assert hop_untrusted(cut) != message
    except RemoteFault as fault:
        assert fault.code == "garbage"


def test_a_length_is_at_most_a_messages() -> None:
    assert length_untrusted(b"") is None and length_untrusted(b"\xff") is None
    assert length_untrusted(b"\x80\x20") == MAX_MESSAGE
    for head in (b"\x81\x20", b"\xff\xff\xff", b"\xff\xff\x7f"):
        with pytest.raises(RemoteFault):
            length_untrusted(head)


def test_more_addresses_than_anybody_needs_are_left_out() -> None:
    many = tuple(bytes([n]) for n in range(MAX_ADDRS + 5))
    read = hop_untrusted(body(encode_hop(Message(2, reservation=Reservation(1, many)))))
    assert read.reservation is not None and read.reservation.addrs == many[:MAX_ADDRS]
