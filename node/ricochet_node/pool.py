"""Which key serves a call, and what is learnt from how it went.

A call goes to one of its offer's sources (`spread.py`), of those that the provider (`key_state.py`)
and the owner's limits (`key_room.py`) let it go to. Until its first piece a call that fails because
of key, model or provider moves on to the next source, each at most once and all within its
deadline; after that piece, or when the ask is to blame, its failure is the client's to hear. With
no source left, the client hears the fault that is over soonest.

Belongs to one event loop. A standing is on disk before the next source is chosen.
"""

import asyncio
import math
import sqlite3
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import Any, Final, TypeVar

from ricochet_node import key_room, key_state
from ricochet_node.deadline import Deadline
from ricochet_node.faults import Blame, ProviderFault, Reason
from ricochet_node.key_room import Room, Rooms
from ricochet_node.key_state import Standing, State
from ricochet_node.key_states import KeyStates, Place
from ricochet_node.log import EventLog
from ricochet_node.offer import Offer, Source
from ricochet_node.offers import OfferBook
from ricochet_node.spread import Spread
from ricochet_node.upstream import Piece, Upstream, Usage, Whole
from ricochet_protocol.errors import RemoteCode, RemoteFault
from ricochet_protocol.ids import ModelId
from ricochet_protocol.messages import Ask

T = TypeVar("T")
Tried = Callable[[Source, ProviderFault | None], None]
"""Hears of each source before it is asked, with the fault of the one before it; the last serves."""
LOOK: Final = 2.0
"""Seconds after which a command's change of a key holds."""


class Pool:
    """The keys of one node; `clock` tells Unix seconds."""

    def __init__(
        self,
        book: OfferBook,
        upstream: Upstream,
        states: KeyStates,
        rooms: Rooms,
        clock: Callable[[], float],
        log: EventLog,
    ) -> None:
        self._book = book
        self._upstream = upstream
        self._states = states
        self._rooms = rooms
        self._clock = clock
        self._log = log
        self._spreads: dict[ModelId, Spread] = {}
        self._open: Counter[Place] = Counter()

    def check(self, offer: Offer) -> None:
        """RemoteFault when no source of the offer may be asked now."""
        self._free(offer, offer.sources, [])

    async def stream(
        self, offer: Offer, ask: Ask, deadline: float, tried: Tried
    ) -> AsyncGenerator[Piece, None]:
        """Pieces, then one Usage, as of `Upstream`; until `deadline` on the loop's clock.

        RemoteFault, mostly a ProviderFault.
        """
        attempts = _Attempts(offer, tried)
        while True:
            source, began, first = self._next(attempts), self._clock(), True
            stream = self._upstream.stream(source.key, source.upstream_model, ask)
            with self._counted(source), Deadline(deadline) as until:
                try:
                    async with aclosing(stream):
                        while not isinstance(piece := await _in_time(anext(stream), until), Usage):
                            first = False
                            yield piece
                except ProviderFault as fault:
                    self._note(source, fault, began)
                    if not first or fault.blame is Blame.ASK:
                        raise
                    attempts.faults.append(fault)
                else:
                    self._note(source, None, began)
                    yield piece
                    return

    async def whole(self, offer: Offer, ask: Ask, deadline: float, tried: Tried) -> Whole:
        """The same at once."""
        attempts = _Attempts(offer, tried)
        while True:
            source, began = self._next(attempts), self._clock()
            answer = self._upstream.whole(source.key, source.upstream_model, ask)
            with self._counted(source), Deadline(deadline) as until:
                try:
                    whole = await _in_time(answer, until)
                except ProviderFault as fault:
                    self._note(source, fault, began)
                    if fault.blame is Blame.ASK:
                        raise
                    attempts.faults.append(fault)
                else:
                    self._note(source, None, began)
                    return whole

    def standing(self, source: Source) -> Standing:
        """The worse of a key's standing and that with this model."""
        now = self._clock()
        both = (self._states.of(source.key), self._states.of(source.key, source.upstream_model))
        return max(both, key=lambda one: (one.wait(now), one.state is not State.READY))

    def key_standing(self, key: str) -> Standing:
        """How a key stands, whatever the model."""
        return self._states.of(key)

    def open_calls(self, key: str) -> int:
        """Calls with a key that are open."""
        return self._open[key, ""]

    def room(self, key: str) -> Room:
        """What the owner's limits leave of a key."""
        return self._rooms.of(key)

    def document(self) -> list[dict[str, Any]]:
        """Each key on offer for the owner: what `admin.status` documents of `keys`."""
        now, told = self._clock(), []
        for key in dict.fromkeys(key for offer in self._book.offers for key in offer.keys):
            standing, room = self._states.of(key), self._rooms.of(key)
            wait = max(standing.wait(now), room.wait or 0)
            told.append(
                {
                    "key": key,
                    "state": room.closed or standing.state.value,
                    "told": key_room.words(room, now)
                    if room.closed
                    else key_state.words(standing, now),
                    "seconds": None if math.isinf(wait) else math.ceil(wait),
                    "open_calls": self.open_calls(key),
                    "tokens_left": room.tokens_left,
                }
            )
        return told

    async def run(self) -> None:
        """Look again and again; ends only by cancellation."""
        while True:
            await asyncio.sleep(LOOK)
            self.look()

    def look(self) -> None:
        """Take up what the owner's commands have changed on disk."""
        try:
            changed = self._states.refresh(self._clock())
        except sqlite3.Error as error:
            self._log.event("pool_unreadable", reason=str(error))
            return
        for key in sorted(changed):
            state = self._states.of(key).state
            self._log.event("key_state", key=key, state=state)
            self._book.changed.set()
            if state is State.REFUSED:
                self._tell_refused(key)

    def _next(self, attempts: "_Attempts") -> Source:
        source = self._choose(attempts)
        attempts.left.remove(source)
        attempts.tried(source, attempts.faults[-1] if attempts.faults else None)
        return source

    def _choose(self, attempts: "_Attempts") -> Source:
        offer, left, faults = attempts.offer, attempts.left, attempts.faults
        free = self._free(offer, left, faults)
        if any(fault.blame is Blame.PROVIDER for fault in faults):
            failing = {source.provider for source in offer.sources if source not in left}
            free = [source for source in free if source.provider not in failing] or free
        if len(offer.sources) == 1:
            return free[0]
        spread = self._spreads.setdefault(offer.model, Spread())
        return spread.choose(free, offer.balance, lambda source: self.open_calls(source.key))

    def _free(
        self, offer: Offer, left: Sequence[Source], faults: list[ProviderFault]
    ) -> list[Source]:
        """The sources that may be asked, one at least; otherwise the fault that is over soonest."""
        against = [(source, self._against(source)) for source in left]
        free = [source for source, fault in against if fault is None]
        if free:
            return free
        if not faults and all(self._is_gone(source) for source in offer.sources):
            raise RemoteFault(RemoteCode.NO_MODEL, "the node does not offer this model")
        raise min((*faults, *(fault for _, fault in against if fault)), key=_soonest)

    def _is_gone(self, source: Source) -> bool:
        return self._states.of(source.key).state is State.REFUSED

    def _against(self, source: Source) -> ProviderFault | None:
        now = self._clock()
        for place in _places(source):
            standing = self._states.of(*place)
            if not standing.lets(now, probing=self._open[place] > 0):
                return _fault_of(standing, now)
        room = self._rooms.of(source.key)
        if room.closed:
            return ProviderFault(Reason.LIMIT, f"({room.closed})", room.wait)
        if room.at_once is not None and self.open_calls(source.key) >= room.at_once:
            return ProviderFault(Reason.LIMIT, "(concurrency)")
        return None

    def _counted(self, source: Source) -> "_Counted":
        return _Counted(self._open, _places(source))

    def _note(self, source: Source, fault: ProviderFault | None, began: float) -> None:
        """Learn from a call that ended, with a fault or an answer."""
        now = self._clock()
        for key, model in _places(source):
            before = self._states.of(key, model)
            if fault is None:
                after = key_state.after_answer(before, began)
            elif key_state.of_model(fault) == bool(model):
                after = key_state.after_fault(before, fault, began, now)
            else:
                continue
            if after != before:
                self._keep(key, model, before, after)

    def _keep(self, key: str, model: str, before: Standing, after: Standing) -> None:
        try:
            self._states.put(key, model, after)
        except sqlite3.Error as error:
            self._log.event("pool_unwritten", key=key, reason=str(error))
        if after.state is before.state:
            return
        self._book.changed.set()
        wait = after.wait(self._clock())
        self._log.event(
            "key_state",
            key=key,
            state=after.state,
            model=model,
            seconds=0 if math.isinf(wait) else math.ceil(wait),
        )
        if after.state is State.REFUSED:
            self._tell_refused(key)

    def _tell_refused(self, key: str) -> None:
        hint = f"replace it: `ricochet keys rotate {key}`, and start the node again"
        self._log.event("key_refused", key=key, hint=hint)
        for offer in self._book.offers:
            if key in offer.keys and all(self._is_gone(source) for source in offer.sources):
                self._log.event(
                    "offer_withdrawn",
                    model=offer.model,
                    key=key,
                    reason="the provider refuses this key",
                    hint=hint,
                )


class _Counted:
    """Holds a place among the open calls of a key."""

    def __init__(self, open_calls: Counter[Place], places: tuple[Place, Place]) -> None:
        self._open = open_calls
        self._places = places

    def __enter__(self) -> None:
        for place in self._places:
            self._open[place] += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for place in self._places:
            self._open[place] -= 1


class _Attempts:
    """The sources of one call that are left, and how those before failed."""

    def __init__(self, offer: Offer, tried: Tried) -> None:
        self.offer = offer
        self.tried = tried
        self.left = list(offer.sources)
        self.faults: list[ProviderFault] = []


def _places(source: Source) -> tuple[Place, Place]:
    return (source.key, ""), (source.key, source.upstream_model)


def _fault_of(standing: Standing, now: float) -> ProviderFault:
    """What a client hears in place of a call that is not sent."""
    wait = standing.wait(now)
    reason = standing.reason or Reason.FAILED
    if math.isinf(wait):
        return ProviderFault(reason)
    seconds = max(1, math.ceil(wait))
    return ProviderFault(reason, f"(for {seconds} s)", seconds)


async def _in_time(answer: Awaitable[T], until: Deadline) -> T:
    try:
        return await until.wait(answer)
    except TimeoutError:
        raise RemoteFault(RemoteCode.TIMEOUT, "the answer was not ready in time") from None


def _soonest(fault: ProviderFault) -> tuple[bool, bool, float]:
    wait = math.inf if fault.retry_after is None else fault.retry_after
    return fault.code != RemoteCode.BUSY, not fault.retryable, wait
