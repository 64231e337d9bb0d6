"""What an examination of a home says: findings, each with what mends it.

An examination changes nothing, and goes on after what is wrong: `kept` turns the error of one check
into a finding.
"""

from collections.abc import Callable
from typing import Literal, TypeVar

import msgspec

from ricochet_protocol.errors import RicochetError

_T = TypeVar("_T")

State = Literal["ok", "warn", "fail"]


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at; `mend` says what to do, "" when nothing is wrong."""

    about: str
    state: State
    message: str
    mend: str = ""


def kept(
    found: list[Finding], about: str, load: Callable[[], _T], text: Callable[[_T], str]
) -> _T | None:
    """The value that `load` gives, with a finding about it; None when it raised."""
    try:
        value = load()
    except RicochetError as error:
        found.append(failure(about, error))
        return None
    found.append(Finding(about, "ok", text(value)))
    return value


def failure(about: str, error: RicochetError, state: State = "fail") -> Finding:
    """The finding that an error makes."""
    return Finding(about, state, error.message, error.hint)
