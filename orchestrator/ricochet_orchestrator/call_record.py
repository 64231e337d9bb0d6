"""What is on record of single calls, as values; `calls` keeps them.

Apart from it so that code which only passes these values does not load the database library.
"""

import hashlib
from enum import StrEnum
from typing import Final, Literal, NewType

import msgspec

from ricochet_orchestrator.api_keys import ApiKey
from ricochet_protocol.advert import SignedAdvert
from ricochet_protocol.conversation import ToolCall
from ricochet_protocol.ids import ModelId, PeerId, Period, RequestId
from ricochet_protocol.money import Units

CallId = NewType("CallId", str)
"""32 hex digits."""
DAY: Final = 86_400


class Allowance(msgspec.Struct, frozen=True):
    """What an API key may spend: `budget` in each period of the subscription, or each UTC day.

    `key` is the key's id; without a budget only the subscription's own limits it.
    """

    key: str
    budget: Units | None = None
    per: Literal["period", "day"] = "period"


def allowance_of(key: ApiKey) -> Allowance:
    """What calls with a key may spend."""
    return Allowance(key=key.id, budget=key.budget, per=key.per)


class CallStatus(StrEnum):
    """Where a call stands; `cut`: the process that made it is gone, what came is not known."""

    OPEN = "open"
    COMPLETED = "completed"
    FAILED = "failed"
    CUT = "cut"


class Call(msgspec.Struct, frozen=True):
    """A call as it is entered; `request` is the digest of what was asked for.

    `max_tokens` is part of its asks; `conflicts` counts the request ids given up.
    """

    id: CallId
    allowance: Allowance
    model: ModelId
    request: str
    period: Period
    created_at: float
    max_tokens: int = 0
    conflicts: int = 0

    @property
    def request_id(self) -> RequestId:
        """The request id of its ask: the same in every process, so that a node can replay."""
        text = f"call {self.id} {self.conflicts}"
        return RequestId(hashlib.sha256(text.encode()).hexdigest()[:32])


class CallAnswer(msgspec.Struct, frozen=True):
    """What a call brought; tokens as its receipt has them."""

    text: str
    calls: tuple[ToolCall, ...]
    finish: str
    tokens_in: int
    tokens_out: int
    cost: Units


class Known(msgspec.Struct, frozen=True):
    """What is on record of a call; `peer` and `advert` tell whom it was asked of last."""

    call: Call
    status: CallStatus
    peer: PeerId | None
    advert: SignedAdvert | None
    answer: CallAnswer | None
