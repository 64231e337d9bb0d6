"""Where a provider is reached: scheme, host, port and base path, such as `https://api.x.ai/v1`.

An origin is checked when a key is sealed to it and again by the vault that uses it. Plain HTTP is
only for this machine, where nobody else can read the key on its way.
"""

import ipaddress
import re
from typing import Final
from urllib.parse import urlsplit

import msgspec

from ricochet_protocol.errors import UsageError

_HOST: Final = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_PATH: Final = re.compile(r"(/[A-Za-z0-9._~-]+)*")


class Origin(msgspec.Struct, frozen=True):
    """The parts of a checked origin; `text` is its only spelling."""

    text: str
    host: str

    @property
    def is_loopback(self) -> bool:
        """Whether it is this machine: its own name or an address that cannot leave it."""
        return self.host == "localhost" or _address_is(self.host, "is_loopback")

    @property
    def is_private(self) -> bool:
        """Whether it is a literal address of a private network, this machine included."""
        return self.is_loopback or _address_is(self.host, "is_private")


def parse_origin(text: str) -> Origin:
    """A checked origin; UsageError `bad_origin` says what is wrong with it."""
    try:
        parts = urlsplit(text.strip())
        port = parts.port
    except ValueError:
        raise _bad(text, "it is not a URL") from None
    host = (parts.hostname or "").lower()
    if parts.scheme not in ("http", "https") or not host:
        raise _bad(text, "it does not begin with https://<host>")
    if "@" in parts.netloc or parts.query or parts.fragment or not parts.netloc.isascii():
        raise _bad(text, "it may hold a host, a port and a path, nothing else")
    if not (_HOST.fullmatch(host) or _address_is(host, "version")):
        raise _bad(text, "its host is not a name or address")
    path = parts.path.rstrip("/")
    if not _PATH.fullmatch(path) or ".." in path.split("/"):
        raise _bad(text, "its path has characters that a base path does not need")
    bracketed = f"[{host}]" if ":" in host else host
    netloc = bracketed if port is None else f"{bracketed}:{port}"
    origin = Origin(text=f"{parts.scheme}://{netloc}{path}", host=host)
    if parts.scheme == "http" and not origin.is_loopback:
        raise _bad(text, "plain http shows the key to the network; it is for this machine only")
    return origin


def _address_is(host: str, what: str) -> bool:
    try:
        return bool(getattr(ipaddress.ip_address(host), what))
    except ValueError:
        return False


def _bad(text: str, why: str) -> UsageError:
    # What stands before an @ may be a password.
    shown = "(withheld)" if "@" in text else repr(text[:200])
    return UsageError(
        "bad_origin",
        f"not a provider's address: {shown}: {why}",
        "give the API's base URL, for example https://api.openai.com/v1",
    )
