"""The wire format is what it was: `tests/vectors/wire.json` holds every message and frame as bytes.

In the file bytes are base64 inside `fields` and hex in `hex`. A difference here means that peers of
an earlier version no longer understand us: raise the protocol's version before changing the file.
"""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from wire_samples import ADVERT, ASK, FRAMES, REPLIES, REQUESTS

from ricochet_protocol import circuit, messages, mux
from ricochet_protocol.framing import FrameDecoder, encode_frame

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "wire.json").read_text("utf-8"))
SAMPLES: dict[str, dict[str, Any]] = {
    "frames": dict(FRAMES),
    "requests": dict(REQUESTS),
    "replies": dict(REPLIES),
}
NAMES = [(group, name) for group, samples in SAMPLES.items() for name in samples]


def as_bytes(group: str, value: Any) -> bytes:
    return mux.encode(value) if group == "frames" else messages.encode(value)


def from_bytes(group: str, data: bytes) -> Any:
    parse = {
        "frames": mux.decode_untrusted,
        "requests": messages.request_untrusted,
        "replies": messages.reply_untrusted,
    }
    return parse[group](data)


def test_every_sample_has_a_vector_and_every_vector_a_sample() -> None:
    assert {group: list(VECTORS[group]) for group in SAMPLES} == {
        group: list(samples) for group, samples in SAMPLES.items()
    }


@pytest.mark.parametrize(("group", "name"), NAMES)
def test_bytes_and_fields_are_what_they_were(group: str, name: str) -> None:
    vector, value = VECTORS[group][name], SAMPLES[group][name]
    data = bytes.fromhex(vector["hex"])
    assert as_bytes(group, value) == data
    assert from_bytes(group, data) == value
    assert json.loads(msgspec.json.encode(value)) == vector["fields"]


def test_framing_is_what_it_was() -> None:
    vector = VECTORS["framing"]
    stream, frames = bytes.fromhex(vector["stream"]), [bytes.fromhex(f) for f in vector["frames"]]
    assert b"".join(map(encode_frame, frames)) == stream
    assert FrameDecoder().feed_untrusted(stream) == frames


def test_digests_are_what_they_were() -> None:
    assert {"ask": ASK.digest().hex(), "advert": ADVERT.digest().hex()} == VECTORS["digests"]


@pytest.mark.parametrize("name", VECTORS["circuits"])
def test_messages_of_circuits_are_what_they_were(name: str) -> None:
    vector = VECTORS["circuits"][name]
    message = msgspec.convert(vector["fields"], circuit.Message)
    framed = bytes.fromhex(vector["hex"])
    encode, read = {
        "hop": (circuit.encode_hop, circuit.hop_untrusted),
        "stop": (circuit.encode_stop, circuit.stop_untrusted),
    }[vector["protocol"]]
    assert encode(message) == framed
    assert circuit.length_untrusted(framed[:1]) == len(framed) - 1
    assert read(framed[1:]) == message
