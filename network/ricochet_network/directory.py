"""What other peers offer: at most one advert for each, and only while it can be believed.

A higher `seq` replaces a lower one; the ttl runs on our clock from the first sight of a `seq`, so a
copy that reaches us late or twice lives no longer. A peer that was removed stays known by its
`seq`, because others may still hold its advert: for `ABSENCE` only the peer itself can bring it
back, later anyone can. When full, a stranger's advert takes the place of the latest one that came
from whoever has brought the most, if its own source has brought fewer: nobody who answers first can
keep others out, and no one source can own the view.

Nothing here reads a clock: `now` is the loop's time, `unix` the time of day.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import zip_longest
from typing import Final

import msgspec

from ricochet_protocol.advert import (
    CLOCK_TOLERANCE,
    MAX_ADVERT,
    Advert,
    SignedAdvert,
    check_advert_untrusted,
)
from ricochet_protocol.errors import garbage
from ricochet_protocol.ids import NetworkId, PeerId
from ricochet_protocol.messages import MAX_ADVERTS
from ricochet_protocol.mux import MAX_MESSAGE

MAX_PEERS: Final = 2048
"""Adverts remembered, removed ones included: 32 MiB at their largest."""
BATCH: Final = min(MAX_ADVERTS, MAX_MESSAGE // (2 * MAX_ADVERT))
"""Adverts in one message; even the largest ones fit, with room for signatures."""
ABSENCE: Final = 60.0
"""Seconds for which the word of others cannot bring back a peer that did not answer us: time for
them to notice as well, short enough to mend a link that only we had lost."""
SOUGHT: Final = 3600.0
"""Seconds for which a peer that vanished is looked for: a partition that lasts that long heals."""


class _Entry(msgspec.Struct):
    signed: SignedAdvert
    first_seen: float
    source: PeerId
    removed: float | None = None

    def live(self, now: float) -> bool:
        return self.removed is None and now < self.first_seen + self.signed.advert.ttl


class Directory:
    """The adverts known to `own`, its own included."""

    def __init__(self, own: PeerId, network: NetworkId) -> None:
        self._own = own
        self._network = network
        self._entries: dict[PeerId, _Entry] = {}
        self._twin: _Entry | None = None

    def publish(self, signed: SignedAdvert, now: float) -> None:
        """Keep our own advert; ValueError when it is not ours or its `seq` has been used."""
        advert, known = signed.advert, self._entries.get(self._own)
        if advert.peer != self._own or advert.network != self._network:
            raise ValueError("an advert of another peer or network")
        if known is not None and advert.seq <= known.signed.advert.seq:
            raise ValueError(f"seq {advert.seq} is not above {known.signed.advert.seq}")
        self._entries[self._own] = _Entry(signed, now, self._own)

    def own(self, now: float) -> SignedAdvert | None:
        """Our own advert while it lives."""
        return self.get(self._own, now)

    def offer_untrusted(
        self, signed: SignedAdvert, source: PeerId, now: float, unix: float
    ) -> bool:
        """Take an advert that `source` sent; True when it is news, RemoteFault when it is false."""
        peer = signed.advert.peer
        known = self._entries.get(peer)
        if peer == self._own:
            self._meet_twin_untrusted(signed, now, unix)
            return False
        if known and signed.advert.seq < known.signed.advert.seq:
            return False
        # Who speaks for itself, once or now, owes its place to nobody.
        if known and source == peer:
            known.source = source
        if known and signed == known.signed:
            return _bring_back(known, source, now)
        check_advert_untrusted(signed, self._network, unix)
        if known and signed.advert.seq == known.signed.advert.seq:
            return False
        if known is None:
            self._make_room_untrusted(source, now, unix)
        self._entries[peer] = _Entry(signed, now, known.source if known else source)
        return True

    def twin(self, now: float) -> Advert | None:
        """What another process that has our key says in our name, while its word lives."""
        return self._twin.signed.advert if self._twin and self._twin.live(now) else None

    @property
    def full(self) -> bool:
        """Whether a stranger gets in only in place of another."""
        return len(self._entries) >= MAX_PEERS

    def superseded(self, signed: SignedAdvert) -> bool:
        """Whether its peer has said something newer."""
        known = self._entries.get(signed.advert.peer)
        return known is not None and signed.advert.seq < known.signed.advert.seq

    def remove(self, peer: PeerId, now: float) -> bool:
        """Forget what a peer offers until it is back, our own excepted; whether it was live."""
        entry = self._entries.get(peer)
        if peer == self._own or entry is None:
            return False
        was_live = entry.live(now)
        entry.removed = now
        return was_live

    def absent(self, now: float) -> tuple[PeerId, ...]:
        """The peers that were removed in the last `SOUGHT` seconds and are not back."""
        return tuple(
            peer
            for peer, entry in self._entries.items()
            if entry.removed is not None and now < entry.removed + SOUGHT
        )

    def is_absent(self, peer: PeerId) -> bool:
        """Whether a peer was removed and is not back."""
        entry = self._entries.get(peer)
        return entry is not None and entry.removed is not None

    def addresses(self, peer: PeerId) -> tuple[str, ...]:
        """Where a peer said last that it can be dialled, removed or not."""
        entry = self._entries.get(peer)
        return entry.signed.advert.addresses if entry else ()

    def get(self, peer: PeerId, now: float) -> SignedAdvert | None:
        """The live advert of a peer."""
        entry = self._entries.get(peer)
        return entry.signed if entry and entry.live(now) else None

    def live(self, now: float) -> tuple[SignedAdvert, ...]:
        """All live adverts, in the order in which their peers were first heard of."""
        return tuple(entry.signed for entry in self._entries.values() if entry.live(now))

    def by_source(self, now: float) -> Iterator[SignedAdvert]:
        """All live adverts of others, one of each source in turn: where to look for peers."""
        groups: dict[PeerId, list[_Entry]] = {}
        for peer, entry in self._entries.items():
            if peer != self._own:
                groups.setdefault(entry.source, []).append(entry)
        living = ((one.signed for one in group if one.live(now)) for group in groups.values())
        for turn in zip_longest(*living):
            yield from (signed for signed in turn if signed is not None)

    def _meet_twin_untrusted(self, signed: SignedAdvert, now: float, unix: float) -> None:
        """Of what is signed with our key, only what is newer than our own word is not ours."""
        own = self._entries.get(self._own)
        if own is not None and signed.advert.seq > own.signed.advert.seq:
            check_advert_untrusted(signed, self._network, unix)
            if self._twin is None or signed.advert.seq > self._twin.signed.advert.seq:
                self._twin = _Entry(signed, now, self._own)

    def _make_room_untrusted(self, source: PeerId, now: float, unix: float) -> None:
        if len(self._entries) < MAX_PEERS:
            return
        for peer, entry in tuple(self._entries.items()):
            if not entry.live(now) and entry.signed.advert.issued_at + CLOCK_TOLERANCE < unix:
                del self._entries[peer]
        if len(self._entries) < MAX_PEERS:
            return
        brought = Counter(entry.source for entry in self._entries.values())
        largest, count = brought.most_common(1)[0]
        if brought[source] + 1 >= count:
            raise garbage("an advert more than the directory holds")
        latest = (peer for peer, one in reversed(self._entries.items()) if one.source == largest)
        del self._entries[next(latest)]


def _bring_back(entry: _Entry, source: PeerId, now: float) -> bool:
    """Whether a removed peer is live again by the word of `source`."""
    if entry.removed is None:
        return False
    if source == entry.signed.advert.peer or now >= entry.removed + ABSENCE:
        entry.removed = None
    return entry.live(now)


def batches(adverts: Iterable[SignedAdvert]) -> Iterator[tuple[SignedAdvert, ...]]:
    """The adverts cut into messages that peers accept."""
    everything = tuple(adverts)
    for start in range(0, len(everything), BATCH):
        yield everything[start : start + BATCH]
