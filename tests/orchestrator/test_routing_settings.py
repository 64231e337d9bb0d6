from pathlib import Path

import msgspec
import pytest
from routes import candidate

from ricochet_orchestrator.eligible import WORDS, why_not
from ricochet_orchestrator.routing import OPTIONS, RoutingFlags, RoutingSettings, files, load
from ricochet_protocol.advert import ModelOffer
from ricochet_protocol.errors import ConfigurationError, UsageError
from ricochet_protocol.ids import PeerId
from ricochet_protocol.sharing import Basis
from ricochet_protocol.signing import peer_of

OPERATOR = "0x" + "ab" * 20
PEER = peer_of(bytes(32))


def read(tmp_path: Path, text: str, flags: RoutingFlags | None = None) -> RoutingSettings:
    (tmp_path / ".ricochet").mkdir(exist_ok=True)
    (tmp_path / ".ricochet" / "routing.yaml").write_text(text)
    return load(files(tmp_path / "home", tmp_path), flags or RoutingFlags())


def test_flags_win_over_the_folder_and_the_folder_over_the_home(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "routing.yaml").write_text(
        'strategy: fastest\nmax_price_in: "9"\nregions: [us]\nhedge: 0.2\n'
    )
    capitals = OPERATOR.upper().replace("X", "x")
    text = f'strategy: cheapest\nmax_price_in: "0.40"\ndeny: ["{capitals}"]\n'
    found = read(tmp_path, text, RoutingFlags(strategy="round-robin", canaries="0.01"))
    assert found == RoutingSettings(
        strategy="round-robin",
        max_price_in=400_000,
        regions=("us",),
        deny=(OPERATOR,),
        hedge=0.2,
        canaries=10_000,
    )


def test_without_a_file_there_are_defaults(tmp_path: Path) -> None:
    assert load(files(tmp_path, tmp_path), RoutingFlags()) == RoutingSettings()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("strategy: random", "strategy"),
        ("max_price: '1'", "max_price"),
        ("max_price_in: 0.5", "max_price_in"),
        ("max_price_in: '-1'", "max_price_in"),
        ("max_latency: 0", "max_latency"),
        ("hedge: 1.5", "hedge"),
        ("hedge: .nan", "hedge"),
        ("deny: [somebody]", "somebody"),
        ("policies: [resale]", "policies"),
        ("regions: eu", "regions"),
        ("a: [", "YAML"),
        ("- strategy", "object"),
        ("x" * 70_000, "64 KiB"),
    ],
)
def test_what_is_not_known_is_refused_with_its_name(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(tmp_path, text)
    assert caught.value.code == "routing_invalid"
    assert said in caught.value.message
    assert "routing.yaml" in caught.value.message


@pytest.mark.parametrize(
    "flags",
    [
        RoutingFlags(strategy="random"),  # type: ignore[arg-type]  # as typed by a person
        RoutingFlags(policies=("resale",)),  # type: ignore[arg-type]  # as typed by a person
        RoutingFlags(max_price_out="cheap"),
        RoutingFlags(allow=("0x12",)),
        RoutingFlags(max_latency=-1.0),
    ],
)
def test_a_bad_flag_is_a_usage_error(tmp_path: Path, flags: RoutingFlags) -> None:
    with pytest.raises(UsageError):
        load(files(tmp_path, tmp_path), flags)


def test_flags_can_be_typed_again() -> None:
    flags = RoutingFlags(strategy="cheapest", deny=(OPERATOR, PEER), max_latency=2.5)
    assert flags.words() == [
        *("--routing", "cheapest"),
        *("--max-latency", "2.5"),
        *("--deny-peer", OPERATOR, "--deny-peer", PEER),
    ]
    assert set(OPTIONS) == set(RoutingFlags.__struct_fields__)


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (RoutingFlags(), ""),
        (RoutingFlags(deny=(PEER,)), "denied"),
        (RoutingFlags(deny=(OPERATOR,)), "denied"),
        (RoutingFlags(allow=(OPERATOR,)), ""),
        (RoutingFlags(allow=(peer_of(bytes([1]) * 32),)), "not_allowed"),
        (RoutingFlags(allow=(PEER,), deny=(OPERATOR,)), "denied"),
        (RoutingFlags(regions=("us", "EU-west")), ""),
        (RoutingFlags(regions=("eu",)), "region"),
        (RoutingFlags(policies=("own", "attested")), ""),
        (RoutingFlags(policies=("attested",)), "policy"),
        (RoutingFlags(max_price_in="0.1"), ""),
        (RoutingFlags(max_price_in="0.099999"), "price_in"),
        (RoutingFlags(max_price_out="0.3"), ""),
        (RoutingFlags(max_price_out="0.29"), "price_out"),
    ],
)
def test_who_is_left_out_and_why(flags: RoutingFlags, reason: str) -> None:
    one = candidate("a")
    advert = msgspec.structs.replace(
        one.advert.advert, peer=PeerId(PEER), operator=OPERATOR, region="eu-west"
    )
    offer: ModelOffer = one.offer
    settings = flags.over(RoutingSettings())
    assert why_not(advert, offer, settings) == reason
    assert not reason or reason in WORDS


def test_every_basis_of_an_offer_has_to_be_allowed() -> None:
    bases = (Basis("attested", "api.example.org"), Basis())
    both = msgspec.structs.replace(candidate("a").offer, bases=bases)
    advert = candidate("a").advert.advert
    for policies, reason in ((("own",), "policy"), (("own", "attested"), "")):
        settings = RoutingFlags(policies=policies).over(RoutingSettings())  # type: ignore[arg-type]  # literals
        assert why_not(advert, both, settings) == reason
