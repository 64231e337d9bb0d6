"""The section `keys:` of `node.yaml`: the owner's limits of each key, by its id.

    keys:
      openai:
        rpm: 60                     # calls in any 60 seconds
        tpm: 100000                 # tokens in any 60 seconds
        concurrency: 4              # calls at once
        per_day: "5.00"             # dollars that the provider may charge
        per_month: "50.00"
        hours: "22:00-07:00"        # when the key works, in the time zone below
        time_zone: Europe/Berlin    # default: the machine's
        prices:                     # what the provider charges per million tokens
          gpt-x: {in: "0.25", out: "2.00"}

Prices may be left out for models whose provider and name the price table knows (`prices.py`). A
cap without a price would be a promise that nobody can keep, so it is refused.
"""

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from ricochet_node.config_values import Dollars, Wrong, units
from ricochet_node.key_rules import Hours, KeyRules
from ricochet_node.prices import Price, price_of
from ricochet_protocol.errors import ConfigurationError
from ricochet_protocol.money import PricePerMillion

_HOURS: Final = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")
_MOST: Final = 10**9
_LONGEST: Final = 10**9
"""Some models cost more for long prompts; a limit counts with the highest of their prices."""


class _Price(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    tokens_in: Dollars = msgspec.field(name="in")
    tokens_out: Dollars = msgspec.field(name="out")


class KeySection(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One key's limits as they are written."""

    rpm: int = 0
    tpm: int = 0
    concurrency: int = 0
    per_day: Dollars | None = None
    per_month: Dollars | None = None
    hours: str = ""
    time_zone: str = ""
    prices: dict[str, _Price] = {}


def rules_of(sections: Mapping[str, KeySection]) -> dict[str, KeyRules]:
    """The rules by key id, for all models; Wrong names the place."""
    return {key: _rules(section, f"keys.{key}") for key, section in sections.items()}


def checked_limits(
    limits: Mapping[str, KeyRules], providers: Mapping[str, str]
) -> dict[str, KeyRules]:
    """The limits with prices; `providers` are those of the keys that there are, by key id.

    ConfigurationError `no_key` for a limit of no key: its owner misspelt what he relies on.
    """
    for key in limits:
        if key not in providers:
            raise ConfigurationError(
                "no_key",
                f"node.yaml limits a provider key {key!r}, and there is none",
                "correct `keys:` in node.yaml; see `ricochet keys list`",
            )
    return {key: with_prices(rules, key, providers[key]) for key, rules in limits.items()}


def with_prices(rules: KeyRules, key: str, provider: str) -> KeyRules:
    """The rules with the table's prices where the owner wrote none.

    ConfigurationError `no_price` for a cap without one.
    """
    prices = dict(rules.prices)
    for model in rules.models or ():
        known = prices.get(model) or price_of(provider, model, _LONGEST)
        if known is not None:
            prices[model] = known
        elif rules.is_capped:
            raise ConfigurationError(
                "no_price",
                f"the cap of key {key!r} needs what the provider charges for {model}",
                f"write under keys: {key}: in node.yaml, in dollars per million tokens: "
                f'prices: {{{model}: {{in: "0.25", out: "1.00"}}}}',
            )
    return msgspec.structs.replace(rules, prices=prices)


def _rules(section: KeySection, place: str) -> KeyRules:
    for name in ("rpm", "tpm", "concurrency"):
        if not 0 <= getattr(section, name) <= _MOST:
            raise Wrong(f"{place}.{name}: 1 to {_MOST}, or 0 for no limit")
    return KeyRules(
        rpm=section.rpm,
        tpm=section.tpm,
        concurrency=section.concurrency,
        per_day=None if section.per_day is None else units(section.per_day, f"{place}.per_day"),
        per_month=(
            None if section.per_month is None else units(section.per_month, f"{place}.per_month")
        ),
        hours=_hours(section.hours, place),
        time_zone=_zone(section.time_zone, place),
        prices={
            model: _price(price, f"{place}.prices.{model}")
            for model, price in section.prices.items()
        },
    )


def _price(price: _Price, place: str) -> Price:
    return Price(
        tokens_in=PricePerMillion(units(price.tokens_in, f"{place}.in")),
        tokens_out=PricePerMillion(units(price.tokens_out, f"{place}.out")),
    )


def _hours(text: str, place: str) -> Hours | None:
    if not text:
        return None
    matched = _HOURS.fullmatch(text)
    if matched is None:
        raise Wrong(f'{place}.hours: such as "22:00-07:00", in quotes')
    hour, minute, end_hour, end_minute = map(int, matched.groups())
    hours = Hours(start=60 * hour + minute, end=60 * end_hour + end_minute)
    if hours.start == hours.end:
        raise Wrong(f"{place}.hours: they begin when they end; leave them out for the whole day")
    return hours


def _zone(name: str, place: str) -> str:
    if name:
        from zoneinfo import ZoneInfo

        try:
            ZoneInfo(name)
        # An odd name is also looked for as a file, and each oddity has its own error.
        except (KeyError, ValueError, OSError):
            raise Wrong(
                f"{place}.time_zone: this machine knows no such zone; write one such as "
                "Europe/Berlin, or leave it out for the machine's own"
            ) from None
    return name
