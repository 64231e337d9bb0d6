"""What providers' terms say about selling access to them: the table in `policy.toml`.

The verdict is about the host a key is sealed to, not about the name its owner gave it. A model on
one's own machine or private network is the owner's to share; a hosted provider that is not known
to allow resale is refused, because it is the owner's account that would be closed. What may lift a
refusal is in `sharing`.
"""

import re
from datetime import date
from enum import StrEnum
from functools import cache
from importlib.resources import files
from typing import Final

import msgspec

from ricochet_node.origin import Origin
from ricochet_protocol.errors import ConfigurationError

_ID: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_HOST: Final = re.compile(r"[a-z0-9][a-z0-9-]*(\.[a-z0-9-]+)+")
_MAX_TEXT: Final = 300


class Verdict(StrEnum):
    """What the terms say about paid sharing; `unknown` refuses like `deny`."""

    ALLOW = "allow"
    DENY = "deny"
    UNKNOWN = "unknown"


class Terms(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One provider's entry. A host also stands for the names below it; self-hosted have none."""

    provider: str
    verdict: Verdict
    clause: str
    reviewed_at: date
    url: str = ""
    hosts: tuple[str, ...] = ()
    note: str = ""

    def __post_init__(self) -> None:
        if not _ID.fullmatch(self.provider):
            raise ValueError("provider: 1 to 32 of a-z, 0-9 and -")
        if not all(_HOST.fullmatch(host) for host in self.hosts):
            raise ValueError(f"hosts of {self.provider}: lower-case host names")
        if not self.clause or any(
            len(text) > _MAX_TEXT or not text.isprintable() for text in (self.clause, self.note)
        ):
            raise ValueError(f"clause or note of {self.provider}: {_MAX_TEXT} printable characters")
        if self.url and not (self.url.startswith("https://") and self.url.isprintable()):
            raise ValueError(f"url of {self.provider}: https://...")
        if self.verdict is Verdict.UNKNOWN and not self.note:
            raise ValueError(f"note of {self.provider}: say what could not be confirmed")
        if self.hosts and not self.url:
            raise ValueError(f"url of {self.provider}: where its terms are")


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A version of the table; each provider and each host stands in it once."""

    version: int
    provider: tuple[Terms, ...]

    def __post_init__(self) -> None:
        if self.version < 1:
            raise ValueError("version: 1 or more")
        ids = [terms.provider for terms in self.provider]
        hosts = [host for terms in self.provider for host in terms.hosts]
        if len(set(ids)) < len(ids) or len(set(hosts)) < len(hosts):
            raise ValueError("a provider or host stands there twice")

    def of_host(self, host: str) -> Terms | None:
        """The entry of a host, that of the longest name when several fit."""
        fitting = [
            (len(name), terms)
            for terms in self.provider
            for name in terms.hosts
            if host == name or host.endswith(f".{name}")
        ]
        return max(fitting, key=lambda pair: pair[0])[1] if fitting else None

    def named(self, provider: str) -> Terms | None:
        """The entry of this id."""
        return next((terms for terms in self.provider if terms.provider == provider), None)


def parse_policy(text: bytes) -> Policy:
    """A checked table; ConfigurationError `bad_policy` when it is not one."""
    try:
        return msgspec.toml.decode(text, type=Policy)
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise ConfigurationError(
            "bad_policy",
            f"policy.toml cannot be used: {error}",
            "install Ricochet again: the file is a part of it",
        ) from None


@cache
def shipped() -> Policy:
    """The table of this installation."""
    return parse_policy(files("ricochet_node").joinpath("policy.toml").read_bytes())


def verdict_of(origin: Origin) -> Verdict:
    """May calls to this origin be sold? Self-hosted: yes. Not listed: unknown."""
    if origin.is_private:
        return Verdict.ALLOW
    terms = shipped().of_host(origin.host)
    return terms.verdict if terms else Verdict.UNKNOWN


def provider_of(origin: Origin) -> str:
    """Whose terms count: an id of the table, the host's name when it is not listed."""
    terms = shipped().of_host(origin.host)
    return terms.provider if terms else origin.host
