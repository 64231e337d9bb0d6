"""Tokens that open the owner's local door: `door.json`, names and hashes, never the tokens.

A token is 256 random bits, shown once when it is made; its SHA-256 needs no salt. The running node
reads the file again when it has changed, so a revoked token stops working at once.
"""

import hashlib
import hmac
import os
import re
import secrets
from pathlib import Path
from typing import Final

import msgspec

from ricochet_protocol.errors import ConfigurationError, UsageError
from ricochet_settlement.private_file import read_private, write_private

FILE_NAME: Final = "door.json"
PREFIX: Final = "rcht-"
_NAME: Final = re.compile(r"[a-zA-Z0-9_.-]{1,32}")


class _Token(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    sha256: str
    made_at: int


class DoorTokens:
    """The tokens of one home."""

    def __init__(self, home: Path) -> None:
        self._path = home / FILE_NAME
        self._name = str(self._path)
        self._read_at: tuple[int, int] = (0, 0)
        self._tokens: tuple[_Token, ...] = ()

    def opens(self, token: str) -> bool:
        """Whether this is a valid token."""
        given = _digest(token)
        return any(hmac.compare_digest(given, known.sha256) for known in self._current())

    def list(self) -> tuple[tuple[str, int], ...]:
        """Names, and when each was made (Unix seconds)."""
        return tuple((token.name, token.made_at) for token in self._current())

    def new(self, name: str, now: float) -> str:
        """Make a token, which can be seen only now. UsageError for a bad or taken name."""
        if not _NAME.fullmatch(name):
            raise UsageError(
                "bad_name",
                f"not a name for a token: {name!r}",
                "use 1 to 32 letters, digits, . _ -",
            )
        known = self._current()
        if any(token.name == name for token in known):
            raise UsageError(
                "token_exists",
                f"there is a token named {name!r} already",
                f"choose another name, or `ricochet node token revoke {name}` first",
            )
        token = PREFIX + secrets.token_urlsafe(32)
        self._write((*known, _Token(name=name, sha256=_digest(token), made_at=int(now))))
        return token

    def revoke(self, name: str) -> None:
        """Make a token invalid; UsageError when there is none of this name."""
        known = self._current()
        rest = tuple(token for token in known if token.name != name)
        if len(rest) == len(known):
            raise UsageError(
                "no_token", f"there is no token named {name!r}", "see `ricochet node token list`"
            )
        self._write(rest)

    def _current(self) -> tuple[_Token, ...]:
        try:
            stat = os.stat(self._name)  # noqa: PTH116 - each request asks: a quarter of the cost
        except FileNotFoundError:
            return ()
        changed = (stat.st_mtime_ns, stat.st_ino)
        if changed != self._read_at:
            self._tokens = self._read()
            self._read_at = changed
        return self._tokens

    def _read(self) -> tuple[_Token, ...]:
        try:
            return msgspec.json.decode(read_private(self._path), type=tuple[_Token, ...])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise ConfigurationError(
                "bad_tokens", f"{self._path} is damaged", "delete it and make new tokens"
            ) from None

    def _write(self, tokens: tuple[_Token, ...]) -> None:
        write_private(self._path, msgspec.json.encode(tokens) + b"\n")


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
