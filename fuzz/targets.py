"""What is fuzzed: each target takes any bytes, and must refuse or understand them.

A target calls what the product calls on bytes of a peer and lets through only the errors that mean
"the peer is at fault"; everything else that is raised, and every broken promise, is a finding.
Promises are those a reader relies on: what was understood is understood again from its own
encoding, how bytes are cut changes nothing, and nothing is held that was not sent.
"""

import contextlib
import json
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

from fuzz.conversations import speak_multiplexer, speak_yamux
from ricochet_network.directory import Directory
from ricochet_protocol import circuit, eip712, messages, mux
from ricochet_protocol.answer import AnswerParts
from ricochet_protocol.errors import RemoteFault
from ricochet_protocol.framing import MAX_FRAME, FrameDecoder
from ricochet_protocol.ids import Hash32, NetworkId, PeerId, peer_public_key
from ricochet_protocol.multiaddr import circuit_untrusted, place_untrusted
from ricochet_protocol.signing import peer_of

VECTORS: Final = Path(__file__).parents[1] / "tests" / "vectors" / "wire.json"
PEER: Final = peer_of(bytes([7]) * 32)
SOURCE: Final = peer_of(bytes([8]) * 32)
NETWORK: Final = NetworkId("fuzz:1")
UNIX: Final = 1_800_000_000.0


class Target(NamedTuple):
    """`take` raises nothing for any bytes; `seeds` are bytes that lead into its depths."""

    take: Callable[[bytes], None]
    seeds: Callable[[], Iterator[bytes]]


def _framing(data: bytes) -> None:
    whole, cut = FrameDecoder(), FrameDecoder()
    try:
        frames = whole.feed_untrusted(data)
    except RemoteFault:
        return
    middle = data[0] * len(data) // 256 if data else 0
    assert cut.feed_untrusted(data[:middle]) + cut.feed_untrusted(data[middle:]) == frames
    assert whole.pending == cut.pending < MAX_FRAME + 4


def _frames(data: bytes) -> None:
    with contextlib.suppress(RemoteFault):
        frame = mux.decode_untrusted(data)
        assert mux.decode_untrusted(mux.encode(frame)) == frame


def _requests(data: bytes) -> None:
    with contextlib.suppress(RemoteFault):
        request = messages.request_untrusted(data)
        assert messages.request_untrusted(messages.encode(request)) == request
        if isinstance(request, messages.Ask):
            _ = request.features(), request.digest()
        elif isinstance(request, messages.Announce):
            _offered(request.adverts)


def _offered(adverts: tuple[Any, ...]) -> None:
    directory = Directory(PEER, NETWORK)
    for signed in adverts:
        # As it came, and again as if network and time were right: the checks behind those.
        for network, unix in ((NETWORK, UNIX), (signed.advert.network, signed.advert.issued_at)):
            aside = Directory(PEER, network)
            with contextlib.suppress(RemoteFault):
                aside.offer_untrusted(signed, SOURCE, 0.0, float(unix))
            for text in signed.advert.addresses:
                _placed(text, signed.advert.peer)
    assert len(directory.live(0.0)) == 0


def _replies(data: bytes) -> None:
    with contextlib.suppress(RemoteFault):
        reply = messages.reply_untrusted(data)
        assert messages.reply_untrusted(messages.encode(reply)) == reply
        if isinstance(reply, messages.Adverts):
            _offered(reply.adverts)
        elif isinstance(reply, messages.Chunk | messages.CallPiece):
            parts = AnswerParts(_ask())
            parts.add_untrusted(reply)
            parts.whole_untrusted()


@cache
def _ask() -> messages.Ask:
    asked = messages.request_untrusted(bytes.fromhex(_vectors()["requests"]["ask with all"]["hex"]))
    assert isinstance(asked, messages.Ask) and asked.tools
    return asked


def _signatures(data: bytes) -> None:
    with contextlib.suppress(RemoteFault):
        eip712.signer_untrusted(Hash32(data[:32].ljust(32, b"\0")), data[32:])


def _hop(data: bytes) -> None:
    with contextlib.suppress(RemoteFault):
        said = circuit.hop_untrusted(data)
        assert circuit.hop_untrusted(_unframed(circuit.encode_hop(said))) == said


def _stop(data: bytes) -> None:
    with contextlib.suppress(RemoteFault):
        said = circuit.stop_untrusted(data)
        assert circuit.stop_untrusted(_unframed(circuit.encode_stop(said))) == said


def _unframed(message: bytes) -> bytes:
    """A message of a circuit's protocol without its length, which the reader must find."""
    for end in range(4):
        try:
            length = circuit.length_untrusted(message[:end])
        except RemoteFault:
            # Read from a body longer than a stream lets through, and so is this one.
            assert len(message) > circuit.MAX_MESSAGE
            raise
        if length is not None:
            assert len(message) == end + length
            return message[end:]
    raise AssertionError("a length of more than three bytes")


def _multiaddr(data: bytes) -> None:
    _placed(data.decode("utf-8", "replace"), PEER)


def _placed(text: str, peer: PeerId) -> None:
    with contextlib.suppress(ValueError):
        peer_public_key(PeerId(text))
    for public in (False, True):
        place = place_untrusted(text, peer, public=public)
        if place is not None:
            assert place_untrusted(place.address, peer, public=public) == place
        found = circuit_untrusted(text, peer, public=public)
        if found is not None:
            assert circuit_untrusted(found.address, peer, public=public) == found


@cache
def _vectors() -> Any:
    return json.loads(VECTORS.read_text("utf-8"))


def _of(*groups: str) -> Callable[[], Iterator[bytes]]:
    def seeds() -> Iterator[bytes]:
        for group in groups:
            yield from (bytes.fromhex(one["hex"]) for one in _vectors()[group].values())

    return seeds


def _stream_seeds() -> Iterator[bytes]:
    yield bytes.fromhex(_vectors()["framing"]["stream"])
    for one in _of("frames")():
        yield len(one).to_bytes(4, "big") + one


def _circuit_seeds() -> Iterator[bytes]:
    peer, until = bytes(38), circuit.Reservation(int(UNIX), (b"\x04\x7f\0\0\1\x06\x10\0",))
    for kind in (0, 1, 2):
        said = circuit.Message(kind, peer, until, circuit.Limit(60, 1 << 20), 100)
        for encode in (circuit.encode_hop, circuit.encode_stop):
            yield _unframed(encode(said))
            yield _unframed(encode(circuit.Message(kind)))


def _address_seeds() -> Iterator[bytes]:
    at = "/ip4/9.9.9.9/tcp/4001"
    for text in (at, f"{at}/p2p/{PEER}", f"/ip6/2620:fe::fe/tcp/1/p2p/{PEER}"):
        yield text.encode()
    yield f"{at}/p2p/{SOURCE}/p2p-circuit/p2p/{PEER}".encode()


def _call_seeds() -> Iterator[bytes]:
    request = messages.encode(messages.GetAdverts())
    talks: tuple[tuple[mux.AnyFrame, ...], ...] = (
        (mux.Data(1, request), mux.Credit(1, 100), mux.Ping(3)),
        (mux.Data(1, request, more=True), mux.Data(1, request), mux.Cancel(1)),
        (mux.Data(1, b"x", more=True), mux.Cancel(1), mux.Cancel(1)),
        (mux.Data(2, b"reply"), mux.End(2), mux.Data(3, request)),
    )
    for talk in talks:
        frames = map(mux.encode, talk)
        yield b"".join(len(one).to_bytes(4, "big") + one for one in frames)


def _yamux_seeds() -> Iterator[bytes]:
    syn, data = bytes.fromhex("000100010000000100000000"), bytes.fromhex("000000000000000100000003")
    fin, rst = bytes.fromhex("000100040000000100000000"), bytes.fromhex("000100080000000100000000")
    credit, ping = bytes.fromhex("000100000000000200000100"), bytes.fromhex("00020001") + bytes(8)
    yield syn + data + b"abc" + fin
    yield syn + data + b"abc" + rst + data + b"abc"
    yield ping + credit + data + b"abc"
    yield bytes.fromhex("0000000500000003000000026869")


TARGETS: Final = {
    "framing": Target(_framing, _stream_seeds),
    "frames": Target(_frames, _of("frames")),
    "requests": Target(_requests, _of("requests")),
    "replies": Target(_replies, _of("replies")),
    "signatures": Target(_signatures, lambda: iter([bytes(96) + b"\x1b", bytes(97)])),
    "hop": Target(_hop, _circuit_seeds),
    "stop": Target(_stop, _circuit_seeds),
    "multiaddr": Target(_multiaddr, _address_seeds),
    "multiplexer": Target(speak_multiplexer, _call_seeds),
    "yamux": Target(speak_yamux, _yamux_seeds),
}
