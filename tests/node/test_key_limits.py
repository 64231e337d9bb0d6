"""The section `keys:` of node.yaml: what it means, and what is wrong with it."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ricochet_node import config
from ricochet_node.config import NodeConfig, load, write_offer
from ricochet_node.key_limits import checked_limits, with_prices
from ricochet_node.key_rules import Hours, KeyRules
from ricochet_node.offer import new_offer
from ricochet_node.prices import Price
from ricochet_protocol.errors import ConfigurationError
from ricochet_protocol.money import PricePerMillion, Units

FULL = """
keys:
  main:
    rpm: 60
    tpm: 100000
    concurrency: 4
    per_day: "5.00"
    per_month: 50
    hours: "22:00-07:30"
    time_zone: Europe/Berlin
    prices:
      real: {in: "0.25", out: "2"}
"""


def home(folder: Path, keys: str = "") -> NodeConfig:
    """A node.yaml with one offer of model `real` and the given section."""
    path = folder / config.FILE_NAME
    path.unlink(missing_ok=True)
    offer = new_offer(
        model="m", upstream_model="real", key="main", context=9, price_in="1", price_out="1"
    )
    write_offer(folder, offer)
    path.write_text(path.read_text() + keys)
    return load(folder)


def test_every_limit_is_read(tmp_path: Path) -> None:
    assert home(tmp_path, FULL).limits == {
        "main": KeyRules(
            models=("real",),
            rpm=60,
            tpm=100_000,
            concurrency=4,
            per_day=5_000_000,  # type: ignore[arg-type] # units
            per_month=50_000_000,  # type: ignore[arg-type] # units
            hours=Hours(22 * 60, 7 * 60 + 30),
            time_zone="Europe/Berlin",
            prices={"real": Price(250_000, 2_000_000)},  # type: ignore[arg-type] # units
        )
    }


def test_without_the_section_only_the_models_are_limited(tmp_path: Path) -> None:
    assert home(tmp_path).limits == {"main": KeyRules(models=("real",))}


def test_a_new_offer_keeps_the_limits(tmp_path: Path) -> None:
    before = home(tmp_path, FULL).limits["main"]
    other = new_offer(
        model="n", upstream_model="real", key="main", context=9, price_in="1", price_out="1"
    )
    write_offer(tmp_path, other)
    assert load(tmp_path).limits["main"] == before


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("rpm: -1", "keys.main.rpm"),
        ("tpm: many", "tpm"),
        ("rqm: 5", "rqm"),
        ("per_month: 0.5", "per_month"),
        ('hours: "9-17"', "keys.main.hours"),
        ('hours: "24:00-07:00"', "keys.main.hours"),
        ('hours: "07:00-07:00"', "leave them out"),
        ("time_zone: Mars/Base", "keys.main.time_zone"),
        ("time_zone: ../../etc/passwd", "keys.main.time_zone"),
        ('prices: {real: {in: "1"}}', "out"),
        ('prices: {real: {in: "1", out: "-1"}}', "keys.main.prices.real.out"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, line: str, told: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        home(tmp_path, f"keys:\n  main:\n    {line}\n")
    assert caught.value.code == "bad_node_config"
    assert told in caught.value.message


def test_a_cap_needs_a_price_from_the_owner_or_the_table() -> None:
    capped = KeyRules(models=("gpt-4o",), per_day=Units(5))
    assert with_prices(capped, "k", "openai").prices["gpt-4o"].tokens_out >= 1_000_000
    assert with_prices(capped, "k", "ollama").prices["gpt-4o"].tokens_out == 0
    own = {"gpt-4o": Price(PricePerMillion(1), PricePerMillion(2))}
    mine = KeyRules(models=("gpt-4o",), per_day=Units(5), prices=own)
    assert with_prices(mine, "k", "openai").prices == own
    for rules, provider in ((capped, "openai-compatible"), (capped, "deepseek")):
        with pytest.raises(ConfigurationError) as caught:
            with_prices(rules, "k", provider)
        assert caught.value.code == "no_price"
        assert 'prices: {gpt-4o: {in: "0.25"' in caught.value.hint
    assert with_prices(KeyRules(models=("x",)), "k", "openai").prices == {}


def test_a_limit_of_no_key_is_a_mistake() -> None:
    limits = {"k": KeyRules(models=("m",), rpm=5)}
    assert checked_limits(limits, {"k": "openai"}) == limits
    with pytest.raises(ConfigurationError) as caught:
        checked_limits(limits, {"key": "openai"})
    assert caught.value.code == "no_key"


_VALUE = st.none() | st.integers() | st.floats() | st.text(max_size=12) | st.just({"real": {}})


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    section=st.dictionaries(
        st.sampled_from(["rpm", "tpm", "per_day", "hours", "time_zone", "prices", "x"]), _VALUE
    )
)
def test_any_section_is_read_or_refused(tmp_path: Path, section: dict[str, object]) -> None:
    text = json.dumps({"main": section}, allow_nan=True)
    try:
        rules = home(tmp_path, f"keys: {text}\n").limits["main"]
    except ConfigurationError as error:
        assert error.code == "bad_node_config"
    else:
        assert rules.models == ("real",)
