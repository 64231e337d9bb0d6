"""What is asked of a forge: issues, and a request with one file; and what can go wrong.

`GitHub` and `GitLab` implement it over their client libraries. Text that comes from a forge is
anybody's: it is data here, and made printable on its way to a terminal.
"""

import re
from collections.abc import Iterator
from typing import Final, Literal, Protocol

import msgspec

from ricochet_protocol.errors import ConfigurationError, LocalFault, UsageError

Name = Literal["github", "gitlab"]
NAMES: Final = ("github", "gitlab")
ADDRESSES: Final = {"github": "https://api.github.com", "gitlab": "https://gitlab.com"}
SECONDS: Final = 30
"""How long one call may take; GitHub itself ends calls after ten."""
_REPOSITORY: Final = re.compile(r"[\w.-]{1,100}(/[\w.-]{1,100}){1,20}", re.ASCII)

State = Literal["open", "completed", "cancelled"]


class Text(msgspec.Struct, frozen=True):
    """What an issue says, and whether it is done."""

    title: str
    body: str
    state: State


class Issue(msgspec.Struct, frozen=True):
    """An issue as the forge has it."""

    number: int
    url: str
    text: Text


class Change(msgspec.Struct, frozen=True):
    """A request (pull or merge request) that brings one file."""

    branch: str
    path: str
    content: str
    title: str
    body: str


class Request(msgspec.Struct, frozen=True):
    """A request as the forge has it; `made` when this call opened it."""

    number: int
    url: str
    made: bool


class Forge(Protocol):
    """One repository. All calls raise `ForgeError`s only; `get` gives None for what is gone."""

    name: Name
    address: str
    repository: str
    tells_cancelled: bool
    """Whether a closed issue says if it was done or given up."""
    most_characters: int
    """Of an issue's text."""

    def get(self, number: int) -> Issue | None: ...

    def create(self, text: Text) -> Issue: ...

    def update(self, number: int, text: Text) -> Issue: ...

    def issues(self, *, closed_too: bool) -> Iterator[Issue]: ...

    def propose(self, change: Change, base: str | None) -> Request: ...


def check_repository(name: str) -> str:
    """UsageError `bad_repository` for what cannot be a repository's path."""
    if not _REPOSITORY.fullmatch(name) or ".." in name:
        raise UsageError(
            "bad_repository", f"{name[:100]!r} is not a repository", "Give it as OWNER/NAME."
        )
    return name


def token_refused(address: str) -> ConfigurationError:
    """The error for a token that the forge does not take."""
    return ConfigurationError(
        "forge_token",
        f"{address} refuses the token",
        "It has ended, or may not write issues: `ricochet forges add` takes a new one.",
    )


def missing(address: str, what: str) -> UsageError:
    """The error for what is not there, or not for this token to see."""
    return UsageError(
        "forge_missing",
        f"{address} has no {what}, or does not show it to this token",
        "Check --repo, and what the token may see.",
    )


def limited(address: str, seconds: int | None) -> LocalFault:
    """The error for too many calls."""
    when = "later" if seconds is None else f"in {max(1, -(-seconds // 60))} minutes"
    return LocalFault(
        "forge_limited",
        f"{address} takes no more calls for now",
        f"Run the same command again {when}: what was done is kept and not repeated.",
    )


def unreachable(address: str, why: str) -> LocalFault:
    """The error for a forge that does not answer, or not as it should."""
    return LocalFault(
        "forge_unreachable",
        f"{address} does not answer: {why}",
        "Check the network, then run the same command again: nothing is done twice.",
    )


def refused(address: str, status: int, why: str) -> LocalFault:
    """The error for a call that the forge does not carry out."""
    from ricochet_orchestrator.printing import printable

    reason = " ".join(printable(why).split())[:200]
    return LocalFault(
        "forge_refused",
        f"{address} refuses ({status}): {reason}",
        "Check that issues are switched on there, and what the token may do.",
    )
