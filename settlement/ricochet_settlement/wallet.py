"""The account of a subscriber or operator: `wallet.json`, a Web3 Secret Storage V3 keystore.

The address stands in clear in the file, so that showing it needs neither the passphrase nor the
cryptography, which takes half a second to import. Other wallets open the file too, and theirs are
opened here. Nothing ever overwrites a wallet: it may be the only way to someone's money.
"""

import re
from pathlib import Path
from typing import Any, Final

import msgspec

from ricochet_protocol.errors import ConfigurationError
from ricochet_protocol.ids import Address, address
from ricochet_protocol.signing import account_address
from ricochet_settlement.hot_key import is_scalar, new_key
from ricochet_settlement.private_file import create_private, read_private

SCRYPT_N: Final = 2**17
"""With r=8 and p=1: 128 MiB and 0.3 s measured on one core; OWASP's recommendation for scrypt."""
_KEY: Final = re.compile(r"[0-9a-fA-F]{64}")
_ADDRESS: Final = re.compile(r"(0x)?[0-9a-fA-F]{40}")


class _Keystore(msgspec.Struct, frozen=True):
    """The parts that are read without decrypting; the library checks the rest."""

    address: str
    crypto: dict[str, Any]
    version: int

    def __post_init__(self) -> None:
        if self.version != 3 or not _ADDRESS.fullmatch(self.address):
            raise ValueError("not a keystore of version 3 with an address")


def create(path: Path, passphrase: str) -> Address:
    """Make a new account encrypted under `passphrase`; its address.

    ConfigurationError `wallet_exists` when there is a file already.
    """
    return import_key(path, new_key(), passphrase)


def import_key(path: Path, key: bytes, passphrase: str) -> Address:
    """Encrypt an account that exists already under `passphrase`; its address.

    ConfigurationError `wallet_exists`.
    """
    refuse_existing(path)
    from eth_account import Account

    keystore = Account.encrypt(key, passphrase, kdf="scrypt", iterations=SCRYPT_N)
    _place(path, msgspec.json.encode(keystore) + b"\n")
    return account_address(key)


def import_keystore(path: Path, keystore: Path, passphrase: str) -> Address:
    """Take over another wallet's V3 file, whose passphrase stays its own; the address.

    ConfigurationError `wallet_exists`, `wrong_passphrase`, `wallet_damaged`, `file_exposed`.
    """
    refuse_existing(path)
    key = unlock(keystore, passphrase)
    _place(path, read_private(keystore))
    return account_address(key)


def parse_key(text: str) -> bytes:
    """A private key from 64 hex digits; ConfigurationError `bad_key`, which does not quote it."""
    digits = text.strip().removeprefix("0x")
    if _KEY.fullmatch(digits):
        key = bytes.fromhex(digits)
        if is_scalar(key):
            return key
    raise ConfigurationError(
        "bad_key", "that is not a private key", "A private key is 64 hex digits."
    )


def is_keystore(path: Path) -> bool:
    """Whether the file looks like a V3 keystore rather than a bare key."""
    return read_private(path).lstrip().startswith(b"{")


def refuse_existing(path: Path) -> None:
    """ConfigurationError `wallet_exists` when there is a wallet, which nothing overwrites."""
    if path.exists():
        raise _exists(path)


def address_of(path: Path) -> Address:
    """The account's address, as the file states it; ConfigurationError `no_wallet` without one."""
    stated = _load(path).address
    return address("0x" + stated.removeprefix("0x"))


def unlock(path: Path, passphrase: str) -> bytes:
    """The account's 32-byte private key; ConfigurationError `wrong_passphrase`."""
    stated = address_of(path)
    keystore = msgspec.to_builtins(_load(path))
    from eth_account import Account

    try:
        key = bytes(Account.decrypt(keystore, passphrase))
        actual = address(Account.from_key(key).address)
    except (ValueError, TypeError, KeyError, OverflowError, MemoryError) as error:
        # The library tells a wrong passphrase from a damaged file only by this text.
        if str(error) == "MAC mismatch":
            raise ConfigurationError(
                "wrong_passphrase",
                f"the passphrase does not open {path}",
                "Try again; the passphrase was chosen at `ricochet wallet new`. If the keyring "
                "keeps another one, run `ricochet wallet remember`.",
            ) from None
        raise _damaged(path) from None
    if actual != stated:
        raise _damaged(path)
    return key


def _load(path: Path) -> _Keystore:
    if not path.exists():
        raise ConfigurationError(
            "no_wallet", f"there is no wallet at {path}", "Run `ricochet wallet new`."
        )
    try:
        return msgspec.json.decode(read_private(path), type=_Keystore)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _damaged(path) from None


def _place(path: Path, text: bytes) -> None:
    if not create_private(path, text):
        raise _exists(path)


def _exists(path: Path) -> ConfigurationError:
    return ConfigurationError(
        "wallet_exists",
        f"there is a wallet at {path} already; it was not touched",
        "Run `ricochet wallet show`, or choose another folder with --home.",
    )


def _damaged(path: Path) -> ConfigurationError:
    return ConfigurationError(
        "wallet_damaged", f"{path} is not a usable wallet file", "Restore it from a backup."
    )
