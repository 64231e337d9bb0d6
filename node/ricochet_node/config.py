"""What the owner decides: `node.yaml`, the offers, where to listen, when to claim.

Prices and amounts are written in dollars, as text or whole numbers, never as floats. Everything is
checked when the file is read: a field nobody knows is a spelling mistake, not something to ignore.
Example:

    offers:
      - {model: smollm2-135m-instruct, upstream_model: smollm2, key: local, context: 2304,
         price_in: "0.10", price_out: "0.40", slots: 3}
"""

from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, get_args

import msgspec

from ricochet_node.config_values import Dollars, Wrong, units
from ricochet_node.guests import Guests, guests
from ricochet_node.key_limits import KeySection, rules_of
from ricochet_node.key_rules import KeyRules
from ricochet_node.listening import host_and_port
from ricochet_node.monitoring import Monitoring
from ricochet_node.prices import Price, price_of
from ricochet_protocol.advert import MAX_MODELS, ModelOffer
from ricochet_protocol.conversation import Feature
from ricochet_protocol.errors import ConfigurationError, UsageError
from ricochet_protocol.ids import ModelId
from ricochet_protocol.money import UNITS_PER_DOLLAR, PricePerMillion, Units, cost
from ricochet_protocol.payee import CREDIT_CAP

FILE_NAME: Final = "node.yaml"
ANY_PORT: Final = ("/ip4/127.0.0.1/tcp/0",)
"""This machine only: reaching beyond it is for the owner to decide."""
_DAY: Final = 24 * 3600
FEATURES: Final[tuple[str, ...]] = get_args(Feature)
DEFAULT_FEATURES: Final[tuple[Feature, ...]] = ("stop", "top_p")
"""What every provider we know understands; more is for the owner to say."""


class ClaimSettings(msgspec.Struct, frozen=True):
    """When vouchers are worth a transaction; times are seconds.

    They are claimed once they add up to `minimum`, looked at every `interval`, as far as gas takes
    at most `max_fee_percent` of what each brings the operator, at `ether_price` for one coin of the
    chain's currency; 0 means that gas is free. `before_expiry` ahead of its window's end a voucher
    is claimed unless its gas costs more than it brings. Every `look` the chain is asked for changed
    delegates and grown budgets.
    """

    minimum: Units = Units(1 * UNITS_PER_DOLLAR)
    interval: int = 600
    max_fee_percent: int = 10
    ether_price: Units = Units(4_000 * UNITS_PER_DOLLAR)
    before_expiry: int = 2 * 24 * 3600
    look: int = 3600


class Offer(msgspec.Struct, frozen=True):
    """A model for sale: what peers see of it, and how the owner's provider calls it.

    `provider` is the key's, "" while it is not known; `price` is the owner's word on what that
    provider charges, None where the table's counts.
    """

    shown: ModelOffer
    upstream_model: str
    key: str
    provider: str = ""
    price: Price | None = None

    @property
    def model(self) -> ModelId:
        return self.shown.id

    def unpaid(self) -> "Offer":
        """The same for nothing: what the owner's own calls cost."""
        free = msgspec.structs.replace(
            self.shown, price_in=PricePerMillion(0), price_out=PricePerMillion(0)
        )
        return msgspec.structs.replace(self, shown=free)

    def upstream_cost(self, tokens_in: int, tokens_out: int) -> Units | None:
        """What the provider charges the owner for a call, rounded up; None if nobody knows."""
        price = self.price or price_of(self.provider, self.upstream_model, tokens_in)
        if price is None:
            return None
        return cost(tokens_in, tokens_out, price.tokens_in, price.tokens_out)


class NodeConfig(msgspec.Struct, frozen=True):
    """`credit_cap` is the most that a subscriber may owe, however much he has paid here.

    `limits` are the owner's rules of keys, by key id, for the models that are offered with them;
    `guests` say whom the node serves; `door` is where the owner's own clients come in, or "".
    """

    offers: tuple[Offer, ...]
    listen: tuple[str, ...] = ANY_PORT
    region: str = ""
    claim: ClaimSettings = ClaimSettings()
    monitoring: Monitoring = Monitoring()
    credit_cap: Units = CREDIT_CAP
    limits: Mapping[str, KeyRules] = MappingProxyType({})
    guests: Guests = Guests()
    door: str = ""

    @property
    def keys(self) -> tuple[str, ...]:
        """The key ids the offers use, each once."""
        return tuple(dict.fromkeys(offer.key for offer in self.offers))


class _Offer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    model: str
    upstream_model: str
    key: str
    context: int
    price_in: Dollars
    price_out: Dollars
    slots: int = 1
    supports: tuple[Feature, ...] = DEFAULT_FEATURES


class _Claim(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    minimum: Dollars = "1.00"
    interval: int = 600
    max_fee_percent: int = 10
    ether_price: Dollars = "4000"
    before_expiry: int = 2 * 24 * 3600
    look: int = 3600


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    offers: tuple[_Offer, ...] = ()
    listen: tuple[str, ...] = ANY_PORT
    region: str = ""
    claim: _Claim = _Claim()
    monitoring: Monitoring = Monitoring()
    credit_cap: Dollars = "1.00"
    keys: dict[str, KeySection] = {}
    private: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    door: str = ""


def load(home: Path) -> NodeConfig:
    """The checked configuration; ConfigurationError names file, field and fix."""
    path = home / FILE_NAME
    if not path.exists():
        raise ConfigurationError(
            "no_offers",
            f"this node offers nothing yet: {path} is missing",
            "run `ricochet node offer`, which writes it",
        )
    try:
        return _checked(_read(path))
    except Wrong as wrong:
        raise _bad(path, str(wrong)) from None


def write_offer(home: Path, offer: Offer) -> NodeConfig:
    """Add an offer to `node.yaml`, or replace the one of the same model; the new configuration.

    Comments in the file are lost. ConfigurationError when the file or the offer is wrong.
    """
    import yaml

    path = home / FILE_NAME
    file = _read(path) if path.exists() else _File()
    written = _Offer(
        model=offer.model,
        upstream_model=offer.upstream_model,
        key=offer.key,
        context=offer.shown.context,
        price_in=_as_text(offer.shown.price_in),
        price_out=_as_text(offer.shown.price_out),
        slots=offer.shown.slots,
        supports=offer.shown.features,
    )
    others = tuple(other for other in file.offers if other.model != written.model)
    file = msgspec.structs.replace(file, offers=(*others, written))
    try:
        config = _checked(file)
    except Wrong as wrong:
        raise _bad(path, str(wrong)) from None
    # Not a secret, yet written in one step: a crash must not leave half a price list.
    from ricochet_settlement.private_file import write_private

    text: str = yaml.safe_dump(msgspec.to_builtins(file), sort_keys=False)
    write_private(path, text.encode())
    return config


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
    try:
        features = msgspec.convert(tuple(supports), tuple[Feature, ...])
        return _offer(
            _Offer(model, upstream_model, key, context, price_in, price_out, slots, features),
            "offer",
        )
    except msgspec.ValidationError:
        raise UsageError(
            "bad_offer",
            f"supports: one of {', '.join(FEATURES)}",
            "correct it and run the command again",
        ) from None
    except Wrong as wrong:
        raise UsageError("bad_offer", str(wrong), "correct it and run the command again") from None


def _read(path: Path) -> _File:
    import yaml

    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        return msgspec.convert(content if content is not None else {}, _File)
    except OSError as error:
        raise _bad(path, f"it cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise _bad(path, "it is not text in UTF-8") from None
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" near line {mark.line + 1}" if mark else ""
        raise _bad(path, f"it is not YAML{where}") from None
    except (msgspec.ValidationError, ValueError) as error:
        # msgspec ends with the place, such as "- at `$.offers[0].slots`".
        raise _bad(path, str(error)) from None


def _checked(file: _File) -> NodeConfig:
    if not 0 < len(file.offers) <= MAX_MODELS:
        raise Wrong(f"offers: there must be 1 to {MAX_MODELS}")
    offers = tuple(_offer(offer, f"offers[{i}]") for i, offer in enumerate(file.offers))
    if len({offer.model for offer in offers}) < len(offers):
        raise Wrong("offers: two of them have the same model")
    if not file.listen or not all(text.startswith("/") for text in file.listen):
        raise Wrong('listen: give multiaddrs such as ["/ip4/0.0.0.0/tcp/4001"]')
    if len(file.region) > 32 or not (file.region.isprintable() or not file.region):
        raise Wrong("region: at most 32 printable characters")
    return NodeConfig(
        offers=offers,
        listen=file.listen,
        region=file.region,
        claim=_claim(file.claim),
        monitoring=file.monitoring,
        credit_cap=units(file.credit_cap, "credit_cap"),
        limits=_limits(file.keys, offers),
        door=_door(file.door),
        guests=guests(file.private, file.allow, file.deny),
    )


def _limits(sections: Mapping[str, KeySection], offers: tuple[Offer, ...]) -> dict[str, KeyRules]:
    """Rules of each key that is offered or limited."""
    rules = {offer.key: KeyRules() for offer in offers} | rules_of(sections)
    served = {
        key: tuple(dict.fromkeys(offer.upstream_model for offer in offers if offer.key == key))
        for key in rules
    }
    return {key: msgspec.structs.replace(rule, models=served[key]) for key, rule in rules.items()}


def _door(text: str) -> str:
    try:
        if text and not ip_address(host_and_port(text)[0]).is_loopback:
            raise Wrong("door: it opens on this machine only, such as at 127.0.0.1:8788")
    except ValueError:
        raise Wrong("door: give an address such as 127.0.0.1:8788") from None
    return text


def _claim(claim: _Claim) -> ClaimSettings:
    bounds = {
        "interval": (1, _DAY),
        "max_fee_percent": (1, 100),
        # The window has seven days: more would claim before the period's end.
        "before_expiry": (3600, 6 * _DAY),
        # A replaced delegate keeps his power for a day: half of it is left to claim.
        "look": (60, _DAY // 2),
    }
    for name, (least, most) in bounds.items():
        if not least <= getattr(claim, name) <= most:
            raise Wrong(f"claim.{name}: {least} to {most}")
    return ClaimSettings(
        minimum=units(claim.minimum, "claim.minimum"),
        interval=claim.interval,
        max_fee_percent=claim.max_fee_percent,
        ether_price=units(claim.ether_price, "claim.ether_price"),
        before_expiry=claim.before_expiry,
        look=claim.look,
    )


def _offer(offer: _Offer, place: str) -> Offer:
    if not offer.upstream_model or not offer.upstream_model.isprintable():
        raise Wrong(f"{place}.upstream_model: the model's name at the provider is missing")
    if not offer.key:
        raise Wrong(f"{place}.key: the id of a key from `ricochet keys list` is missing")
    try:
        shown = ModelOffer(
            id=ModelId(offer.model),
            context=offer.context,
            price_in=PricePerMillion(units(offer.price_in, f"{place}.price_in")),
            price_out=PricePerMillion(units(offer.price_out, f"{place}.price_out")),
            slots=offer.slots,
            features=tuple(sorted(set(offer.supports))),
        )
    except ValueError as error:
        raise Wrong(f"{place}: {error}") from None
    return Offer(shown=shown, upstream_model=offer.upstream_model, key=offer.key)


def _as_text(price: int) -> str:
    whole, fraction = divmod(price, UNITS_PER_DOLLAR)
    return f"{whole}.{fraction:06d}"


def _bad(path: Path, why: str) -> ConfigurationError:
    return ConfigurationError(
        "bad_node_config", f"{path}: {why}", f"edit {path} and start the node again"
    )
