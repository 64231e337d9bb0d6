"""Both signatures verify what was signed and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ricochet_protocol.ids import PeerId
from ricochet_protocol.signing import (
    account_address,
    keccak256,
    peer_of,
    recover,
    sign_digest,
    sign_statement,
    statement_is_from,
)

KEY = bytes([7]) * 32
SEED = bytes([9]) * 32
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


def test_keccak_of_nothing() -> None:
    # The well-known hash of empty code.
    assert keccak256(b"").hex() == (
        "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"
    )


@given(st.binary(max_size=64))
def test_the_signer_is_recovered(data: bytes) -> None:
    digest = keccak256(data)
    assert recover(digest, sign_digest(KEY, digest)) == account_address(KEY)


@given(st.binary(min_size=60, max_size=70))
def test_malformed_signatures_recover_nobody_or_a_stranger(signature: bytes) -> None:
    try:
        signer = recover(keccak256(b"x"), signature)
    except ValueError:
        return
    assert signer != account_address(KEY)


def test_the_high_s_twin_is_refused() -> None:
    digest = keccak256(b"x")
    low = sign_digest(KEY, digest)
    high_s = ORDER - int.from_bytes(low[32:64], "big")
    high = low[:32] + high_s.to_bytes(32, "big") + bytes([55 - low[64]])
    with pytest.raises(ValueError, match="larger s"):
        recover(digest, high)


@given(st.binary(max_size=64), st.binary(max_size=64))
def test_a_statement_is_bound_to_its_peer_and_bytes(said: bytes, other: bytes) -> None:
    signature = sign_statement(SEED, said)
    assert statement_is_from(peer_of(SEED), said, signature)
    assert statement_is_from(peer_of(SEED), other, signature) == (said == other)
    assert not statement_is_from(peer_of(KEY), said, signature)


@given(st.text(max_size=60), st.binary(max_size=70))
def test_nonsense_verifies_as_false(peer: str, signature: bytes) -> None:
    assert not statement_is_from(PeerId(peer), b"statement", signature)
    assert not statement_is_from(peer_of(SEED), b"statement", signature)
