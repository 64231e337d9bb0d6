"""How secrets are encrypted at rest: AES-256-GCM under a key that Argon2id makes of words.

Each secret is sealed alone, with a fresh nonce and its public record as associated data: whoever
changes where a key may be sent breaks its seal. cryptography is imported on use, because listing
keys must stay light.
"""

import secrets
from typing import Final

import msgspec

from ricochet_protocol.errors import ConfigurationError, UsageError

# RFC 9106, section 4, second recommendation; 0.12 s measured on one core.
MEMORY_KIB: Final = 64 * 1024
ITERATIONS: Final = 3
LANES: Final = 4
_MOST_MEMORY_KIB: Final = 1024 * 1024
_NONCE: Final = 12


class Kdf(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Argon2id's parameters, stored with what was sealed under them."""

    salt: bytes
    memory_kib: int = MEMORY_KIB
    iterations: int = ITERATIONS
    lanes: int = LANES

    def __post_init__(self) -> None:
        # A planted file must neither weaken the derivation nor exhaust the machine.
        if not MEMORY_KIB <= self.memory_kib <= _MOST_MEMORY_KIB:
            raise ValueError("memory out of range")
        if not ITERATIONS <= self.iterations <= 64 or not 0 < self.lanes <= 64:
            raise ValueError("iterations or lanes out of range")
        if len(self.salt) != 16:
            raise ValueError("a salt has 16 bytes")


class Box(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One sealed secret."""

    nonce: bytes
    ciphertext: bytes

    def __post_init__(self) -> None:
        if len(self.nonce) != _NONCE or len(self.ciphertext) < 16:
            raise ValueError("a box holds a nonce of 12 bytes and a ciphertext with its tag")


class SealBroken(Exception):
    """The box does not open with this key and record: one of the three is not the original."""


def new_kdf() -> Kdf:
    """Parameters with a fresh salt."""
    return Kdf(salt=secrets.token_bytes(16))


def master_key(passphrase: str, kdf: Kdf) -> bytes:
    """32 bytes from the passphrase; UsageError when it is empty.

    ConfigurationError `argon2_missing` where OpenSSL is too old to have Argon2id.
    """
    if not passphrase:
        raise UsageError("empty_passphrase", "the passphrase is empty", "choose one and type it")
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

    try:
        derivation = Argon2id(
            salt=kdf.salt,
            length=32,
            iterations=kdf.iterations,
            lanes=kdf.lanes,
            memory_cost=kdf.memory_kib,
        )
        return derivation.derive(passphrase.encode())
    except UnsupportedAlgorithm:
        raise ConfigurationError(
            "argon2_missing",
            "this build of the package cryptography has no Argon2id",
            "install its wheel: pip install --force-reinstall --only-binary=:all: cryptography",
        ) from None


def seal(key: bytes, secret: bytes, record: bytes) -> Box:
    """`secret` bound to `record`."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    nonce = secrets.token_bytes(_NONCE)
    return Box(nonce=nonce, ciphertext=AESGCM(key).encrypt(nonce, secret, record))


def unseal(key: bytes, box: Box, record: bytes) -> bytes:
    """What was sealed; SealBroken when key, box or record differ."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    try:
        return AESGCM(key).decrypt(box.nonce, box.ciphertext, record)
    except InvalidTag:
        raise SealBroken from None
