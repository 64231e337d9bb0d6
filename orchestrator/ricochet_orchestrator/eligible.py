"""Which offers a run's settings let in, and why the others stay out.

These are statements of the adverts themselves. A region and a basis are their operator's word: they
serve order and law, and prove nothing about where or by whom a prompt is read.
"""

from collections.abc import Mapping
from typing import Final

from ricochet_orchestrator.routing import RoutingSettings
from ricochet_protocol.advert import Advert, ModelOffer

ELIGIBLE: Final = ""


def why_not(advert: Advert, offer: ModelOffer, settings: RoutingSettings) -> str:
    """The first reason against an offer, in a word; `ELIGIBLE` without one."""
    parties = {str(advert.peer), str(advert.operator)}
    if parties.intersection(settings.deny):
        return "denied"
    if settings.allow and not parties.intersection(settings.allow):
        return "not_allowed"
    if settings.regions and advert.region.casefold() not in map(str.casefold, settings.regions):
        return "region"
    # A call may go to any of the node's providers, so each of its bases has to be allowed.
    if settings.policies and {one.kind for one in offer.bases} - set(settings.policies):
        return "policy"
    if settings.max_price_in is not None and offer.price_in > settings.max_price_in:
        return "price_in"
    if settings.max_price_out is not None and offer.price_out > settings.max_price_out:
        return "price_out"
    return ELIGIBLE


WORDS: Final[Mapping[str, str]] = {
    "denied": "on your deny list",
    "not_allowed": "not on your allow list",
    "region": "of another region",
    "policy": "offered on another basis",
    "price_in": "too dear for prompts",
    "price_out": "too dear for answers",
    "latency": "its first token comes too late",
    "distrusted": "its answers did not pass",
    "window": "its window is too small",
    "unaffordable": "not trusted with as much yet",
    "waits": "it asked for a pause",
    "open": "it failed and is left alone",
    "full": "all its slots are taken",
    "private": "serves its owner's accounts only",
    "basis": "its permission does not hold",
}
"""The reasons, for people."""
