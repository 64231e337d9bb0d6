"""API keys of one home: `api_keys.json`, names, rules and hashes, never the keys.

A key is 256 random bits, shown once when it is made; its SHA-256 needs no salt. Each has an id of
its own, under which its spending is recorded: a new key of an old name starts at nothing. A running
server reads the file again when it has changed, so a revoked key opens nothing any more.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

import msgspec

from ricochet_protocol.errors import ConfigurationError, UsageError
from ricochet_protocol.money import Units
from ricochet_settlement.file_lock import locked
from ricochet_settlement.private_file import read_private, write_private

FILE_NAME: Final = "api_keys.json"
PREFIX: Final = "rcsk-"
DAY: Final = 86_400
MAX_DAYS: Final = 3650
_NAME: Final = re.compile(r"[a-zA-Z0-9_.-]{1,32}")
Per = Literal["period", "day"]


class ApiKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`budget` is for each `per`, None: as much as the subscription holds. `models` are those it
    may call, chains as `ricochet/NAME`; empty: all. Times are Unix seconds.
    """

    id: str
    name: str
    sha256: str
    made_at: int
    budget: Units | None = None
    per: Per = "period"
    expires_at: int | None = None
    models: tuple[str, ...] = ()

    def may_call(self, model: str) -> bool:
        """Whether the key is for this model."""
        return not self.models or model in self.models


class ApiKeys:
    """The keys of one home."""

    def __init__(self, home: Path) -> None:
        self._path = home / FILE_NAME
        self._read_at: tuple[int, int] = (0, 0)
        self._keys: tuple[ApiKey, ...] = ()

    def opened_by(self, secret: str, now: float) -> ApiKey | None:
        """The key that `secret` is, unless it has expired."""
        given = _digest(secret)
        for key in self.list():
            if hmac.compare_digest(given, key.sha256):
                return None if key.expires_at is not None and key.expires_at <= now else key
        return None

    def list(self) -> tuple[ApiKey, ...]:
        """All keys, in the order in which they were made."""
        try:
            stat = self._path.stat()
        except FileNotFoundError:
            return ()
        changed = (stat.st_mtime_ns, stat.st_ino)
        if changed != self._read_at:
            self._keys = self._read()
            self._read_at = changed
        return self._keys

    def new(
        self,
        name: str,
        now: float,
        budget: Units | None = None,
        per: Per = "period",
        days: int | None = None,
        models: tuple[str, ...] = (),
    ) -> str:
        """Make a key, which can be seen only now; it expires after `days`. UsageError."""
        if not _NAME.fullmatch(name):
            raise UsageError(
                "bad_name",
                f"not a name for a key: {name!r}",
                "use 1 to 32 letters, digits, . _ -",
            )
        _check_budget(budget)
        if days is not None and not 0 < days <= MAX_DAYS:
            raise UsageError("bad_expiry", f"a key is good for 1 to {MAX_DAYS} days", "see --help")
        with locked(self._path):
            known = self.list()
            if any(key.name == name for key in known):
                raise UsageError(
                    "key_exists",
                    f"there is a key named {name!r} already",
                    f"choose another name, or `ricochet serve keys revoke {name}` first",
                )
            secret = PREFIX + secrets.token_urlsafe(32)
            key = ApiKey(
                id=secrets.token_hex(8),
                name=name,
                sha256=_digest(secret),
                made_at=int(now),
                budget=budget,
                per=per,
                expires_at=None if days is None else int(now) + days * DAY,
                models=models,
            )
            self._write((*known, key))
        return secret

    def limit(self, name: str, budget: Units | None, per: Per | None = None) -> ApiKey:
        """Give a key another budget, for another time (None: the same); what it spent counts.

        UsageError when there is none of this name.
        """
        _check_budget(budget)
        with locked(self._path):
            known = {key.name: key for key in self.list()}
            key = _named(known, name)
            known[name] = msgspec.structs.replace(key, budget=budget, per=per or key.per)
            self._write(tuple(known.values()))
        return known[name]

    def revoke(self, name: str) -> None:
        """Make a key invalid; UsageError when there is none of this name."""
        with locked(self._path):
            known = {key.name: key for key in self.list()}
            _named(known, name)
            del known[name]
            self._write(tuple(known.values()))

    def _read(self) -> tuple[ApiKey, ...]:
        try:
            return msgspec.json.decode(read_private(self._path), type=tuple[ApiKey, ...])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise ConfigurationError(
                "bad_keys", f"{self._path} is damaged", "delete it and make new keys"
            ) from None

    def _write(self, keys: tuple[ApiKey, ...]) -> None:
        write_private(self._path, msgspec.json.encode(keys) + b"\n")


def _named(known: Mapping[str, ApiKey], name: str) -> ApiKey:
    if name not in known:
        raise UsageError(
            "no_key", f"there is no key named {name!r}", "see `ricochet serve keys list`"
        )
    return known[name]


def _check_budget(budget: Units | None) -> None:
    if budget is not None and budget <= 0:
        raise UsageError("bad_budget", "a budget is more than nothing", "for example 2.50")


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()
