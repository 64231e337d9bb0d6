"""Peers of earlier connections and their scores: what a peer knows when it starts again.

A peer is remembered once a connection to it has held, with addresses it was dialled at or says it
has; of too many, those seen last stay. The file is read like anything a stranger could have
written: what is wrong in it is as if it were not there. Without disk, nothing is remembered and
everything else goes on.
"""

import logging
from collections.abc import Sequence
from random import Random
from typing import Final, Protocol

import msgspec

from ricochet_network.conduct import CAP, Score, Standing
from ricochet_protocol.errors import RicochetError
from ricochet_protocol.ids import PeerId, peer_public_key
from ricochet_protocol.multiaddr import place_untrusted

MAX_REMEMBERED: Final = 256
MAX_SCORES: Final = 256
"""Of the worst peers; with the others about 200 KiB in all."""
MAX_ADDRESSES: Final = 3
FIRST: Final = 8
"""Remembered peers that are dialled first; with as many of the registry, half of a mesh's dials."""
MAX_AGE: Final = 30 * 24 * 3600.0
"""Seconds after which an address is likelier to be somebody else's."""
_log = logging.getLogger(__name__)


class PeerStore(Protocol):
    """Where a home keeps what it knows of peers; its errors are RicochetError."""

    def read(self) -> bytes:
        """What was written last; empty when nothing was, or it cannot be read."""

    def write(self, data: bytes) -> None:
        """Replace it in one step."""

    def barred(self) -> frozenset[PeerId]:
        """Whom the owner has banned by hand, as it stands now."""


class Remembered(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A peer that was connected; `seen` is Unix seconds."""

    peer: PeerId
    addresses: tuple[str, ...]
    seen: float

    def __post_init__(self) -> None:
        peer_public_key(self.peer)
        if not 0 < len(self.addresses) <= MAX_ADDRESSES or not 0 <= self.seen < 2**53:
            raise ValueError("addresses or time out of range")
        if any(len(one) > 256 or not one.isprintable() for one in self.addresses):
            raise ValueError("an address that cannot be one")


class _Scored(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    peer: PeerId
    score: float
    at: float
    banned: bool

    def __post_init__(self) -> None:
        peer_public_key(self.peer)
        if not 0 <= self.score <= CAP or not 0 <= self.at < 2**53:
            raise ValueError("score or time out of range")


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    peers: tuple[Remembered, ...] = ()
    scores: tuple[_Scored, ...] = ()


class PeerMemory:
    """The file's content, kept; without a store it lasts as long as the process."""

    def __init__(self, store: PeerStore | None) -> None:
        self._store = store
        self._peers: dict[PeerId, Remembered] = {}
        self._told = False

    def load(self) -> dict[PeerId, Score]:
        """Read the file; the scores in it."""
        file = _file_untrusted(self._store.read() if self._store else b"")
        self._peers = {one.peer: one for one in file.peers[:MAX_REMEMBERED]}
        return {
            one.peer: Score(one.score, one.at, Standing.BANNED if one.banned else Standing.WELCOME)
            for one in file.scores[:MAX_SCORES]
        }

    def barred(self) -> frozenset[PeerId]:
        """Whom the owner has banned by hand."""
        return self._store.barred() if self._store else frozenset()

    def met(self, peer: PeerId, addresses: Sequence[str], unix: float) -> None:
        """A connection to a peer holds."""
        usable = tuple(one for one in addresses if len(one) <= 256)[:MAX_ADDRESSES]
        if not usable:
            return
        self._peers[peer] = Remembered(peer, usable, max(0.0, unix))
        if len(self._peers) > MAX_REMEMBERED:
            del self._peers[min(self._peers, key=lambda one: self._peers[one].seen)]

    def first(self, rng: Random, unix: float, *, public: bool) -> dict[PeerId, tuple[str, ...]]:
        """Whom to dial first, half of them those seen last; at most one of a /16 where public."""
        fresh = [one for one in self._peers.values() if unix - one.seen < MAX_AGE]
        fresh.sort(key=lambda one: (-one.seen, one.peer))
        others = fresh[FIRST // 2 :]
        rng.shuffle(others)
        chosen: dict[PeerId, tuple[str, ...]] = {}
        networks: set[tuple[int, int]] = set()
        for one in (*fresh[: FIRST // 2], *others):
            if len(chosen) == FIRST:
                break
            if not public:
                chosen[one.peer] = one.addresses
                continue
            places = [place_untrusted(text, one.peer, public=True) for text in one.addresses]
            found = next((one for one in places if one and one.network not in networks), None)
            if found is not None:
                networks.add(found.network)
                chosen[one.peer] = (found.address,)
        return chosen

    def save(self, scores: dict[PeerId, Score]) -> None:
        """Write the file; a disk that refuses is told of once."""
        if self._store is None:
            return
        worst = sorted(scores.items(), key=lambda item: -item[1].value)
        scored = tuple(
            _Scored(peer, one.value, max(0.0, one.at), one.standing is Standing.BANNED)
            for peer, one in worst
            if one.standing is not Standing.BARRED
        )
        file = _File(tuple(self._peers.values()), scored[:MAX_SCORES])
        try:
            self._store.write(msgspec.json.encode(file) + b"\n")
            self._told = False
        except RicochetError as error:
            if not self._told:
                _log.warning("peers are not remembered: %s", error.message)
            self._told = True


def _file_untrusted(data: bytes) -> _File:
    try:
        return msgspec.json.decode(data, type=_File) if data else _File()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        _log.warning("what was remembered of peers cannot be read; it is begun anew")
        return _File()
