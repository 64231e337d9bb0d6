"""Watches one call on its way through the node, and tells how it went when it has ended.

Whatever happens to a call (answer, demand for payment, fault, a client that vanishes) ends in one
`RequestRecord`, and the call itself is passed on unchanged.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Literal

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
) -> AsyncGenerator[Reply, None]:
    """The same replies; `tell` hears the record at their end. `now` is Unix seconds."""
    clock = asyncio.get_running_loop().time
    start, first = clock(), None
    outcome, last = CANCELLED, None
    try:
        async with aclosing(replies):
            async for reply in replies:
                if first is None and isinstance(reply, Chunk | CallPiece):
                    first = clock()
                last = reply
                yield reply
        outcome = "payment_required" if isinstance(last, PaymentRequired) else OK
    except RemoteFault as fault:
        outcome = fault.code
        raise
    except RicochetError:
        outcome = "internal"
        raise
    finally:
        receipt = last.receipt.receipt if isinstance(last, Answered) else None
        used = note.charged if receipt is None else _used(receipt)
        tell(
            RequestRecord(
                time=now,
                door=door,
                request_id=ask.request_id,
                subscriber=subscriber,
                period=ask.period,
                model=note.model,
                key=note.key,
                outcome=outcome if receipt is None else OK,
                tokens_in=used[0],
                tokens_out=used[1],
                exact=receipt.exact if receipt else False,
                income=used[2],
                upstream_cost=note.upstream_cost,
                first_token_ms=None if first is None else round(1000 * (first - start)),
                ms=round(1000 * (clock() - start)),
                replayed=note.replayed,
            )
        )
