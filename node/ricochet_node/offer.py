"""What is offered, and from which sources: the section `offers:` of `node.yaml`.

An offer has one name and one price on the network and one source or more behind it: a key, and what
that key's provider calls the model. One source is written in short, several as a list:

    offers:
      - {model: small, key: local, upstream_model: smollm2, context: 2304,
         price_in: "0.10", price_out: "0.40", slots: 3}
      - model: gpt-x
        sources:
          - {key: openai-1, upstream_model: gpt-x, weight: 2}
          - {key: router, upstream_model: openai/gpt-x}
        balance: weighted            # or round-robin (the default), least-loaded
        ...

Every source keeps what the offer promises; whoever checks an offer checks each of them.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal, get_args

import msgspec

from ricochet_node.config_values import Dollars, Wrong, units
from ricochet_node.prices import Price, price_of
from ricochet_protocol.advert import ModelOffer
from ricochet_protocol.conversation import Feature
from ricochet_protocol.errors import UsageError
from ricochet_protocol.ids import ModelId
from ricochet_protocol.money import PricePerMillion, Units, cost, dollars
from ricochet_protocol.sharing import Basis, bases_of

Balance = Literal["round-robin", "weighted", "least-loaded"]
FEATURES: Final[tuple[str, ...]] = get_args(Feature)
DEFAULT_FEATURES: Final[tuple[Feature, ...]] = ("stop", "top_p")
"""What every provider we know understands; more is for the owner to say."""
MAX_SOURCES: Final = 32
_MOST_WEIGHT: Final = 1000


class Source(msgspec.Struct, frozen=True):
    """One way to serve an offer: a key, and the model's name at that key's provider.

    `provider` is the key's, "" while it is not known; `price` is the owner's word on what it
    charges, None where the table's counts; `basis` says by what right its calls are sold.
    """

    key: str
    upstream_model: str
    weight: int = 1
    provider: str = ""
    price: Price | None = None
    basis: Basis = Basis()

    def cost(self, tokens_in: int, tokens_out: int) -> Units | None:
        """What the provider charges the owner for a call, rounded up; None if nobody knows."""
        price = self.price or price_of(self.provider, self.upstream_model, tokens_in)
        if price is None:
            return None
        return cost(tokens_in, tokens_out, price.tokens_in, price.tokens_out)


class Offer(msgspec.Struct, frozen=True):
    """A model for sale: what peers see of it, and the sources that calls are spread over."""

    shown: ModelOffer
    sources: tuple[Source, ...]
    balance: Balance = "round-robin"

    @property
    def model(self) -> ModelId:
        return self.shown.id

    @property
    def keys(self) -> tuple[str, ...]:
        """The key ids of its sources, each once."""
        return tuple(dict.fromkeys(source.key for source in self.sources))

    def priced(self, price_in: PricePerMillion, price_out: PricePerMillion) -> "Offer":
        """The same at other prices."""
        shown = msgspec.structs.replace(self.shown, price_in=price_in, price_out=price_out)
        return msgspec.structs.replace(self, shown=shown)

    def unpaid(self) -> "Offer":
        """The same for nothing: what a private node charges."""
        return self.priced(PricePerMillion(0), PricePerMillion(0))

    def over(self, sources: Iterable[Source]) -> "Offer":
        """The same from these sources, and with the bases that they need."""
        sources = tuple(sources)
        bases = bases_of(source.basis for source in sources)
        return msgspec.structs.replace(
            self, shown=msgspec.structs.replace(self.shown, bases=bases), sources=sources
        )


class SourceSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A source as it is written."""

    key: str
    upstream_model: str
    weight: int = 1


class OfferSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An offer as it is written: with `key` and `upstream_model`, or with `sources`."""

    model: str
    context: int
    price_in: Dollars
    price_out: Dollars
    upstream_model: str | msgspec.UnsetType = msgspec.UNSET
    key: str | msgspec.UnsetType = msgspec.UNSET
    sources: tuple[SourceSection, ...] | msgspec.UnsetType = msgspec.UNSET
    balance: Balance | msgspec.UnsetType = msgspec.UNSET
    slots: int = 1
    supports: tuple[Feature, ...] = DEFAULT_FEATURES


def offer_of(section: OfferSection, place: str) -> Offer:
    """The offer that is written; Wrong names the place."""
    sources = _sources(section, place)
    for number, source in enumerate(sources):
        at = f"{place}.sources[{number}]" if section.sources else place
        if not source.upstream_model or not source.upstream_model.isprintable():
            raise Wrong(f"{at}.upstream_model: the model's name at the provider is missing")
        if not source.key:
            raise Wrong(f"{at}.key: the id of a key from `ricochet keys list` is missing")
        if not 0 < source.weight <= _MOST_WEIGHT:
            raise Wrong(f"{at}.weight: 1 to {_MOST_WEIGHT}")
    try:
        shown = ModelOffer(
            id=ModelId(section.model),
            context=section.context,
            price_in=PricePerMillion(units(section.price_in, f"{place}.price_in")),
            price_out=PricePerMillion(units(section.price_out, f"{place}.price_out")),
            slots=section.slots,
            features=tuple(sorted(set(section.supports))),
        )
    except ValueError as error:
        raise Wrong(f"{place}: {error}") from None
    return Offer(
        shown=shown,
        sources=tuple(Source(one.key, one.upstream_model, one.weight) for one in sources),
        balance="round-robin" if section.balance is msgspec.UNSET else section.balance,
    )


def _sources(section: OfferSection, place: str) -> tuple[SourceSection, ...]:
    short = (section.key, section.upstream_model)
    if section.sources is msgspec.UNSET:
        if section.key is msgspec.UNSET or section.upstream_model is msgspec.UNSET:
            raise Wrong(f"{place}: give `key` and `upstream_model`, or a list of `sources`")
        return (SourceSection(section.key, section.upstream_model),)
    if short != (msgspec.UNSET, msgspec.UNSET):
        raise Wrong(f"{place}: `key` and `upstream_model` belong into its `sources`")
    if not 0 < len(section.sources) <= MAX_SOURCES:
        raise Wrong(f"{place}.sources: there must be 1 to {MAX_SOURCES}")
    if len({(one.key, one.upstream_model) for one in section.sources}) < len(section.sources):
        raise Wrong(f"{place}.sources: two of them are the same")
    return section.sources


def section_of(offer: Offer) -> OfferSection:
    """How an offer is written; in short where that says it all."""
    first, *others = offer.sources
    plain = not others and first.weight == 1 and offer.balance == "round-robin"
    listed = tuple(SourceSection(one.key, one.upstream_model, one.weight) for one in offer.sources)
    return OfferSection(
        model=offer.model,
        upstream_model=first.upstream_model if plain else msgspec.UNSET,
        key=first.key if plain else msgspec.UNSET,
        sources=msgspec.UNSET if plain else listed,
        balance=msgspec.UNSET if plain else offer.balance,
        context=offer.shown.context,
        price_in=_as_text(offer.shown.price_in),
        price_out=_as_text(offer.shown.price_out),
        slots=offer.shown.slots,
        supports=offer.shown.features,
    )


def new_offer(
    *,
    model: str,
    upstream_model: str,
    key: str,
    context: int,
    price_in: str,
    price_out: str,
    slots: int = 1,
    supports: Sequence[str] = DEFAULT_FEATURES,
) -> Offer:
    """An offer from a command's arguments; prices in dollars per million tokens. UsageError."""
    written: dict[str, Any] = {
        "model": model,
        "upstream_model": upstream_model,
        "key": key,
        "context": context,
        "price_in": price_in,
        "price_out": price_out,
        "slots": slots,
    }
    try:
        features = msgspec.convert(tuple(supports), tuple[Feature, ...])
        return offer_of(OfferSection(**written, supports=features), "offer")
    except msgspec.ValidationError:
        raise _bad(f"supports: one of {', '.join(FEATURES)}") from None
    except Wrong as wrong:
        raise _bad(str(wrong)) from None


def with_source(offer: Offer, source: Source, balance: Balance | None = None) -> Offer:
    """The offer with one more source, or with another weight of one it has. UsageError."""
    known = [(one.key, one.upstream_model) for one in offer.sources]
    sources = list(offer.sources)
    if (source.key, source.upstream_model) in known:
        sources[known.index((source.key, source.upstream_model))] = source
    else:
        sources.append(source)
    made = msgspec.structs.replace(offer, sources=tuple(sources), balance=balance or offer.balance)
    try:
        return offer_of(section_of(made), "offer")
    except Wrong as wrong:
        raise _bad(str(wrong)) from None


def balance_of(text: str) -> Balance:
    """A balance from a command's argument; UsageError."""
    for balance in get_args(Balance):
        if text == balance:
            return balance  # type: ignore[no-any-return] # mypy cannot see what get_args gives
    raise _bad(f"balance: one of {', '.join(get_args(Balance))}")


def _as_text(price: PricePerMillion) -> str:
    """As `dollars` has it, without its sign and its commas, which a config cannot have."""
    return dollars(Units(price)).removeprefix("$").replace(",", "")


def _bad(why: str) -> UsageError:
    return UsageError("bad_offer", why, "correct it and run the command again")
