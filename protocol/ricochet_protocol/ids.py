"""Names for the ids that travel between layers, and the only way each is made or checked.

A `PeerId` is libp2p's base58 text for an Ed25519 key, which contains the key itself: signatures of
peers are verified from the id alone. An `Address` is a 20-byte account as lower-case hex, so that
equality of strings is equality of accounts.
"""

import re
from typing import NewType

import base58

PeerId = NewType("PeerId", str)
Address = NewType("Address", str)
NetworkId = NewType("NetworkId", str)
ModelId = NewType("ModelId", str)
RequestId = NewType("RequestId", str)
"""32 lower-case hex digits, chosen by the client; the same id on the same node is the same call."""
Period = NewType("Period", int)
"""Ordinal of a subscriber's paid period, from 1."""
Hash32 = NewType("Hash32", bytes)

# Multihash "identity" (0x00) of 36 bytes (0x24): protobuf {type: Ed25519 (1), data: 32 bytes}.
# Source: libp2p peer-ids specification.
_ED25519_PREFIX = bytes.fromhex("002408011220")
_ADDRESS = re.compile(r"0x[0-9a-f]{40}")
_REQUEST_ID = re.compile(r"[0-9a-f]{32}")
MAX_UINT32 = 2**32 - 1


def peer_id(public_key: bytes) -> PeerId:
    """The id of the peer that holds this 32-byte Ed25519 public key."""
    if len(public_key) != 32:
        raise ValueError(f"an Ed25519 public key has 32 bytes, not {len(public_key)}")
    return PeerId(base58.b58encode(_ED25519_PREFIX + public_key).decode("ascii"))


def peer_public_key(peer: PeerId) -> bytes:
    """The 32-byte Ed25519 key inside a peer id; ValueError for any other kind of id."""
    if len(peer) > 64:
        raise ValueError("a peer id has at most 64 characters")
    raw = base58.b58decode(peer)
    if len(raw) != len(_ED25519_PREFIX) + 32 or not raw.startswith(_ED25519_PREFIX):
        raise ValueError("not the id of an Ed25519 peer")
    return raw[len(_ED25519_PREFIX) :]


def address(text: str) -> Address:
    """An account from `0x…` hex of any case; ValueError otherwise. Checksums are not required."""
    lowered = text.lower()
    if not _ADDRESS.fullmatch(lowered):
        raise ValueError(f"not an account address: {text!r}")
    return Address(lowered)


def request_id(text: str) -> RequestId:
    """A request id; ValueError unless it is 32 lower-case hex digits."""
    if not _REQUEST_ID.fullmatch(text):
        raise ValueError("a request id is 32 lower-case hex digits")
    return RequestId(text)
