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

A cap without a price would be a promise that nobody can keep, so it is refused.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from ricochet_node.config_values import Dollars, Wrong, units
from ricochet_node.key_rules import Hours, KeyRules, Price
from ricochet_protocol.money import PricePerMillion

_HOURS: Final = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")
_MOST: Final = 10**9


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


def for_models(rules: KeyRules, models: Iterable[str], key: str) -> KeyRules:
    """The rules for a key that serves `models`; Wrong for a cap whose price is unknown."""
    models = tuple(dict.fromkeys(models))
    for model in models:
        if rules.is_capped and model not in rules.prices:
            raise Wrong(
                f"keys.{key}: a cap needs what the provider charges for {model}; write "
                f'prices: {{{model}: {{in: "0.25", out: "1.00"}}}}, dollars per million tokens'
            )
    return msgspec.structs.replace(rules, models=models)


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
