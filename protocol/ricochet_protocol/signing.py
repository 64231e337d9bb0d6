"""The two signatures of the network: secp256k1 over EIP-712 digests, Ed25519 over peer statements.

Money is signed by accounts (the contract checks it), statements about service are signed by peers
(the peer id contains the key). Both verify without clock or state. Libraries are loaded on first
use: commands that only show what is signed import this module too.
"""

from functools import lru_cache
from typing import TYPE_CHECKING

from ricochet_protocol.ids import Address, Hash32, PeerId, peer_id, peer_public_key

if TYPE_CHECKING:
    from coincurve import PublicKey
    from nacl.signing import SigningKey

# Half the curve's order: the contract's ECDSA library refuses the larger twin of a signature.
_HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0


def keccak256(data: bytes) -> Hash32:
    """Ethereum's hash."""
    from Crypto.Hash import keccak

    return Hash32(keccak.new(digest_bits=256, data=data).digest())


def account_address(private_key: bytes) -> Address:
    """The account that a 32-byte secp256k1 private key controls."""
    from coincurve import PrivateKey

    return _address_of(PrivateKey(private_key).public_key)


def sign_digest(private_key: bytes, digest: Hash32) -> bytes:
    """65 bytes r ‖ s ‖ v with v 27 or 28 and low s, as the contract expects."""
    from coincurve import PrivateKey

    signature = PrivateKey(private_key).sign_recoverable(digest, hasher=None)
    return signature[:64] + bytes([signature[64] + 27])


def recover(digest: Hash32, signature: bytes) -> Address:
    """The account that signed `digest`; ValueError when the signature is malformed or high-s."""
    if len(signature) != 65 or signature[64] not in (27, 28):
        raise ValueError("a signature is 65 bytes ending in 27 or 28")
    if int.from_bytes(signature[32:64], "big") > _HALF_ORDER:
        raise ValueError("signature with the larger s")
    from coincurve import PublicKey

    compact = signature[:64] + bytes([signature[64] - 27])
    try:
        public = PublicKey.from_signature_and_message(compact, digest, hasher=None)
    except Exception as error:  # coincurve raises bare Exception for an unrecoverable point
        raise ValueError("signature recovers no key") from error
    return _address_of(public)


def _address_of(public: "PublicKey") -> Address:
    return Address("0x" + keccak256(public.format(compressed=False)[1:])[-20:].hex())


def peer_of(seed: bytes) -> PeerId:
    """The peer id of a 32-byte Ed25519 seed."""
    from nacl.signing import SigningKey

    return peer_id(bytes(SigningKey(seed).verify_key))


def sign_statement(seed: bytes, statement: bytes) -> bytes:
    """64 bytes of Ed25519 over `statement`, which must begin with its kind."""
    return _signing_key(seed).sign(statement).signature


@lru_cache(maxsize=16)
def _signing_key(seed: bytes) -> "SigningKey":
    from nacl.signing import SigningKey

    # Making one multiplies a point, as signing does: a node signs with the same one all its life.
    return SigningKey(seed)


def statement_is_from(peer: PeerId, statement: bytes, signature: bytes) -> bool:
    """Whether `peer` signed `statement`; False also for a malformed id or signature."""
    from nacl.exceptions import BadSignatureError
    from nacl.signing import VerifyKey

    try:
        VerifyKey(peer_public_key(peer)).verify(statement, signature)
    except (BadSignatureError, ValueError):
        return False
    return True
