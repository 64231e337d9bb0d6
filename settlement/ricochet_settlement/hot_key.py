"""Keys that a running process uses without a passphrase: `session.key` and peer identities.

The file is 64 hex digits and a line feed, mode 0600, and is never overwritten. Both kinds of key
have the same form: every 32 bytes are an Ed25519 seed, and those made here are also a valid
secp256k1 scalar. A hot key has no rights of its own beyond what the wallet grants it.
"""

import re
import secrets
from pathlib import Path
from typing import Final

from ricochet_protocol.errors import ConfigurationError
from ricochet_settlement.private_file import create_private, read_private

# The order of secp256k1's group; a private key lies in 1..order-1. Source: SEC 2, §2.4.1.
_ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
NODE_KEY: Final = "peer.key"
"""In a home: the identity of its node."""
RUNS_KEY: Final = "subscriber.key"
"""In a home: the identity of its runs, which may be at work while the node is."""
_FORM: Final = re.compile(rb"[0-9a-f]{64}\n?")


def load_or_create(path: Path) -> bytes:
    """The 32 bytes in `path`, made now when there is no such file.

    ConfigurationError when the file is damaged (`key_damaged`) or exposed to others.
    """
    if not path.exists():
        # When another process creates it first, its key is the one both use.
        create_private(path, new_key().hex().encode() + b"\n")
    text = read_private(path)
    if _FORM.fullmatch(text):
        key = bytes.fromhex(text.decode())
        if is_scalar(key):
            return key
    raise ConfigurationError(
        "key_damaged",
        f"{path} does not hold a key (64 hex digits)",
        f"Restore it from a backup, or move it away (`mv {path} {path}.old`) to get a new key.",
    )


def new_key() -> bytes:
    """32 random bytes that are a private key."""
    while not is_scalar(key := secrets.token_bytes(32)):
        continue
    return key


def is_scalar(key: bytes) -> bool:
    """Whether these 32 bytes are a secp256k1 private key."""
    return 0 < int.from_bytes(key, "big") < _ORDER
