"""Provider keys at rest: `keys.json`, readable by its owner only, each key sealed on its own.

What a key is for (id, provider, origin, last four characters) stands in clear, so that listing
needs no passphrase, and is sealed with the key, so that changing it breaks the seal. The first key
added sets the passphrase; a `check` box tells a wrong passphrase from a damaged record. Only the
vault calls `unlock`.

Each change is made under a lock and replaces the file in one step. An export is a keystore of its
own, under a passphrase of its own.
"""

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from ricochet_node.origin import parse_origin
from ricochet_node.providers import provider_of
from ricochet_node.secrets_check import check_secret
from ricochet_protocol.errors import ConfigurationError, UsageError
from ricochet_settlement.file_lock import locked
from ricochet_settlement.private_file import read_private, write_private
from ricochet_settlement.sealing import Box, Kdf, SealBroken, master_key, new_kdf, seal, unseal

FILE_NAME: Final = "keys.json"
_ID: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_CHECK: Final = b"ricochet/keystore/1"
_SHOWN_FROM: Final = 16
"""Shorter secrets show nothing: four characters would be too large a part of them."""


class KeyInfo(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What may be known of a key; `origin` is the only place it is ever sent to."""

    id: str
    provider: str
    origin: str
    last4: str

    def statement(self) -> bytes:
        """The associated data of the seal."""
        fields = (self.id, self.provider, self.origin, self.last4)
        return _CHECK + b"\0" + msgspec.json.encode(fields)


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    info: KeyInfo
    box: Box


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: int
    kdf: Kdf
    check: Box
    keys: tuple[_Entry, ...]

    def __post_init__(self) -> None:
        if self.version != 1:
            raise ValueError("version is not 1")


_Opened = list[tuple[KeyInfo, str]]
"""Keys with their secrets: in memory only, on their way from one seal to another."""


class Keystore:
    """The keys of one home folder; nothing is cached, the file is the state."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def list(self) -> tuple[KeyInfo, ...]:
        """What is known of each key, in the order of adding; empty without a file."""
        file = self._load()
        return tuple(entry.info for entry in file.keys) if file else ()

    def add(self, passphrase: str, key_id: str, provider: str, origin: str, secret: str) -> KeyInfo:
        """Seal a key to `origin`. UsageError names the argument that is wrong.

        `secret` may be empty for a provider that needs none.

        ConfigurationError `wrong_passphrase` when it is not the one the other keys have.
        """
        secret = secret.strip()
        _check_name("key id", key_id)
        _check_name("provider", provider)
        _check_wanted(provider, secret)
        origin = parse_origin(origin).text
        info = KeyInfo(id=key_id, provider=provider, origin=origin, last4=_last4(secret))
        self._extend(passphrase, [(info, secret)])
        return info

    def rotate(self, passphrase: str, key_id: str, secret: str) -> KeyInfo:
        """Put a new secret in the place of the old one; id, provider and origin stay.

        UsageError for a wrong secret; ConfigurationError `no_key`, `wrong_passphrase`,
        `keystore_damaged`.
        """
        secret = secret.strip()
        with locked(self._path):
            file = self._load()
            entry = self._entry(file, key_id)
            assert file is not None
            _check_wanted(entry.info.provider, secret)
            key = self._key(passphrase, file)
            # An edited record must not become a sealed one.
            self._open(key, entry)
            info = msgspec.structs.replace(entry.info, last4=_last4(secret))
            changed = _sealed(key, info, secret)
            keys = tuple(changed if other is entry else other for other in file.keys)
            self._save(msgspec.structs.replace(file, keys=keys))
        return info

    def change_passphrase(self, old: str, new: str) -> int:
        """Seal all keys under a new passphrase, in one step; how many there are.

        ConfigurationError `no_key` without keys, `wrong_passphrase`, `keystore_damaged`.
        """
        with locked(self._path):
            opened = self._opened(old, ())
            file, key = _new_file(new)
            keys = tuple(_sealed(key, info, secret) for info, secret in opened)
            self._save(msgspec.structs.replace(file, keys=keys))
        return len(keys)

    def check(self, passphrase: str) -> None:
        """ConfigurationError `no_key` or `wrong_passphrase` unless it opens all keys."""
        self._opened(passphrase, ())

    def export(self, passphrase: str, key_ids: Iterable[str], to: Path, export_phrase: str) -> int:
        """Write some keys (none named: all) into a new keystore; how many.

        ConfigurationError as from `change_passphrase`; UsageError `file_exists`.
        """
        opened = self._opened(passphrase, tuple(key_ids))
        if to.exists():
            raise UsageError("file_exists", f"{to} exists already", "choose another name")
        Keystore(to)._extend(export_phrase, opened)
        return len(opened)

    def take_in(self, passphrase: str, source: Path, export_phrase: str) -> tuple[KeyInfo, ...]:
        """Add all keys of an export, or none of them; what was added.

        UsageError `duplicate_key`; ConfigurationError as for `unlock`, for either file.
        """
        opened = Keystore(source)._opened(export_phrase, ())
        for info, secret in opened:
            _check_wanted(info.provider, secret)
        self._extend(passphrase, opened)
        return tuple(info for info, _ in opened)

    def _extend(self, passphrase: str, added: _Opened) -> None:
        with locked(self._path):
            file = self._load()
            known = {entry.info.id for entry in file.keys} if file else set()
            for info, _ in added:
                if info.id in known:
                    raise UsageError(
                        "duplicate_key",
                        f"there is a key {info.id!r} already",
                        f"choose another name, or run `ricochet keys remove {info.id}` first; "
                        f"`ricochet keys rotate {info.id}` replaces its secret",
                    )
            if file is None or not file.keys:
                file, key = _new_file(passphrase)
            else:
                key = self._key(passphrase, file)
            entries = (_sealed(key, info, secret) for info, secret in added)
            self._save(msgspec.structs.replace(file, keys=(*file.keys, *entries)))

    def _opened(self, passphrase: str, key_ids: tuple[str, ...]) -> _Opened:
        file = self._load()
        if file is None or not file.keys:
            raise ConfigurationError(
                "no_key", f"{self._path} holds no keys", "add one with `ricochet keys add`"
            )
        every = tuple(entry.info.id for entry in file.keys)
        return self.unlock_all(passphrase, key_ids or every)

    def remove(self, key_id: str) -> KeyInfo:
        """Forget a key; ConfigurationError `no_key` when there is none of this id."""
        with locked(self._path):
            file = self._load()
            entry = self._entry(file, key_id)
            assert file is not None
            rest = tuple(other for other in file.keys if other is not entry)
            self._save(msgspec.structs.replace(file, keys=rest))
        return entry.info

    def marks(self) -> dict[str, str]:
        """By key id, what tells its record from the one that was there before or comes after."""
        file = self._load()
        entries = file.keys if file else ()
        return {one.info.id: hashlib.sha256(one.box.ciphertext).hexdigest()[:32] for one in entries}

    def find(self, key_id: str) -> KeyInfo:
        """What is known of one key; ConfigurationError `no_key`."""
        return self._entry(self._load(), key_id).info

    def unlock(self, passphrase: str, key_id: str) -> str:
        """The secret itself, for the vault.

        ConfigurationError `no_key`, `wrong_passphrase` or `keystore_damaged`.
        """
        ((_, secret),) = self.unlock_all(passphrase, (key_id,))
        return secret

    def unlock_all(self, passphrase: str, key_ids: tuple[str, ...]) -> _Opened:
        """Several keys with their secrets, at the cost of one; errors as of `unlock`."""
        file = self._load()
        entries = [self._entry(file, key_id) for key_id in key_ids]
        if file is None or not entries:
            return []
        key = self._key(passphrase, file)
        return [(entry.info, self._open(key, entry)) for entry in entries]

    def _open(self, key: bytes, entry: _Entry) -> str:
        try:
            return unseal(key, entry.box, entry.info.statement()).decode()
        except SealBroken:
            raise self._damaged(f"the record of key {entry.info.id!r} was changed") from None

    def _entry(self, file: _File | None, key_id: str) -> _Entry:
        for entry in file.keys if file else ():
            if entry.info.id == key_id:
                return entry
        raise ConfigurationError(
            "no_key",
            f"there is no provider key {key_id!r} in {self._path}",
            "run `ricochet keys list` to see the keys, `ricochet keys add` to add one",
        )

    def _key(self, passphrase: str, file: _File) -> bytes:
        key = master_key(passphrase, file.kdf)
        try:
            unseal(key, file.check, _CHECK)
        except SealBroken:
            raise ConfigurationError(
                "wrong_passphrase",
                f"the passphrase does not open {self._path}",
                "try again; it was chosen when the first key was added",
            ) from None
        return key

    def _load(self) -> _File | None:
        if not self._path.exists():
            return None
        try:
            file = msgspec.json.decode(read_private(self._path), type=_File)
            for entry in file.keys:
                _check_name("key id", entry.info.id)
                _check_name("provider", entry.info.provider)
                parse_origin(entry.info.origin)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise self._damaged(str(error)) from None
        except UsageError as error:
            raise self._damaged(error.message) from None
        return file

    def _save(self, file: _File) -> None:
        write_private(self._path, msgspec.json.format(msgspec.json.encode(file), indent=2) + b"\n")

    def _damaged(self, why: str) -> ConfigurationError:
        return ConfigurationError(
            "keystore_damaged",
            f"{self._path} is damaged or was tampered with: {why}",
            "restore it from a backup, or move it away and add the keys again",
        )


def _check_name(what: str, text: str) -> None:
    if not _ID.fullmatch(text):
        raise UsageError(
            "bad_name",
            f"not a {what}: {text[:64]!r}",
            "use 1 to 32 of a-z, 0-9, - and _, beginning with a letter or digit",
        )


def _check_wanted(provider: str, secret: str) -> None:
    if secret or provider_of(provider).needs_key:
        check_secret(secret)


def _last4(secret: str) -> str:
    return secret[-4:] if len(secret) >= _SHOWN_FROM else ""


def _new_file(passphrase: str) -> tuple[_File, bytes]:
    kdf = new_kdf()
    key = master_key(passphrase, kdf)
    return _File(version=1, kdf=kdf, check=seal(key, _CHECK, _CHECK), keys=()), key


def _sealed(key: bytes, info: KeyInfo, secret: str) -> _Entry:
    return _Entry(info=info, box=seal(key, secret.encode(), info.statement()))
