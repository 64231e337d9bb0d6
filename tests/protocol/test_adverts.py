"""Adverts: what they may say, and that only the peer's own, timely word is believed."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from wire_samples import ADVERT, NODE_SEED, OFFER, SIGNED_ADVERT

from ricochet_protocol.advert import (
    CLOCK_TOLERANCE,
    Advert,
    SignedAdvert,
    check_advert_untrusted,
    sign_advert,
)
from ricochet_protocol.errors import RemoteFault
from ricochet_protocol.ids import ModelId, NetworkId, PeerId
from ricochet_protocol.signing import peer_of

NOW = float(ADVERT.issued_at)
_decoder = msgspec.msgpack.Decoder(SignedAdvert)


def changed(**changes: Any) -> Advert:
    return msgspec.structs.replace(ADVERT, **changes)


def test_a_signed_advert_is_believed_within_the_tolerance() -> None:
    for now in (NOW - CLOCK_TOLERANCE, NOW, NOW + CLOCK_TOLERANCE):
        assert check_advert_untrusted(SIGNED_ADVERT, ADVERT.network, now) == ADVERT


REFUSED = {
    "another network": (SIGNED_ADVERT, NetworkId("eip155:1:0x"), NOW),
    "too early": (SIGNED_ADVERT, ADVERT.network, NOW - CLOCK_TOLERANCE - 1),
    "too late": (SIGNED_ADVERT, ADVERT.network, NOW + CLOCK_TOLERANCE + 1),
    "another signer": (sign_advert(b"\x99" * 32, ADVERT), ADVERT.network, NOW),
    "changed after signing": (
        SignedAdvert(changed(seq=8), SIGNED_ADVERT.signature),
        ADVERT.network,
        NOW,
    ),
    "no signature": (SignedAdvert(ADVERT, b""), ADVERT.network, NOW),
    "a peer that is no key": (
        SignedAdvert(changed(peer=PeerId("nobody")), SIGNED_ADVERT.signature),
        ADVERT.network,
        NOW,
    ),
    "a peer outside base58": (
        SignedAdvert(changed(peer=PeerId("0OIl")), SIGNED_ADVERT.signature),
        ADVERT.network,
        NOW,
    ),
    "oversized": (
        sign_advert(
            NODE_SEED,
            changed(
                models=tuple(
                    msgspec.structs.replace(OFFER, id=ModelId(f"{n:03d}" + "漢" * 125))
                    for n in range(64)
                ),
                permissions=(),
            ),
        ),
        ADVERT.network,
        NOW,
    ),
}


@pytest.mark.parametrize(("signed", "network", "now"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_believed_is_refused(
    signed: SignedAdvert, network: NetworkId, now: float
) -> None:
    with pytest.raises(RemoteFault) as caught:
        check_advert_untrusted(signed, network, now)
    assert caught.value.code == "garbage"


OUT_OF_RANGE: dict[str, dict[str, Any]] = {
    "operator in capitals": {"operator": "0x" + "AB" * 20},
    "operator of wrong length": {"operator": "0xab"},
    "no address": {"addresses": ()},
    "too many addresses": {"addresses": ("/ip4/127.0.0.1/tcp/1",) * 9},
    "a long address": {"addresses": ("/" * 257,)},
    "a long peer": {"peer": "1" * 65},
    "too many models": {"models": (OFFER,) * 65},
    "a long region": {"region": "x" * 33},
    "a long version": {"version": "x" * 33},
    "a negative seq": {"seq": -1},
    "no ttl": {"ttl": 0},
    "a long ttl": {"ttl": 601},
}


@pytest.mark.parametrize("changes", OUT_OF_RANGE.values(), ids=OUT_OF_RANGE.keys())
def test_values_out_of_range_can_neither_be_made_nor_parsed(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        changed(**changes)
    fields = msgspec.to_builtins(SIGNED_ADVERT, builtin_types=[bytes])
    fields["advert"].update(msgspec.to_builtins(changes))
    with pytest.raises(msgspec.ValidationError):
        _decoder.decode(msgspec.msgpack.encode(fields))


@given(st.integers(0, 10_000), st.binary(min_size=1, max_size=3))
def test_a_damaged_advert_is_never_believed(at: int, patch: bytes) -> None:
    data = msgspec.msgpack.encode(SIGNED_ADVERT)
    at %= len(data)
    damaged = (data[:at] + patch + data[at + len(patch) :])[: len(data)]
    try:
        signed = _decoder.decode(damaged)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return
    if signed == SIGNED_ADVERT:
        return
    with pytest.raises(RemoteFault):
        check_advert_untrusted(signed, ADVERT.network, NOW)


@given(st.text(max_size=64), st.binary(max_size=80))
def test_any_peer_and_signature_give_a_remote_fault(peer: str, signature: bytes) -> None:
    with pytest.raises(RemoteFault):
        check_advert_untrusted(
            SignedAdvert(changed(peer=PeerId(peer)), signature), ADVERT.network, NOW
        )


def test_an_offer_is_found_by_its_model() -> None:
    assert ADVERT.offer(OFFER.id) == OFFER
    assert ADVERT.offer(ModelId("another")) is None
    assert ADVERT.peer == peer_of(NODE_SEED)
