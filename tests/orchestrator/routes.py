"""Candidates and observations for tests of routing."""

import msgspec

from ricochet_orchestrator.route import Candidate, Need, Router
from ricochet_protocol.advert import Advert, SignedAdvert
from ricochet_protocol.ids import Address, ModelId, NetworkId, PeerId
from ricochet_protocol.money import PricePerMillion
from twins.scripted_node import MODEL, OFFER

NEED = Need(1000, 90)


def candidate(name: str, limit: int = 1, price: int = 100_000) -> Candidate:
    advert = Advert(
        peer=PeerId(name),
        addresses=("/memory",),
        operator=Address("0x" + "00" * 20),
        network=NetworkId("n"),
        models=(),
        region="",
        version="",
        seq=1,
        issued_at=0,
        ttl=60,
    )
    offer = msgspec.structs.replace(OFFER, price_in=PricePerMillion(price))
    return Candidate(SignedAdvert(advert, b""), offer, limit)


def at(name: str) -> tuple[PeerId, ModelId]:
    return PeerId(name), MODEL


def chosen(
    router: Router, *candidates: Candidate, now: float = 0.0, avoid: str = "", prefix: str = ""
) -> str | None:
    need = msgspec.structs.replace(NEED, prefix=prefix)
    found = router.choose(candidates, need, now, {PeerId(avoid)} if avoid else ())
    return found.peer if found else None


def serve(
    router: Router,
    name: str,
    first: float = 1.0,
    seconds: float = 2.0,
    tokens: int = 50,
    *,
    now: float = 0.0,
    prefix: str = "",
    times: int = 1,
) -> None:
    """So many calls that were served so."""
    for _ in range(times):
        router.started(PeerId(name))
        need = msgspec.structs.replace(NEED, prefix=prefix)
        router.served(at(name), need, now, (first, seconds, tokens))


def fail(router: Router, name: str, code: str, now: float = 0.0, wait: float = 0.0) -> None:
    router.started(PeerId(name))
    router.failed(at(name), code, now, wait)
