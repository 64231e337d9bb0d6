"""What providers charge for their models, as far as it is known here: the owner's own cost.

The table is the one that litellm's wheel carries, read as the data it is: importing litellm would
cost seconds. It is as old as that wheel, so a price in `node.yaml` goes before it. Servers of one's
own charge nothing; for a model that is in no table the answer is None, never a guess.

Cached prompts, batches, and what providers bill besides tokens are not in it.
"""

import re
from decimal import ROUND_CEILING, Decimal
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import msgspec

from ricochet_node.providers import PROVIDERS
from ricochet_protocol.errors import LocalFault
from ricochet_protocol.money import TOKENS_PER_PRICE, UNITS_PER_DOLLAR, PricePerMillion

_TABLE: Final = "model_prices_and_context_window_backup.json"
_NAMES: Final = {
    "openai": ("openai", ""),
    "anthropic": ("anthropic", ""),
    "google": ("gemini", "gemini/"),
    "mistral": ("mistral", "mistral/"),
    "deepseek": ("deepseek", "deepseek/"),
}
"""Our provider's name to litellm's, and what it writes before the model's name."""
_LONG: Final = re.compile(r"(input|output)_cost_per_token_above_(\d+)k_tokens")
"""Some models cost more per token from so many thousand tokens of prompt on."""


class Price(msgspec.Struct, frozen=True):
    """In units (millionths of a dollar) per million tokens, rounded up."""

    tokens_in: PricePerMillion
    tokens_out: PricePerMillion


FREE: Final = Price(tokens_in=PricePerMillion(0), tokens_out=PricePerMillion(0))


@lru_cache(maxsize=1024)
def price_of(provider: str, model: str, prompt: int = 0) -> Price | None:
    """What `provider` charges for `model` after a prompt of so many tokens; None if unknown.

    LocalFault `price_table_missing` when litellm's wheel is damaged.
    """
    row = PROVIDERS.get(provider)
    if row is not None and not row.needs_key:
        return FREE
    if provider not in _NAMES:
        return None
    name, prefix = _NAMES[provider]
    raw = _table().get(prefix + model)
    entry = {} if raw is None else msgspec.json.decode(raw, type=dict[str, object])
    if entry.get("litellm_provider") != name:
        return None
    costs = {side: entry.get(f"{side}_cost_per_token") for side in ("input", "output")}
    steps = sorted(
        (int(found[2]) * 1000, found[1], value)
        for key, value in entry.items()
        if (found := _LONG.fullmatch(key)) and isinstance(value, int | float)
    )
    costs.update((side, value) for least, side, value in steps if prompt > least)
    if not all(isinstance(value, int | float) for value in costs.values()):
        return None
    return Price(tokens_in=_per_million(costs["input"]), tokens_out=_per_million(costs["output"]))


def _per_million(dollars_per_token: object) -> PricePerMillion:
    exact = Decimal(str(dollars_per_token)) * TOKENS_PER_PRICE * UNITS_PER_DOLLAR
    return PricePerMillion(int(exact.to_integral_value(ROUND_CEILING)))


@cache
def _table() -> dict[str, msgspec.Raw]:
    # find_spec locates a top-level package without importing it.
    spec = find_spec("litellm")
    try:
        if spec is None or spec.origin is None:
            raise OSError
        data = (Path(spec.origin).parent / _TABLE).read_bytes()
        return msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    except (OSError, msgspec.DecodeError):
        raise LocalFault(
            "price_table_missing",
            "the table of provider prices is missing or damaged",
            "install again: pip install --force-reinstall litellm==1.106.2",
        ) from None
