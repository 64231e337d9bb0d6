"""What the owner decides: `node.yaml`, the offers, where to listen, when to claim.

Prices and amounts are written in dollars, as text or whole numbers, never as floats. Everything is
checked when the file is read: a field nobody knows is a spelling mistake, not something to ignore.
`offer.py` has the section `offers:`, `key_limits.py` the section `keys:`.
"""

import re
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import msgspec

from ricochet_node.config_values import Dollars, Wrong, units
from ricochet_node.guests import Guests, guests
from ricochet_node.key_limits import KeySection, rules_of
from ricochet_node.key_rules import KeyRules
from ricochet_node.listening import host_and_port
from ricochet_node.monitoring import Monitoring
from ricochet_node.offer import Offer, OfferSection, offer_of, section_of
from ricochet_node.relaying import Relaying
from ricochet_protocol.advert import MAX_ADDRESSES, MAX_MODELS
from ricochet_protocol.errors import ConfigurationError
from ricochet_protocol.money import UNITS_PER_DOLLAR, Units
from ricochet_protocol.payee import CREDIT_CAP

FILE_NAME: Final = "node.yaml"
ANY_PORT: Final = ("/ip4/127.0.0.1/tcp/0",)
"""This machine only: reaching beyond it is for the owner to decide."""
_ANNOUNCED: Final = re.compile(r"/(?:ip4|ip6|dns|dns4|dns6)/[0-9A-Za-z.:-]+/tcp/[1-9][0-9]{0,4}")
_DAY: Final = 24 * 3600


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


class NodeConfig(msgspec.Struct, frozen=True):
    """`credit_cap` is the most that a subscriber may owe, however much he has paid here.

    `limits` are the owner's rules of keys, by key id, for the models that are offered with them;
    `announce` are the addresses to give to others, where they are not those listened on (a
    forwarded port). `guests` say whom the node serves; `door` is where the owner's own clients come
    in, or "". `relay` is what it does for nodes that nobody can dial.
    """

    offers: tuple[Offer, ...]
    listen: tuple[str, ...] = ANY_PORT
    announce: tuple[str, ...] = ()
    region: str = ""
    claim: ClaimSettings = ClaimSettings()
    monitoring: Monitoring = Monitoring()
    credit_cap: Units = CREDIT_CAP
    limits: Mapping[str, KeyRules] = MappingProxyType({})
    guests: Guests = Guests()
    door: str = ""
    relay: Relaying = Relaying()

    @property
    def keys(self) -> tuple[str, ...]:
        """The key ids the offers use, each once."""
        return tuple(dict.fromkeys(key for offer in self.offers for key in offer.keys))


class _Claim(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    minimum: Dollars = "1.00"
    interval: int = 600
    max_fee_percent: int = 10
    ether_price: Dollars = "4000"
    before_expiry: int = 2 * 24 * 3600
    look: int = 3600


class ConfigFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The file as it is written."""

    offers: tuple[OfferSection, ...] = ()
    listen: tuple[str, ...] = ANY_PORT
    announce: tuple[str, ...] = ()
    region: str = ""
    claim: _Claim = _Claim()
    monitoring: Monitoring = Monitoring()
    credit_cap: Dollars = "1.00"
    keys: dict[str, KeySection] = {}
    private: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    door: str = ""
    relay: Relaying = Relaying()


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
        return checked(read_file(path))
    except Wrong as wrong:
        raise bad_file(path, str(wrong)) from None


def write_offer(home: Path, offer: Offer) -> NodeConfig:
    """Add an offer to `node.yaml`, or replace the one of the same model; the new configuration.

    Comments in the file are lost. ConfigurationError when the file or the offer is wrong.
    """
    import yaml

    path = home / FILE_NAME
    file = read_file(path) if path.exists() else ConfigFile()
    written = section_of(offer)
    others = tuple(other for other in file.offers if other.model != written.model)
    file = msgspec.structs.replace(file, offers=(*others, written))
    try:
        config = checked(file)
    except Wrong as wrong:
        raise bad_file(path, str(wrong)) from None
    # Not a secret, yet written in one step: a crash must not leave half a price list.
    from ricochet_settlement.private_file import write_private

    text: str = yaml.safe_dump(msgspec.to_builtins(file), sort_keys=False)
    write_private(path, text.encode())
    return config


def read_file(path: Path) -> ConfigFile:
    """The file with its shape checked; ConfigurationError."""
    import yaml

    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        return msgspec.convert(content if content is not None else {}, ConfigFile)
    except OSError as error:
        raise bad_file(path, f"it cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise bad_file(path, "it is not text in UTF-8") from None
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" near line {mark.line + 1}" if mark else ""
        raise bad_file(path, f"it is not YAML{where}") from None
    except (msgspec.ValidationError, ValueError) as error:
        # msgspec ends with the place, such as "- at `$.offers[0].slots`".
        raise bad_file(path, str(error)) from None


def checked(file: ConfigFile) -> NodeConfig:
    """What it means; Wrong names field and reason."""
    if not 0 < len(file.offers) <= MAX_MODELS:
        raise Wrong(f"offers: there must be 1 to {MAX_MODELS}")
    offers = tuple(offer_of(offer, f"offers[{i}]") for i, offer in enumerate(file.offers))
    if len({offer.model for offer in offers}) < len(offers):
        raise Wrong("offers: two of them have the same model")
    if not file.listen or not all(text.startswith("/") for text in file.listen):
        raise Wrong('listen: give multiaddrs such as ["/ip4/0.0.0.0/tcp/4001"]')
    if len(file.region) > 32 or not (file.region.isprintable() or not file.region):
        raise Wrong("region: at most 32 printable characters")
    return NodeConfig(
        offers=offers,
        listen=file.listen,
        announce=_announce(file.announce),
        region=file.region,
        claim=_claim(file.claim),
        monitoring=file.monitoring,
        credit_cap=units(file.credit_cap, "credit_cap"),
        limits=_limits(file.keys, offers),
        door=_door(file.door),
        guests=guests(file.private, file.allow, file.deny),
        relay=file.relay,
    )


def _announce(addresses: tuple[str, ...]) -> tuple[str, ...]:
    for one in addresses:
        if not _ANNOUNCED.fullmatch(one) or int(one.rpartition("/")[2]) >= 2**16:
            raise Wrong(
                f"announce: {one!r} is no address that others can dial; "
                'write it as "/ip4/203.0.113.5/tcp/4001"'
            )
    if len(addresses) > MAX_ADDRESSES:
        raise Wrong(f"announce: at most {MAX_ADDRESSES}")
    return addresses


def _limits(sections: Mapping[str, KeySection], offers: tuple[Offer, ...]) -> dict[str, KeyRules]:
    """Rules of each key that is offered or limited."""
    sources = [source for offer in offers for source in offer.sources]
    rules = {source.key: KeyRules() for source in sources} | rules_of(sections)
    served = {
        key: tuple(dict.fromkeys(one.upstream_model for one in sources if one.key == key))
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


def bad_file(path: Path, why: str) -> ConfigurationError:
    return ConfigurationError(
        "bad_node_config", f"{path}: {why}", f"edit {path} and start the node again"
    )
