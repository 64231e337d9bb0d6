"""`ricochet node config` and `add-source`: values shown, checked and set; wrong input refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from ricochet_cli.main import main
from ricochet_node import key_states
from ricochet_node.config import load
from ricochet_node.faults import ProviderFault, Reason
from ricochet_node.key_state import READY, after_fault
from ricochet_node.key_states import KeyStates
from ricochet_node.keystore import Keystore
from ricochet_protocol.ids import Address
from ricochet_settlement import wallet
from ricochet_settlement.deployment import Deployment, save

PHRASE = "correct horse battery staple"
NOWHERE = Deployment(
    "http://127.0.0.1:9", 31337, Address("0x" + "aa" * 20), Address("0x" + "bb" * 20)
)
TEXT = """# my prices
offers:
  - {model: qwen2.5-0.5b, upstream_model: up, key: local, context: 2304,
     price_in: "0.10", price_out: "2"}   # cheap
keys:
  local: {rpm: 60}  # enough
"""


class Cli:
    def __init__(self, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.home, self._capsys = home, capsys
        home.mkdir()
        self.file = home / "node.yaml"
        self.file.write_text(TEXT)

    def __call__(self, *arguments: str, code: int = 0) -> Any:
        done = main([*arguments, "--home", str(self.home), "--json"])
        said = self._capsys.readouterr()
        assert done == code, said.err
        return json.loads(said.err)["error"] if code else json.loads(said.out)

    def text(self, *arguments: str) -> str:
        assert main([*arguments, "--home", str(self.home)]) == 0
        return self._capsys.readouterr().out


def told(name: str, *, kept: bool) -> dict[str, Any]:
    return {"name": name, "comments_kept": kept, "missing": None}


@pytest.fixture
def cli(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(tmp_path / "home", capsys)


def test_show_tells_every_value_and_where_it_comes_from(cli: Cli) -> None:
    found = {one["name"]: (one["value"], one["origin"]) for one in cli("node", "config", "show")}
    assert found["offers.qwen2.5-0.5b.price_in"] == ("0.10", "file")
    assert found["offers.qwen2.5-0.5b.slots"] == (1, "default")
    assert found["keys.local.rpm"] == (60, "file")
    assert found["claim.minimum"] == ("1.00", "default")
    lines = cli.text("node", "config", "show", "--show-origin").splitlines()
    assert 'default  claim.minimum: "1.00"' in lines and "file     keys.local.rpm: 60" in lines
    assert 'region: ""' in cli.text("node", "config", "show").splitlines()


def test_a_value_that_is_there_is_set_and_comments_stay(cli: Cli) -> None:
    for name, value in (("keys.local.rpm", "6"), ("offers.qwen2.5-0.5b.price_in", "0.50")):
        assert cli("node", "config", "set", name, value) == told(name, kept=True)
    assert load(cli.home).limits["local"].rpm == 6
    assert load(cli.home).offers[0].shown.price_in == 500_000
    assert cli.file.read_text() == TEXT.replace("rpm: 60", "rpm: 6").replace("'", '"').replace(
        '"0.10"', "'0.50'"
    )


def test_a_new_value_is_set_and_the_loss_of_comments_is_told(cli: Cli) -> None:
    name = "claim.minimum"
    assert cli("node", "config", "set", name, "2.00") == told(name, kept=False)
    assert cli("node", "config", "set", name, "3.50") == told(name, kept=True)
    assert load(cli.home).claim.minimum == 3_500_000
    cli("node", "config", "set", "keys.local.prices.m.x.in", "1", code=2)
    cli("node", "config", "set", "keys.local.hours", "22:00-07:00")
    assert load(cli.home).limits["local"].hours is not None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("keys.local.rpm", "many"),
        ("keys.local.rpm", "2000000000"),
        ("keys.local.rqm", "1"),
        ("claim.minimum", "lots"),
        ("claim.interval", "0"),
        ("offers.other.slots", "2"),
        ("offers.qwen2.5-0.5b.slots", "0"),
        ("offers.qwen2.5-0.5b.key", ""),
        ("offers", "[]"),
        ("region.x", "eu"),
        ("nothing", "1"),
        ("a..b", "1"),
        ("", "1"),
        ("region", "{"),
    ],
)
def test_what_cannot_be_used_is_refused_and_nothing_written(
    cli: Cli, name: str, value: str
) -> None:
    error = cli("node", "config", "set", name, value, code=2)
    assert error["code"] == "bad_setting" and error["hint"]
    assert cli.file.read_text() == TEXT


def test_check_names_file_field_and_fix_with_code_3(cli: Cli) -> None:
    assert cli("node", "config", "check")["ok"] is True
    cli.file.write_text(TEXT.replace("rpm", "rqm"))
    error = cli("node", "config", "check", code=3)
    assert str(cli.file) in error["message"] and "rqm" in error["message"] and error["hint"]
    assert cli("node", "config", "set", "region", "eu", code=3)["code"] == "bad_node_config"
    cli.file.unlink()
    assert cli("node", "config", "check", code=3)["code"] == "no_offers"
    assert cli("node", "config", "path") == {"path": str(cli.file)}


def test_a_source_is_added_and_its_weight_changed(cli: Cli) -> None:
    add = ("node", "add-source", "qwen2.5-0.5b", "--key")
    told = cli(*add, "other", "--upstream-model", "x", "--balance", "weighted", "--weight", "3")
    assert told == {"model": "qwen2.5-0.5b", "keys": ["local", "other"], "balance": "weighted"}
    cli(*add, "other", "--upstream-model", "x", "--weight", "5")
    (offer,) = load(cli.home).offers
    assert [(one.key, one.upstream_model, one.weight) for one in offer.sources] == [
        ("local", "up", 1),
        ("other", "x", 5),
    ]
    assert (offer.balance, load(cli.home).limits["local"].rpm) == ("weighted", 60)
    assert cli("node", "add-source", "none", "--key", "k", code=2)["code"] == "no_offer"
    assert cli(*add, "k", "--balance", "by-mood", code=2)["code"] == "bad_offer"
    assert cli(*add, "k", "--weight", "5000", code=2)["code"] == "bad_offer"


def test_keys_list_tells_how_each_key_stands_and_enable_clears_it(cli: Cli, tmp_path: Path) -> None:
    store = Keystore(cli.home / "keys.json")
    for name in ("a", "b"):
        store.add("phrase", name, "ollama", "http://127.0.0.1:9/v1", "")
    states = KeyStates(cli.home / key_states.FILE_NAME, store.marks(), 0.0)
    states.put("a", "", after_fault(READY, ProviderFault(Reason.KEY_REFUSED), 1, 1))
    states.put("b", "m", after_fault(READY, ProviderFault(Reason.MODEL_UNKNOWN), 1, 1))
    states.close()

    def told() -> list[str]:
        return [key["state"] for key in cli("keys", "list")]

    assert told() == ["refused", "ready, lacks m"]
    cli("keys", "disable", "b")
    cli("keys", "enable", "a")
    assert told() == ["ready", "disabled, lacks m"]
    store.rotate("phrase", "b", "new-secret-0123456789")
    cli("keys", "enable", "b")
    assert told() == ["ready", "ready"]


def test_what_a_value_still_lacks_is_told_when_it_is_set(cli: Cli, capsys: Any) -> None:
    save(cli.home, NOWHERE)
    wallet.create(cli.home / "wallet.json", PHRASE)
    Keystore(cli.home / "keys.json").add(
        PHRASE, "local", "double", "http://127.0.0.1:9/v1", "sk-0123456789"
    )
    cap = ("node", "config", "set", "keys.local.per_day", "2.00")
    assert "prices" in cli(*cap)["missing"]["hint"]
    assert load(cli.home).limits["local"].per_day == 2_000_000
    assert main([*cap, "--home", str(cli.home)]) == 0
    assert "no node starts" in capsys.readouterr().err
    prices = cli("node", "config", "set", "keys.local.prices", '{up: {in: "1", out: "2"}}')
    assert prices["missing"] is None
    other = cli("node", "config", "set", "keys.other.rpm", "1")
    assert "there is none" in other["missing"]["message"]
