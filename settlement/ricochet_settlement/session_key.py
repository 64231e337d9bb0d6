"""The subscriber's session key and its replacement: `session.key`, and the keys that served before.

A replacement survives a crash at any point, and the same command takes it up where it ended:

    session.key.next written ─► delegate set on the chain ─► old key kept ─► next takes its name

Until the chain names the new key, the old one stays where it is and in force. It is never deleted:
as `session.0x….key` it tells the account that signed what nodes still hold of this period, and any
gas money that was sent to its account stays within reach.
"""

import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import msgspec

from ricochet_protocol.errors import ConfigurationError
from ricochet_protocol.ids import Address
from ricochet_protocol.signing import account_address
from ricochet_settlement.hot_key import load_or_create
from ricochet_settlement.private_file import create_private, sync_folder

SESSION_FILE: Final = "session.key"
NEXT_FILE: Final = "session.key.next"
_FORMER: Final = re.compile(r"session\.(0x[0-9a-f]{40})\.key")
Appoint = Callable[[Address], Awaitable[None]]
"""Makes an account the delegate, or finds that it is; see `subscriber.set_delegate`."""


class Rotation(msgspec.Struct, frozen=True):
    """The account that signed, the one that signs now, and where the old key is kept."""

    replaced: Address
    delegate: Address
    kept: Path


def former_sessions(home: Path) -> frozenset[Address]:
    """The accounts of the session keys that served in this home before."""
    found = (_FORMER.fullmatch(path.name) for path in home.glob("session.0x*.key"))
    return frozenset(Address(match[1]) for match in found if match)


async def rotate_session(home: Path, appoint: Appoint) -> Rotation:
    """Replace the home's session key; what `appoint` raises leaves the old one in force.

    ConfigurationError `session_pays_gas` where a node uses the key, `key_damaged`, `file_exposed`;
    LocalFault `file_unwritable`.
    """
    if (home / "node.db").exists():
        raise ConfigurationError(
            "session_pays_gas",
            f"the session key of {home} also pays the gas of the node in that folder",
            "Give the subscription a folder of its own with --home, or RICOCHET_HOME.",
        )
    old, new = load_or_create(home / SESSION_FILE), load_or_create(home / NEXT_FILE)
    replaced, delegate = account_address(old), account_address(new)
    await appoint(delegate)
    kept = home / f"session.{replaced}.key"
    create_private(kept, old.hex().encode() + b"\n")
    (home / NEXT_FILE).replace(home / SESSION_FILE)
    sync_folder(home)
    return Rotation(replaced=replaced, delegate=delegate, kept=kept)
