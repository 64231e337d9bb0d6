"""How far a node's count of tokens may differ from the client's before it is not believed.

Tokenizers differ: the client counts with cl100k, a node reports what its provider's own tokenizer
and chat template make of the same text. Measured against SmolLM2, template of about 30 tokens
included: 1.11 to 1.14 times cl100k's count for English reference text, 1.18 for Markdown, 1.30 for
Solidity, 1.79 for Russian. So the bound is wide, and output never exceeds the ask's `max_tokens`.
"""

from typing import Final

from ricochet_protocol.advert import ModelOffer
from ricochet_protocol.errors import RemoteCode, RemoteFault
from ricochet_protocol.money import Units, cost
from ricochet_protocol.receipt import Receipt

TOLERANCE_PERCENT: Final = 200
"""A count up to twice the client's passes; a plain over-reporter gains at most one factor of 2."""
TEMPLATE_TOKENS: Final = 64
TOOLS_TOKENS: Final = 1024
"""What a provider's own prompt about tools may add: Anthropic documents up to 530, and OpenAI's
layout of functions adds a few for each."""


def most_tokens(counted: int) -> int:
    """The largest believable count for text that the client counts as `counted`."""
    return counted * TOLERANCE_PERCENT // 100 + TEMPLATE_TOKENS


def most_prompt(counted: int, *, tools: bool = False) -> int:
    """The largest believable count for a prompt; with `tools`, providers add a text of theirs."""
    return most_tokens(counted) + (TOOLS_TOKENS if tools else 0)


def worst_cost(
    offer: ModelOffer, counted_in: int, max_tokens: int, *, tools: bool = False
) -> Units:
    """The most a call can cost: what the client must have reserved, and the node admits."""
    tokens_in = most_prompt(counted_in, tools=tools)
    return cost(tokens_in, max_tokens, offer.price_in, offer.price_out)


def check_usage(
    receipt: Receipt,
    offer: ModelOffer,
    counted_in: int,
    counted_out: int,
    max_tokens: int,
    *,
    tools: bool = False,
) -> None:
    """RemoteFault when the receipt bills tokens that were not there or at another price."""
    if receipt.tokens_in > most_prompt(counted_in, tools=tools):
        raise RemoteFault(
            RemoteCode.REFUSED,
            f"peer bills {receipt.tokens_in} tokens in where {counted_in} were sent",
        )
    if receipt.tokens_out > min(max_tokens, most_tokens(counted_out)):
        raise RemoteFault(
            RemoteCode.REFUSED,
            f"peer bills {receipt.tokens_out} tokens out where {counted_out} came",
        )
    fair = cost(receipt.tokens_in, receipt.tokens_out, offer.price_in, offer.price_out)
    if receipt.cost != fair:
        raise RemoteFault(
            RemoteCode.REFUSED, f"peer bills {receipt.cost} units where its offer says {fair}"
        )
