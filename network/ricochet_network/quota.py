"""How much one peer may ask of this one, and how much memory all of them together.

Rates are token buckets on the loop's clock. Bytes are paced: a connection that is over its rate is
not read for a moment, which its sender feels as a full pipe and nobody loses anything by. Requests
and adverts over theirs are refused, since an answer is cheaper than the work.
"""

from collections.abc import Callable
from typing import Final, Protocol

import msgspec

from ricochet_protocol.errors import RemoteCode, RemoteFault
from ricochet_protocol.ids import PeerId

FRAME_COST: Final = 64
"""Bytes that any frame counts for besides its own: what it costs to look at one."""
SNAPSHOT_COST: Final = 20
"""Requests that a request for the whole directory counts for."""
MEMORY: Final = 128 * 1024 * 1024
"""Bytes of requests that arrive or are served at once, of all peers: 32 of the largest."""
MAX_QUOTAS: Final = 1024
"""Peers whose use is remembered: more than can be connected at once."""
FLOOD_SPAN: Final = 1.0
"""Seconds that count as one offence however much comes in them: a burst is no flood."""


class Rates(msgspec.Struct, frozen=True):
    """What one peer may send a second, and `burst` seconds' worth of it at once."""

    bytes: float = 64 * 1024 * 1024
    """More than a core moves through Noise and yamux: this holds back who sends and never works."""
    requests: float = 2_000
    """Twice what one core serves to one caller."""
    adverts: float = 100
    """A thousand nodes that each change their advert every ten seconds, through one relay."""
    burst: float = 2.0
    adverts_burst: float = 4_096
    """A newcomer that passes on two full directories."""


RATES: Final = Rates()


class Bucket:
    """Tokens that refill at `rate` a second up to `burst`."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._level = burst
        self._at = float("-inf")

    def take(self, amount: float, now: float) -> bool:
        """Take tokens if there are enough."""
        self._refill(now)
        if amount > self._level:
            return False
        self._level -= amount
        return True

    def pause(self, amount: float, now: float) -> float:
        """Take tokens in any case; the seconds until the debt is paid, 0 without one."""
        self._refill(now)
        self._level -= amount
        return max(0.0, -self._level / self._rate)

    def full(self, now: float) -> bool:
        """Whether it has been left alone long enough to be as good as new."""
        self._refill(now)
        return self._level >= self._burst

    def _refill(self, now: float) -> None:
        if now > self._at:
            self._level = min(self._burst, self._level + (now - self._at) * self._rate)
            self._at = now


class _Quota:
    def __init__(self, rates: Rates) -> None:
        self.requests = Bucket(rates.requests, rates.requests * rates.burst)
        self.adverts = Bucket(rates.adverts, rates.adverts_burst)
        self.flooded = float("-inf")


class Quotas:
    """What each peer has used; `flood` is told of a peer that is over, at most once a second."""

    def __init__(self, rates: Rates, flood: Callable[[PeerId], None]) -> None:
        self._rates = rates
        self._flood = flood
        self._quotas: dict[PeerId, _Quota] = {}

    def request_untrusted(self, peer: PeerId, cost: float, now: float) -> None:
        """Count a request; RemoteFault `busy` when it is one too many."""
        quota = self._of(peer, now)
        if not quota.requests.take(cost, now):
            self._over(peer, quota, now)
            raise RemoteFault(
                RemoteCode.BUSY, "more requests than one peer may make", "ask less often", wait=1
            )

    def adverts_untrusted(self, peer: PeerId, count: int, now: float) -> None:
        """Count announced adverts; RemoteFault `busy` when they are too many."""
        quota = self._of(peer, now)
        if not quota.adverts.take(count, now):
            self._over(peer, quota, now)
            raise RemoteFault(
                RemoteCode.BUSY, "more adverts than one peer may announce", "wait", wait=10
            )

    def _over(self, peer: PeerId, quota: _Quota, now: float) -> None:
        if now - quota.flooded >= FLOOD_SPAN:
            quota.flooded = now
            self._flood(peer)

    def _of(self, peer: PeerId, now: float) -> _Quota:
        quota = self._quotas.get(peer)
        if quota is None:
            if len(self._quotas) >= MAX_QUOTAS:
                self._forget(now)
            quota = self._quotas[peer] = _Quota(self._rates)
        return quota

    def _forget(self, now: float) -> None:
        """Drop those that are as good as new, or else the oldest."""
        kept = {
            peer: quota
            for peer, quota in self._quotas.items()
            if not (quota.requests.full(now) and quota.adverts.full(now))
        }
        if len(kept) >= MAX_QUOTAS:
            del kept[next(iter(kept))]
        self._quotas = kept


class Holder(Protocol):
    """Who holds requests in memory, and can be told to let go by ending."""

    def shed(self) -> None: ...


class MemoryBudget:
    """The bytes of requests that all connections hold; beyond `limit` the largest holder ends."""

    def __init__(self, limit: int = MEMORY) -> None:
        self._limit = limit
        self._held: dict[Holder, int] = {}
        self.total = 0

    def charge(self, holder: Holder, size: int) -> None:
        """Count bytes that a holder has taken in, or let go when `size` is negative."""
        self._held[holder] = self._held.get(holder, 0) + size
        self.total += size
        if self.total > self._limit:
            largest = max(self._held, key=lambda one: self._held[one])
            self.release(largest)
            largest.shed()

    def release(self, holder: Holder) -> None:
        """Everything of a holder is gone; may be called twice."""
        self.total -= self._held.pop(holder, 0)
