"""Which nodes can serve a conversation: features, window, money; and why none can.

Pure: candidates and amounts in, candidates or an error out. Reasons are looked at in the order in
which a caller can do something about them.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

import msgspec

from ricochet_orchestrator.plan import needed_window
from ricochet_orchestrator.route import Candidate
from ricochet_protocol.advert import ModelOffer
from ricochet_protocol.conversation import Feature
from ricochet_protocol.errors import BudgetError, RemoteCode, RemoteFault, UsageError
from ricochet_protocol.ids import ModelId, PeerId
from ricochet_protocol.money import Units, dollars
from ricochet_protocol.usage import TOOLS_TOKENS, worst_cost

DEFAULT_TOKENS: Final = 4096
"""Of an answer whose caller names no limit, as far as the model's window has room."""

RAISE: Final = "ricochet serve keys limit NAME DOLLARS"


class Wanted(msgspec.Struct, frozen=True):
    """What a conversation needs; `counted` is its prompt by the own count.

    `max_tokens` is None when the caller names no limit.
    """

    model: ModelId
    features: frozenset[Feature]
    counted: int
    max_tokens: int | None

    def tokens(self, offer: ModelOffer) -> int:
        """Tokens for the answer on this offer; below 1 when its window has no room."""
        tools = TOOLS_TOKENS if "tools" in self.features else 0
        room = offer.context - needed_window(self.model, self.counted, tools)
        if self.max_tokens is not None:
            return self.max_tokens if self.max_tokens <= room else 0
        return min(DEFAULT_TOKENS, room)

    def worst(self, offer: ModelOffer) -> Units:
        """The most it can cost on this offer."""
        tools = "tools" in self.features
        return worst_cost(offer, self.counted, self.tokens(offer), tools=tools)


def fitting(
    wanted: Wanted,
    offering: Sequence[Candidate],
    unaffordable: Mapping[PeerId, BudgetError],
    left: Units | None,
) -> list[Candidate]:
    """Of those that offer the model, who can serve this; `left` is what it may cost at most.

    UsageError `unsupported`; RemoteFault `too_long`; BudgetError: that of an `unaffordable` node,
    or `key_budget`.
    """
    able = [one for one in offering if not wanted.features - set(one.offer.features)]
    if not able:
        raise _unsupported(wanted, offering)
    wide = [one for one in able if wanted.tokens(one.offer) > 0]
    if not wide:
        raise _too_long(wanted, able)
    payable = [one for one in wide if one.peer not in unaffordable]
    if not payable:
        raise next(iter(unaffordable.values()))
    cheap = [one for one in payable if left is None or wanted.worst(one.offer) <= left]
    if not cheap:
        raise over_budget(min(wanted.worst(one.offer) for one in payable), left or Units(0))
    return cheap


def over_budget(worst: Units, left: Units) -> BudgetError:
    """The error for what an API key's budget does not hold."""
    return BudgetError(
        "key_budget",
        f"This API key has {dollars(left)} left, and the call may cost {dollars(worst)}.",
        "Ask for fewer tokens, wait for the key's next day or period, or have its owner raise its "
        f"budget: {RAISE}",
    )


def _unsupported(wanted: Wanted, offering: Collection[Candidate]) -> UsageError:
    offered = {feature for one in offering for feature in one.offer.features}
    missing = wanted.features - offered or wanted.features
    return UsageError(
        "unsupported",
        f"No node supports {', '.join(sorted(missing))} with the model {wanted.model}.",
        "Leave it out, or choose another model.",
    )


def _too_long(wanted: Wanted, able: Collection[Candidate]) -> RemoteFault:
    widest = max(one.offer.context for one in able)
    return RemoteFault(
        RemoteCode.TOO_LONG,
        f"the request counts {wanted.counted} tokens and wants an answer of "
        f"{wanted.max_tokens or 1}; the largest window of {wanted.model} on offer is {widest}",
        "shorten it, ask for fewer tokens, or give the text to a chain",
    )
