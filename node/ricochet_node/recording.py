"""Watches one call on its way through the node, and tells how it went when it has ended.

Whatever happens to a call (answer, demand for payment, fault, a client that vanishes) ends in one
`RequestRecord`, and the call itself is passed on unchanged. What was said is collected only for
who has a consent to show (`keep`), see `content_log`.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Literal

import msgspec

from ricochet_node.content_log import ContentRecord, content_of
from ricochet_node.request_log import OK, Door, RequestRecord
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
    key: str = ""
    upstream_cost: Units | None = None
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
    outcome, last = CANCELLED, None
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
    except RemoteFault as fault:
        outcome = fault.code
        raise
    except RicochetError:
        outcome = "internal"
        raise
    finally:
        record = _record(ask, subscriber, door, note, now, outcome, last)
        record = msgspec.structs.replace(
            record,
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
    """The record but for its times."""
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
        upstream_cost=note.upstream_cost,
        first_token_ms=None,
        ms=0,
        replayed=note.replayed,
    )
