"""Ids are made and refused in one place."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ricochet_protocol.ids import PeerId, address, peer_id, peer_public_key, request_id
from ricochet_protocol.signing import peer_of


@given(st.binary(min_size=32, max_size=32))
def test_a_peer_id_contains_its_key(key: bytes) -> None:
    peer = peer_id(key)
    assert peer.startswith("12D3KooW")
    assert peer_public_key(peer) == key


def test_a_known_seed_gives_libp2ps_peer_id() -> None:
    # From libp2p's own library: ID.from_pubkey of the Ed25519 key with this seed.
    assert peer_of(bytes(range(32))) == "12D3KooWA4Xop1JaT3MHxwYMkCepYsv4iPVopMXwCz5iHYdBfeSB"


@given(st.text(max_size=80))
def test_other_text_is_no_peer_id(text: str) -> None:
    try:
        key = peer_public_key(PeerId(text))
    except ValueError:
        return
    assert peer_id(key) == text


@given(st.binary(min_size=20, max_size=20))
def test_addresses_are_lower_case(raw: bytes) -> None:
    assert address("0x" + raw.hex().upper()) == "0x" + raw.hex()


@pytest.mark.parametrize(
    "text", ["", "0x", "0x" + "g" * 40, "0x" + "a" * 39, "a" * 40, "0x" + "a" * 41]
)
def test_other_text_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match="not an account address"):
        address(text)


@pytest.mark.parametrize("text", ["", "0" * 31, "0" * 33, "A" * 32, "0" * 32 + "\n"])
def test_other_text_is_no_request_id(text: str) -> None:
    with pytest.raises(ValueError):
        request_id(text)
