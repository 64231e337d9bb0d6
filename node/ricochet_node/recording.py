"""Watches one call on its way through the node, and tells how it went when it has ended.

Whatever happens to a call (answer, demand for payment, fault, a client that vanishes) ends in one
`RequestRecord`, and the call itself is passed on unchanged. What was said is collected only for
who has a consent to show (`keep`), see `content_log`.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from ricochet_node.chat_body import chat_body
from ricochet_node.content_log import ContentRecord, content_of
from ricochet_node.faults import ProviderFault
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


def _used(receipt: Receipt) -> tuple[int, int, Units]:
    return receipt.tokens_in, receipt.tokens_out, receipt.cost


@dataclass
class Note:
    """What only the inside of the node knows of a call; filled in while it is served."""

    model: ModelId = UNKNOWN
    whole: bool = False
    """Whether nobody waits for its first piece."""
    key: str = ""
    price: Callable[[int, int], Units | None] | None = None
    """What the provider charges for so many tokens; None as long as no provider was asked."""
    missed: list[tuple[Callable[[int, int], Units | None], ProviderFault]] = field(
        default_factory=list
    )
    """The same of each source that failed before another took over, with its fault."""
    used: tuple[int, int] | None = None
    """Tokens of an answer that came whole."""
    charged: tuple[int, int, Units] = (0, 0, Units(0))
    """Tokens in and out, and units, that a client owes who left before the receipt."""
    replayed: bool = False


async def recorded(
    replies: AsyncGenerator[Reply, None],
    ask: Ask,
    subscriber: Address | Literal[""],
    door: Door,
    note: Note,
    now: float,
    tell: Callable[[RequestRecord], None],
    keep: Callable[[ContentRecord], None] | None = None,
) -> AsyncGenerator[Reply, None]:
    """The same replies; `tell` hears the record at their end. `now` is Unix seconds.

    `keep` gets prompt and answer too: None unless owner and subscriber agreed to that.
    """
    clock = asyncio.get_running_loop().time
    start, first = clock(), None
    outcome, last, fault = CANCELLED, None, None
    pieces: list[Chunk | CallPiece] = []
    try:
        async with aclosing(replies):
            async for reply in replies:
                if first is None and isinstance(reply, Chunk | CallPiece):
                    first = clock()
                last = reply
                if keep is not None and isinstance(reply, Chunk | CallPiece):
                    pieces.append(reply)
                yield reply
        outcome = "payment_required" if isinstance(last, PaymentRequired) else OK
    except RemoteFault as error:
        fault, outcome = error, error.code
        raise
    except RicochetError:
        outcome = "internal"
        raise
    finally:
        cost, risk = upstream_cost(ask, note, fault)
        record = msgspec.structs.replace(
            _record(ask, subscriber, door, note, now, outcome, last),
            upstream_cost=cost,
            upstream_risk=risk,
            first_token_ms=None if first is None else round(1000 * (first - start)),
            ms=round(1000 * (clock() - start)),
        )
        tell(record)
        if keep is not None and note.key:
            keep(content_of(record, ask, pieces))


def _record(
    ask: Ask,
    subscriber: Address | Literal[""],
    door: Door,
    note: Note,
    now: float,
    outcome: str,
    last: Reply | None,
) -> RequestRecord:
    """The record but for its times and what the provider asks."""
    receipt = last.receipt.receipt if isinstance(last, Answered) else None
    tokens_in, tokens_out, income = note.charged if receipt is None else _used(receipt)
    return RequestRecord(
        time=now,
        door=door,
        request_id=ask.request_id,
        subscriber=subscriber,
        period=ask.period,
        model=note.model,
        key=note.key,
        outcome=outcome if receipt is None else OK,
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        exact=receipt.exact if receipt else False,
        income=income,
        upstream_cost=None,
        first_token_ms=None,
        ms=0,
        replayed=note.replayed,
    )


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
    price: Callable[[int, int], Units | None],
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
