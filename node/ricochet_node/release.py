"""Lets an answer out only as far as it is secured, and knows how far that was.

    from the provider ─► held ─► secured? ──► to the client
                                  └ no: Due, wait for a voucher

The word that came last is always held: what follows shows whether it is the end, and the end is
let out only when the bill is secured. While a piece waits nothing is read from the provider, whose
stream the connection then holds back. Counts are the node's own; what they become in a bill is
expected as the offer's past bills were.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from ricochet_node.standings import Standing, Tab
from ricochet_protocol.answer import said
from ricochet_protocol.errors import RemoteCode, RemoteFault
from ricochet_protocol.messages import CallPiece, Chunk, Due
from ricochet_protocol.money import Units
from ricochet_protocol.payee import Short
from ricochet_protocol.steps import STEP_TOKENS, Metered, Surplus
from ricochet_protocol.tokens import RunningCount, count_tokens

PAY_SECONDS: Final = 30.0
"""How long an answer waits for a voucher: one is a signature and a message, but lines fail."""


class Unpaid(RemoteFault):
    """The client did not pay in time for what comes next."""

    retryable = False


class Till:
    """Where an open call waits for vouchers; `deadline` is when the call ends whatever comes."""

    def __init__(self, standing: Standing, deadline: float) -> None:
        self._standing = standing
        self._deadline = deadline
        self._told = -1
        self._give_up: float | None = None

    async def demand(
        self, short_of: Callable[[], Short | None], wanted: Callable[[], Short | None]
    ) -> Due | None:
        """None once `short_of` says that nothing is missing; else what to tell the client first.

        He is told what is `wanted`, which may be more, and again only when that has risen. Unpaid
        when no voucher comes in time.
        """
        now = asyncio.get_running_loop().time()
        give_up = self._give_up or min(now + PAY_SECONDS, self._deadline)
        while (short := short_of()) is not None:
            self._give_up = give_up
            pay = Units(max(short.pay, (wanted() or short).pay))
            if pay > self._told:
                self._told = pay
                return Due(due=pay)
            try:
                async with asyncio.timeout_at(give_up):
                    await self._standing.changed()
            except TimeoutError:
                raise Unpaid(
                    RemoteCode.PAYMENT_REQUIRED,
                    f"vouchers did not reach {pay} units in time for the rest of the answer",
                    "ask again, and pay as the answer comes",
                ) from None
        self._give_up = None
        return None


class Release:
    """One call's answer on its way out; times are the event loop's."""

    def __init__(self, tab: Tab, metered: Metered, surplus: Surplus, deadline: float) -> None:
        self._tab = tab
        self._metered = metered
        self._surplus = surplus
        self._till = Till(tab.standing, deadline)
        self._count = RunningCount()
        self._tokens = 0
        self._held: deque[Chunk | CallPiece] = deque()
        self._next: int | None = None

    @property
    def delivered(self) -> tuple[int, int]:
        """Tokens of the prompt, and of the answer as far as it was let out."""
        return self._metered.counted_in, self._tokens

    @property
    def worth(self) -> Units:
        """What that costs by the node's own count; never more than was secured for the call."""
        return Units(min(self._tab.backed, self._metered.counted(self._tokens)))

    def foresee(self) -> Due | None:
        """What the first step will lack by past bills: told while the provider reads the prompt."""
        short = self._step()
        return None if short is None else Due(due=short.pay)

    def take(self, piece: Chunk | CallPiece) -> None:
        """The next piece from the provider; whatever is before its end can go."""
        *parts, last = _small(piece)
        self._held.extend(parts)
        self._held.extend(_end_apart(last))

    async def next(self) -> Chunk | CallPiece | Due | None:
        """What to send now, None when more has to be taken first; Unpaid."""
        if len(self._held) < 2:
            return None
        if self._next is None:
            self._next = self._count.add(said(self._held[0]))
        value = self._metered.likely(self._next, self._surplus)
        due = await self._till.demand(lambda: self._tab.secure(value), self._step)
        if due is not None:
            return due
        self._tokens, self._next = self._next, None
        return self._held.popleft()

    async def before_end(self, cost: Units) -> Due | None:
        """What to send before the end of an answer that costs `cost`; None when that is paid."""
        return await self._till.demand(
            lambda: self._tab.short_of_bill(cost), lambda: self._tab.short_of_bill(cost)
        )

    def end(self) -> tuple[Chunk | CallPiece, ...]:
        """The last piece: to be sent once the bill is secured and on disk."""
        return tuple(self._held)

    def _step(self) -> Short | None:
        return self._tab.short_of(self._metered.likely(self._tokens + STEP_TOKENS, self._surplus))


def _end_apart(piece: Chunk | CallPiece) -> Iterator[Chunk | CallPiece]:
    """`piece` with its last word by itself: more than that need not be held."""
    cut = piece.text.rfind(" ") if isinstance(piece, Chunk) else 0
    if isinstance(piece, Chunk) and cut > 0:
        yield Chunk(text=piece.text[:cut])
        yield Chunk(text=piece.text[cut:])
    else:
        yield piece


def _small(piece: Chunk | CallPiece) -> Iterator[Chunk | CallPiece]:
    """`piece` in parts of half a step at most, so that the next one is always within a step."""
    text = piece.text if isinstance(piece, Chunk) else piece.arguments
    half = len(text) // 2
    if not half or count_tokens(said(piece)) <= STEP_TOKENS // 2:
        yield piece
    elif isinstance(piece, Chunk):
        yield from _small(Chunk(text=text[:half]))
        yield from _small(Chunk(text=text[half:]))
    else:
        yield from _small(msgspec.structs.replace(piece, arguments=text[:half]))
        # What continues a call has neither id nor name.
        rest = CallPiece(index=piece.index, id="", name="", arguments=text[half:])
        yield from _small(rest)
