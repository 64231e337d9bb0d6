"""Watches one call on its way through the node, and tells how it went when it has ended.

Whatever happens to a call (answer, demand for payment, fault, a client that vanishes) ends in one
`RequestRecord`, and the call itself is passed on unchanged. What was said is collected only where
owner and subscriber agreed to that, see `content_log`.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal, Self

from ricochet_node.chat_body import chat_body
from ricochet_node.content_log import ContentRecord, content_of
from ricochet_node.faults import ProviderFault
from ricochet_node.offer import Source
from ricochet_node.request_log import OK, Door, RequestRecord
from ricochet_node.vault_request import most_prompt_tokens
from ricochet_protocol.errors import RemoteFault, RicochetError
from ricochet_protocol.ids import Address, ModelId
from ricochet_protocol.messages import Answered, Ask, CallPiece, Chunk, PaymentRequired, Reply
from ricochet_protocol.money import Units
from ricochet_protocol.receipt import Receipt

CANCELLED = "cancelled"
"""Outcome of a call whose client left."""
UNKNOWN = ModelId("(unknown)")
"""Stands for models that are not offered: their names are a stranger's text."""


Price = Callable[[int, int], Units | None]
"""What a provider charges for so many tokens in and out; None if nobody knows."""


@dataclass
class Note:
    """What only the inside of the node knows of a call; filled in while it is served."""

    model: ModelId = UNKNOWN
    key: str = ""
    price: Price | None = None
    """None as long as no provider was asked."""
    missed: list[tuple[Price, ProviderFault]] = field(default_factory=list)
    """Each source that failed before another took over, with its fault."""
    used: tuple[int, int] | None = None
    """Tokens of an answer that came whole."""
    answered: tuple[int, int, bool] | None = None
    """Tokens of an answer to an own call, and whether the provider counted them."""
    charged: tuple[int, int, Units] = (0, 0, Units(0))
    """Tokens in and out, and units, that a client owes who left before the receipt."""
    replayed: bool = False

    def tried(self, source: Source, missed: ProviderFault | None) -> None:
        """A source is asked, after another one has failed if `missed` says so."""
        if missed is not None and self.price is not None:
            self.missed.append((self.price, missed))
        self.key, self.price = source.key, source.cost


class Records:
    """Who hears of calls when they have ended."""

    def __init__(self) -> None:
        self.listeners: list[Callable[[RequestRecord], None]] = []
        self.content_listeners: list[Callable[[ContentRecord], None]] = []
        """Hear prompt and answer of the calls whose subscribers allow that: the owner's choice."""

    def watch(
        self, ask: Ask, subscriber: Address | Literal[""], door: Door, note: Note, now: float
    ) -> "Watch":
        """A context for one call, whose end they hear. `now` is Unix seconds."""
        return Watch(self, ask, subscriber, door, note, now)


class Watch:
    """One call; `receipt` and `unpaid` are how it went, set by who serves it."""

    def __init__(
        self,
        records: Records,
        ask: Ask,
        subscriber: Address | Literal[""],
        door: Door,
        note: Note,
        now: float,
    ) -> None:
        self.receipt: Receipt | None = None
        self.unpaid = False
        self._records = records
        self._ask = ask
        self._who = (door, subscriber)
        self._note = note
        self._now = now
        self._clock = asyncio.get_running_loop().time
        self._start = self._clock()
        self._first: int | None = None
        kept = ask.allow_logging and records.content_listeners
        self._pieces: list[Chunk | CallPiece] | None = [] if kept else None

    def hear(self, piece: Chunk | CallPiece) -> None:
        """A piece of the answer goes to the client."""
        if self._first is None:
            self._first = self._since()
        if self._pieces is not None:
            self._pieces.append(piece)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        fault = error if isinstance(error, RemoteFault) else None
        record = self._record(self._outcome(error), fault)
        for listener in self._records.listeners:
            listener(record)
        if self._pieces is not None and self._note.key:
            content = content_of(record, self._ask, self._pieces)
            for keep in self._records.content_listeners:
                keep(content)

    def _outcome(self, error: BaseException | None) -> str:
        if self.receipt is not None or self._note.answered is not None:
            return OK
        if isinstance(error, RemoteFault):
            return error.code
        if isinstance(error, RicochetError):
            return "internal"
        if error is not None:
            return CANCELLED
        return "payment_required" if self.unpaid else OK

    def _record(self, outcome: str, fault: RemoteFault | None) -> RequestRecord:
        ask, note, receipt = self._ask, self._note, self.receipt
        (tokens_in, tokens_out, income), exact = note.charged, False
        if receipt is not None:
            tokens_in, tokens_out, income = receipt.tokens_in, receipt.tokens_out, receipt.cost
            exact = receipt.exact
        elif note.answered is not None:
            tokens_in, tokens_out, exact = note.answered
        cost, risk = upstream_cost(ask, note, fault)
        door, subscriber = self._who
        return RequestRecord(
            time=self._now,
            door=door,
            request_id=ask.request_id,
            subscriber=subscriber,
            period=ask.period,
            model=note.model,
            key=note.key,
            outcome=outcome,
            tokens_in=tokens_in,
            tokens_out=tokens_out,
            exact=exact,
            income=income,
            upstream_cost=cost,
            first_token_ms=self._first,
            ms=self._since(),
            replayed=note.replayed,
            upstream_risk=risk,
        )

    def _since(self) -> int:
        return round(1000 * (self._clock() - self._start))


async def recorded(
    replies: AsyncGenerator[Reply, None], watch: Watch
) -> AsyncGenerator[Reply, None]:
    """The same replies; `watch` hears them."""
    with watch:
        async with aclosing(replies):
            async for reply in replies:
                if isinstance(reply, Chunk | CallPiece):
                    watch.hear(reply)
                elif isinstance(reply, Answered):
                    watch.receipt = reply.receipt.receipt
                watch.unpaid = isinstance(reply, PaymentRequired)
                yield reply


def upstream_cost(ask: Ask, note: Note, fault: RemoteFault | None) -> tuple[Units | None, Units]:
    """What the provider asks for the call as far as it said, and what it may ask beyond that.

    A call that was cut, by whomever, may have been generated to its end and is risked at its worst,
    as the vault counts it. None for the first when the price is not known.
    """
    if note.price is None:
        return Units(0), Units(0)
    asked = [_asked(ask, price, None, missed) for price, missed in note.missed]
    asked.append(_asked(ask, note.price, note.used, fault))
    known = [cost for cost, _ in asked if cost is not None]
    total = Units(sum(known)) if len(known) == len(asked) else None
    return total, Units(sum(risk for _, risk in asked))


def _asked(
    ask: Ask,
    price: Price,
    reported: tuple[int, int] | None,
    fault: RemoteFault | None,
) -> tuple[Units | None, Units]:
    """The same for one source."""
    if reported is None and isinstance(fault, ProviderFault):
        if fault.unbilled:
            return Units(0), Units(0)
        reported = fault.tokens
    if reported is not None:
        return price(*reported), Units(0)
    size = len(chat_body(ask.model, ask))
    worst = price(most_prompt_tokens(size, tools=bool(ask.tools)), ask.max_tokens)
    return (None, Units(0)) if worst is None else (Units(0), worst)
