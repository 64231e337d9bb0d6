"""What a home keeps of peers: `peers.json`, which its network writes, and `bans.json`, its owner's.

They are two files because they have two writers: `ricochet peers ban` works beside a running node,
which reads the owner's bans again once they change. A damaged file of bans is an error where it is
edited, and keeps whoever was banned banned where it is followed.
"""

from pathlib import Path
from typing import Final

import msgspec

from ricochet_protocol.errors import ConfigurationError, RicochetError
from ricochet_protocol.ids import PeerId, peer_public_key
from ricochet_settlement.file_lock import locked
from ricochet_settlement.private_file import read_private, write_private

PEERS_FILE: Final = "peers.json"
BANS_FILE: Final = "bans.json"
MAX_BANS: Final = 1024


class PeerFiles:
    """The two files of a home, for its network."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._stamp: tuple[int, int] | None = None
        self._barred: frozenset[PeerId] = frozenset()

    def read(self) -> bytes:
        """`peers.json`, empty when there is none that can be read."""
        path = self._home / PEERS_FILE
        try:
            return read_private(path) if path.exists() else b""
        except RicochetError:
            return b""

    def write(self, data: bytes) -> None:
        """Replace `peers.json`; LocalFault `file_unwritable`."""
        write_private(self._home / PEERS_FILE, data)

    def barred(self) -> frozenset[PeerId]:
        """Whom the owner has banned, read again when the file has changed."""
        try:
            found = (self._home / BANS_FILE).stat()
        except OSError:
            self._stamp, self._barred = None, frozenset()
            return self._barred
        stamp = (found.st_mtime_ns, found.st_ino)
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                self._barred = frozenset(bans(self._home))
            except RicochetError:
                return self._barred
        return self._barred


def bans(home: Path) -> tuple[PeerId, ...]:
    """Whom the owner has banned; ConfigurationError when the file is damaged."""
    path = home / BANS_FILE
    if not path.exists():
        return ()
    try:
        found = msgspec.json.decode(read_private(path), type=tuple[str, ...])
        for one in found:
            peer_public_key(PeerId(one))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError):
        raise ConfigurationError(
            "bad_bans", f"{path} is damaged", "delete it and ban again whom you want banned"
        ) from None
    return tuple(PeerId(one) for one in found)


def change_bans(home: Path, peer: PeerId, *, banned: bool) -> bool:
    """Ban a peer or lift its ban; whether that changed anything."""
    with locked(home / BANS_FILE):
        before = bans(home)
        if (peer in before) is banned:
            return False
        if banned and len(before) >= MAX_BANS:
            raise ConfigurationError(
                "too_many_bans",
                f"{MAX_BANS} peers are banned already",
                "`ricochet peers unban` some; a private network (`members` in network.json) lets "
                "in only whom you name",
            )
        after = (*before, peer) if banned else tuple(one for one in before if one != peer)
        write_private(home / BANS_FILE, msgspec.json.encode(after) + b"\n")
        return True
