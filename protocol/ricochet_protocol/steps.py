"""What one call is worth while its answer streams, in steps that both sides work out alike.

Payer and payee count the prompt and the text that has crossed with the same tokenizer, so both know
what a next step costs without asking. The bill comes from the provider's own tokenizer and may be
higher: the `Surplus` of past bills over own counts is learnt by both, so that payments and demands
anticipate it and the end of an answer is not left unpaid. Nothing here exceeds what `usage.py`
lets a bill say.
"""

from typing import Final

import msgspec

from ricochet_protocol.advert import ModelOffer
from ricochet_protocol.money import Units, cost
from ricochet_protocol.usage import most_prompt, most_tokens, worst_cost

STEP_TOKENS: Final = 128
"""Output tokens in one step: the most by which either side is ahead of the other beyond a prompt.

Fewer cost more vouchers (each a signature, a message and a sync of the node's disk), more put more
at stake: at $10 a million tokens a step is an eighth of a cent.
"""
_REMEMBERED: Final = 7, 8
"""Each bill leaves that part of the sums before it: about the last ten calls count."""


class Surplus(msgspec.Struct, frozen=True):
    """Bills against own counts at the same price, as fading sums of units; equal at first."""

    billed: int = 0
    counted: int = 0

    def after(self, billed: Units, counted: Units) -> "Surplus":
        """Once a call that was counted at `counted` units has been billed."""
        part, whole = _REMEMBERED
        return Surplus(
            billed=self.billed * part // whole + billed,
            counted=self.counted * part // whole + counted,
        )

    def on(self, counted: Units) -> Units:
        """What a bill for `counted` is likely to be: never less, rounded up."""
        if self.billed <= self.counted:
            return counted
        return Units(-(-counted * self.billed // max(1, self.counted)))

    @property
    def factor(self) -> float:
        """The surplus as a factor of cost, 1.0 or more."""
        return max(1.0, self.billed / max(1, self.counted))


class Metered(msgspec.Struct, frozen=True):
    """One call on the terms of `offer`; `counted_in` is the own count of its prompt.

    `tools`: whether functions are offered to the model, which providers add tokens for.
    """

    offer: ModelOffer
    counted_in: int
    max_tokens: int
    tools: bool = False

    @property
    def worst(self) -> Units:
        """The most the call can cost: what has to be reserved."""
        return worst_cost(self.offer, self.counted_in, self.max_tokens, tools=self.tools)

    def counted(self, tokens_out: int) -> Units:
        """Prompt and `tokens_out` tokens of text by the own count."""
        out = min(tokens_out, self.max_tokens)
        return cost(self.counted_in, out, self.offer.price_in, self.offer.price_out)

    def most(self, tokens_out: int) -> Units:
        """The most that a bill for so much text is believed to say."""
        tokens_in = most_prompt(self.counted_in, tools=self.tools)
        out = most_tokens(tokens_out)
        prices = self.offer.price_in, self.offer.price_out
        return cost(tokens_in, min(self.max_tokens, out), *prices)

    def likely(self, tokens_out: int, surplus: Surplus) -> Units:
        """What a bill for so much text is likely to say."""
        return Units(min(surplus.on(self.counted(tokens_out)), self.most(tokens_out)))

    @property
    def opening(self) -> Units:
        """Prompt and first step, by the own count alone: both sides get the same, unasked."""
        return self.counted(STEP_TOKENS)
