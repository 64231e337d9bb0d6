"""What can be chosen for a role, and whether a choice works.

Choices are what peers offer now, summed up by model. The trial is one small call that is paid like
any other; its text holds the moment, so that no stored answer stands in for it.
"""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from ricochet_orchestrator import app, role_models, views
from ricochet_orchestrator.chain_language import Chain, ChainStep
from ricochet_orchestrator.document import document_from
from ricochet_orchestrator.request import Options
from ricochet_orchestrator.role_models import Chosen
from ricochet_protocol.ids import ModelId
from ricochet_protocol.money import PricePerMillion

if TYPE_CHECKING:
    from ricochet_orchestrator.peer_reports import PeerRow

_PROMPT: Final = "{text}\n\nIs the statement above about a moment? Answer yes or no."
_TOKENS: Final = 16


class ModelChoice(msgspec.Struct, frozen=True):
    """A model on offer: lowest prices in units per million tokens, largest window, how many peers.

    `first_token` is the shortest delay that was learnt, in seconds; None when nothing was.
    """

    model: ModelId
    peers: int
    price_in: PricePerMillion
    price_out: PricePerMillion
    context: int
    first_token: float | None


async def on_network(home: Path) -> tuple[ModelChoice, ...]:
    """What peers offer now, models of most peers first. Any RicochetError of connecting."""
    return choices(await views.list_peers(home, offline=False))


def choices(rows: "Iterable[PeerRow]") -> tuple[ModelChoice, ...]:
    """Offers of registered peers, by model."""
    found: dict[ModelId, ModelChoice] = {}
    for row in rows:
        for offer in row.offers if row.registered else ():
            opinion = row.opinions.get(offer.id)
            delay = None
            if opinion is not None and opinion.first_token.weight > 0:
                delay = opinion.first_token.value
            one = ModelChoice(offer.id, 1, offer.price_in, offer.price_out, offer.context, delay)
            known = found.get(offer.id)
            found[offer.id] = one if known is None else _both(known, one)
    return tuple(sorted(found.values(), key=lambda one: (-one.peers, one.model)))


def _both(known: ModelChoice, one: ModelChoice) -> ModelChoice:
    delays = [delay for delay in (known.first_token, one.first_token) if delay is not None]
    return ModelChoice(
        model=known.model,
        peers=known.peers + 1,
        price_in=min(known.price_in, one.price_in),
        price_out=min(known.price_out, one.price_out),
        context=max(known.context, one.context),
        first_token=min(delays, default=None),
    )


def trial(home: Path, role: str, model: ModelId | None) -> tuple[app.Task, Chosen]:
    """A run of one small call to a role's model, or to the one named."""
    chosen = role_models.choose(role, role_models.layers(home, Path.cwd()))
    if model is not None:
        chosen = Chosen(role, model, "flag")
    step = ChainStep("trial", role, "map", "segments", _PROMPT, _TOKENS)
    document = document_from("trial", f"This was written at {time.time_ns()}.")
    options = Options(model=None if chosen.model is None else ModelId(chosen.model))
    return app.Task(document, Chain("model-trial", (step,)), options), chosen
