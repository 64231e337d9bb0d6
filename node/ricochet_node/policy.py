"""Whether a provider's terms let its key earn money here: the sharing policy in `policy.toml`.

The verdict is about the host a key is sealed to, not about the name its owner gave it. A model on
one's own machine or private network is the owner's to share; a hosted provider that is not known
to allow resale is refused, because it is the owner's account that would be closed.
"""

from collections.abc import Iterable
from datetime import date
from enum import StrEnum
from functools import cache
from importlib.resources import files

import msgspec

from ricochet_node.keystore import KeyInfo
from ricochet_node.origin import Origin, parse_origin
from ricochet_protocol.errors import ConfigurationError


class Verdict(StrEnum):
    """What the terms say about paid sharing."""

    ALLOW = "allow"
    DENY = "deny"
    UNKNOWN = "unknown"


class Terms(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One provider's entry; a host also stands for the names below it."""

    provider: str
    hosts: tuple[str, ...]
    verdict: Verdict
    clause: str
    url: str
    reviewed_at: date


class _Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: int
    provider: tuple[Terms, ...]


def terms_of(origin: Origin) -> Terms | None:
    """The entry for an origin's host; None when the policy does not know it."""
    for terms in _policy().provider:
        if any(origin.host == host or origin.host.endswith(f".{host}") for host in terms.hosts):
            return terms
    return None


def verdict_of(origin: Origin) -> Verdict:
    """May calls to this origin be sold? Self-hosted: yes. Not listed: unknown."""
    if origin.is_private:
        return Verdict.ALLOW
    terms = terms_of(origin)
    return terms.verdict if terms else Verdict.UNKNOWN


def check_sharing(keys: Iterable[KeyInfo]) -> None:
    """ConfigurationError `sharing_deny` or `sharing_unknown` for a key that may not be sold."""
    for key in keys:
        origin = parse_origin(key.origin)
        verdict = verdict_of(origin)
        if verdict is Verdict.ALLOW:
            continue
        terms = terms_of(origin)
        if terms is None:
            said = f"the sharing policy does not know {origin.host}"
            where = "its terms"
        else:
            said = f"{terms.provider} forbids it ({terms.clause}; read {terms.reviewed_at})"
            where = terms.url
        raise ConfigurationError(
            f"sharing_{verdict}",
            f"key {key.id!r} may not be sold: {said}",
            f"offer a model you host yourself, or ask the provider for written permission ({where})"
            "; this version cannot record such a permission yet",
        )


@cache
def _policy() -> _Policy:
    text = files("ricochet_node").joinpath("policy.toml").read_bytes()
    return msgspec.toml.decode(text, type=_Policy)
