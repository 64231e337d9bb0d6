"""node.yaml: what is read back, and how each mistake is told."""

import re
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ricochet_network.relay_book import RELAY_LIMITS
from ricochet_node import config
from ricochet_node.config import ClaimSettings, load, write_offer
from ricochet_node.key_limits import KeySection
from ricochet_node.monitoring import Monitoring
from ricochet_node.offer import OfferSection, Source, new_offer
from ricochet_node.prices import Price
from ricochet_node.relaying import Relaying
from ricochet_protocol.errors import ConfigurationError, UsageError
from ricochet_protocol.money import PricePerMillion

GOOD = """
offers:
  - {model: small, upstream_model: up, key: local, context: 2304,
     price_in: "0.10", price_out: 2, slots: 3}
"""


def written(home: Path, text: str) -> Path:
    (home / config.FILE_NAME).write_text(text)
    return home


def test_prices_become_units_and_the_rest_has_defaults(tmp_path: Path) -> None:
    read = load(written(tmp_path, GOOD))
    (offer,) = read.offers
    assert (offer.shown.price_in, offer.shown.price_out) == (100_000, 2_000_000)
    assert (offer.model, offer.sources) == ("small", (Source("local", "up"),))
    assert (offer.shown.context, offer.shown.slots) == (2304, 3)
    assert offer.shown.features == ("stop", "top_p")
    assert read.listen == ("/ip4/127.0.0.1/tcp/0",)
    assert read.claim == ClaimSettings()
    assert read.keys == ("local",)


def test_everything_can_be_set(tmp_path: Path) -> None:
    text = GOOD.replace("slots: 3", "slots: 3, supports: [tools, seed, tools]") + (
        'listen: ["/ip4/0.0.0.0/tcp/4001"]\nregion: eu\n'
        'announce: ["/ip4/203.0.113.5/tcp/4001"]\n'
        'claim: {minimum: "1.5", interval: 60}\ncredit_cap: "0.002"\n'
        "relay: {reservations: 3, circuits: 5, minutes: 2, megabytes: 1, "
        "kilobytes_per_second: 64}\n"
    )
    read = load(written(tmp_path, text))
    assert read.listen == ("/ip4/0.0.0.0/tcp/4001",)
    assert read.announce == ("/ip4/203.0.113.5/tcp/4001",)
    assert read.offers[0].shown.features == ("seed", "tools")
    assert (read.region, read.credit_cap) == ("eu", 2_000)
    assert (read.claim.minimum, read.claim.interval) == (1_500_000, 60)
    limits = read.relay.limits()
    assert limits is not None and (limits.reservations, limits.circuits) == (3, 5)
    assert (limits.duration, limits.data, limits.rate) == (120, 2**20, 65536.0)


@pytest.mark.parametrize("name", ["node.md", "node.ru.md"])
def test_the_file_that_the_documentation_explains_is_one_and_names_every_field(
    tmp_path: Path, name: str
) -> None:
    text = (Path(__file__).parents[2] / "docs" / name).read_text("utf-8")
    (block,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert load(written(tmp_path, block)).offers[0].model == "smollm2-135m-instruct"
    sections = (config.ConfigFile, OfferSection, KeySection, Monitoring, Relaying, ClaimSettings)
    for field in (field.encode_name for one in sections for field in msgspec.structs.fields(one)):
        assert re.search(rf"\b{field}\b", block), f"{name} does not name {field}"


def test_a_node_relays_unless_its_owner_does_not_want_it(tmp_path: Path) -> None:
    assert load(written(tmp_path, GOOD)).relay.limits() == RELAY_LIMITS
    assert load(written(tmp_path, GOOD + "relay: {offer: false}")).relay.limits() is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "offers"),
        ("offers: []", "offers"),
        ("[1, 2]", "object"),
        ("offers: [", "YAML near line"),
        ("a: !!python/object:os.system {}", "YAML"),
        (GOOD + "regoin: eu", "regoin"),
        (GOOD.replace("slots", "slotz"), "slotz"),
        (GOOD.replace('"0.10"', "0.10"), "price_in"),
        (GOOD.replace('"0.10"', '"-1"'), "price_in"),
        (GOOD.replace('"0.10"', '"0.1234567"'), "price_in"),
        (GOOD.replace('"0.10"', '"99999999"'), "price_in"),
        (GOOD.replace("2304", "0"), "context"),
        (GOOD.replace("slots: 3", "slots: 0"), "slots"),
        (GOOD.replace("slots: 3", "supports: [magic]"), "supports"),
        (GOOD.replace("model: small", 'model: ""'), "model"),
        (GOOD.replace("upstream_model: up", 'upstream_model: ""'), "upstream_model"),
        (GOOD.replace("key: local", 'key: ""'), "keys list"),
        (GOOD + GOOD.removeprefix("\noffers:\n"), "same model"),
        (GOOD + "listen: []", "listen"),
        (GOOD + "listen: [localhost]", "listen"),
        (GOOD + "announce: [example.org]", "announce"),
        (GOOD + "announce: [/ip4/203.0.113.5/tcp/70000]", "announce"),
        (GOOD + "announce: [/ip4/203.0.113.5/udp/4001]", "announce"),
        (GOOD + f"region: {'x' * 33}", "region"),
        (GOOD + "claim: {interval: 0}", "claim.interval"),
        (GOOD + "claim: {minimum: x}", "claim.minimum"),
        (GOOD + "credit_cap: 1.5", "credit_cap"),
        (GOOD + "relay: {circuits: 0}", "circuits"),
        (GOOD + "relay: {reservations: 1000}", "reservations"),
        (GOOD + "relay: {minutes: 0}", "minutes"),
        (GOOD + "relay: {megabytes: 5000}", "megabytes"),
        (GOOD + "relay: {kilobytes_per_second: 1}", "kilobytes_per_second"),
        (GOOD + "relay: {hops: 2}", "hops"),
    ],
)
def test_mistakes_are_named_with_file_and_field(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(written(tmp_path, text))
    assert caught.value.code == "bad_node_config"
    assert said in caught.value.message
    assert str(tmp_path / "node.yaml") in caught.value.message
    assert "edit" in caught.value.hint


def test_binary_rubbish_is_refused(tmp_path: Path) -> None:
    (tmp_path / "node.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path)
    assert caught.value.code == "bad_node_config"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(max_size=120) | st.text(max_size=60).map(lambda text: GOOD + text))
def test_any_text_is_a_configuration_or_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "node.yaml").write_bytes(text.encode(errors="surrogatepass"))
    try:
        load(tmp_path)
    except ConfigurationError as error:
        assert error.code == "bad_node_config"


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path)
    assert caught.value.code == "no_offers"
    assert "ricochet node offer" in caught.value.hint


def test_an_offer_is_added_and_replaced_keeping_the_rest(tmp_path: Path) -> None:
    written(tmp_path, GOOD + "region: eu\n")
    terms = {"upstream_model": "b", "key": "local", "context": 8, "price_out": "1"}
    write_offer(tmp_path, new_offer(model="other", price_in="0.000001", **terms))  # type: ignore[arg-type] # mixed values
    read = write_offer(tmp_path, new_offer(model="other", price_in="0.5", **terms))  # type: ignore[arg-type] # mixed values
    assert read == load(tmp_path)
    assert [offer.model for offer in read.offers] == ["small", "other"]
    assert read.offers[1].shown.price_in == 500_000
    assert read.region == "eu"


def test_a_first_offer_makes_the_file(tmp_path: Path) -> None:
    offer = new_offer(
        model="small", upstream_model="up", key="k", context=9, price_in="0.1", price_out="0"
    )
    assert write_offer(tmp_path / "home", offer).offers == (offer,)


def test_a_wrong_offer_is_a_usage_error() -> None:
    with pytest.raises(UsageError) as caught:
        new_offer(model="m", upstream_model="u", key="k", context=0, price_in="x", price_out="1")
    assert caught.value.code == "bad_offer"
    assert "price_in" in caught.value.message


def test_an_unknown_feature_is_a_usage_error_that_lists_the_known() -> None:
    with pytest.raises(UsageError) as caught:
        new_offer(
            model="m",
            upstream_model="u",
            key="k",
            context=9,
            price_in="1",
            price_out="1",
            supports=["tool"],
        )
    assert "tools" in caught.value.message


@pytest.mark.parametrize("door", ["0.0.0.0:8788", "8788", "example.org:80", "127.0.0.1:http"])
def test_the_local_door_opens_on_this_machine_only(door: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="door"):
        load(written(tmp_path, f"{GOOD}door: {door!r}\n"))
    assert load(written(tmp_path, f'{GOOD}door: "[::1]:0"\n')).door == "[::1]:0"


def test_the_owners_price_goes_before_the_tables() -> None:
    source = Source("k", "gpt-4o-mini")
    assert source.cost(10, 10) is None
    listed = msgspec.structs.replace(source, provider="openai")
    assert listed.cost(1, 0) == 1 and listed.cost(10**6, 10**6) == 750_000
    own = msgspec.structs.replace(listed, price=Price(PricePerMillion(7), PricePerMillion(0)))
    assert own.cost(10**6, 10**6) == 7
    free = msgspec.structs.replace(source, provider="ollama")
    assert free.cost(10**6, 10**6) == 0


LISTED = """
offers:
  - model: small
    sources:
      - {key: a, upstream_model: x, weight: 2}
      - {key: b, upstream_model: org/x}
    balance: weighted
    context: 2304
    price_in: "0.10"
    price_out: "2"
"""


def test_an_offer_may_have_several_sources(tmp_path: Path) -> None:
    read = load(written(tmp_path, LISTED))
    (offer,) = read.offers
    assert offer.sources == (Source("a", "x", 2), Source("b", "org/x", 1))
    assert (offer.balance, read.keys) == ("weighted", ("a", "b"))
    assert {key: rules.models for key, rules in read.limits.items()} == {
        "a": ("x",),
        "b": ("org/x",),
    }
    assert write_offer(tmp_path, offer) == read, "what is written says the same"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (LISTED.replace("weight: 2", "weight: 0"), "offers[0].sources[0].weight"),
        (LISTED.replace("key: b", 'key: ""'), "offers[0].sources[1].key"),
        (LISTED.replace("org/x", ""), "upstream_model"),
        (LISTED.replace("balance: weighted", "balance: by-mood"), "balance"),
        (LISTED.replace("{key: b, upstream_model: org/x}", "{key: a, upstream_model: x}"), "same"),
        (LISTED.replace("balance: weighted", "key: a"), "belong into its `sources`"),
        (LISTED.replace("weight: 2", "wait: 2"), "wait"),
        (GOOD.replace("upstream_model: up, key: local", "sources: []"), "sources"),
        (GOOD.replace("upstream_model: up, key: local", "key: local"), "or a list of `sources`"),
    ],
)
def test_mistakes_in_sources_are_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(written(tmp_path, text))
    assert said in caught.value.message
