"""`ricochet config`: values with their origin, set and taken out, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ricochet_cli.main import main
from ricochet_orchestrator.settings import edited

Capsys = pytest.CaptureFixture[str]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("RICOCHET_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def config(capsys: Capsys, *words: str, code: int = 0) -> Any:
    assert main(["config", *words, "--json"]) == code
    shown = capsys.readouterr()
    return json.loads(shown.out or shown.err)


def value(capsys: Capsys, name: str) -> tuple[Any, str]:
    found = config(capsys, "get", name)
    return found["value"], found["origin"]


def test_a_value_goes_from_default_to_user_to_project_and_back(home: Path, capsys: Capsys) -> None:
    assert value(capsys, "routing.strategy") == ("balanced", "default")
    config(capsys, "set", "routing.strategy", "cheapest", "--user")
    assert value(capsys, "routing.strategy") == ("cheapest", "user")
    config(capsys, "set", "routing.strategy", "fastest")
    assert value(capsys, "routing.strategy") == ("fastest", "project")
    config(capsys, "unset", "routing.strategy")
    assert value(capsys, "routing.strategy") == ("cheapest", "user")
    listed = {one["name"]: one for one in config(capsys, "list")}
    assert listed["routing.strategy"]["path"] == str(home / "routing.yaml")
    assert listed["privacy.sensitivity"]["origin"] == "default"
    assert listed["home"]["value"] == str(home)


def test_values_are_what_the_commands_read(home: Path, capsys: Capsys) -> None:
    config(capsys, "set", "routing.max_price_in", "0.50")
    config(capsys, "set", "routing.regions", "[eu, us]")
    config(capsys, "set", "privacy.redact", "[email, phone]")
    config(capsys, "set", "privacy.region", "NO")  # Norway, not the YAML word for false
    config(capsys, "set", "models.analyzer", "some-model")
    from ricochet_orchestrator import privacy, role_models, routing

    here = Path.cwd()
    settings = routing.load(routing.files(home, here), routing.NO_FLAGS)
    assert (settings.max_price_in, settings.regions) == (500_000, ("eu", "us"))
    kept = privacy.load(home, here)
    assert (list(kept.redact), kept.region) == (["email", "phone"], "NO")
    assert role_models.by_role(role_models.layers(home, here)) == {"analyzer": "some-model"}
    assert value(capsys, "models.analyzer") == ("some-model", "project")


def test_a_privacy_file_of_the_project_replaces_the_homes(home: Path, capsys: Capsys) -> None:
    config(capsys, "set", "privacy.redact", "all", "--user")
    config(capsys, "set", "privacy.sensitivity", "own")
    assert value(capsys, "privacy.redact") == ([], "default")


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("get", "routing.stratgy"), "unknown_setting", "'routing.strategy'"),
        (("set", "routing.stratgy", "fastest"), "unknown_setting", "'routing.strategy'"),
        (("set", "privcy.redact", "all"), "unknown_setting", "'privacy.redact'"),
        (("set", "strategy", "fastest"), "unknown_setting", "config list"),
        (("set", "routing.strategy", "quickest"), "bad_setting", "correct the value"),
        (("set", "routing.hedge", "2"), "bad_setting", "correct the value"),
        (("set", "routing.regions", "[eu"), "bad_setting", "correct the value"),
        (("set", "privacy.redact", "[name]"), "bad_setting", "correct the value"),
        (("set", "models.Bad Role", "m"), "models_bad", "main=MODEL"),
        (("set", "network.rpc", "http://x"), "bad_setting", "network join"),
        (("unset", "routing.hedge"), "not_set", "config list"),
        (("unset", "node.region"), "bad_setting", "config set"),
        (("get", "models.main"), "not_set", "config set models.main"),
    ],
)
def test_what_is_refused_leaves_the_files(
    words: tuple[str, ...], code: str, says: str, home: Path, capsys: Capsys
) -> None:
    file = Path(".ricochet/routing.yaml")
    file.parent.mkdir()
    file.write_text("strategy: fastest  # as agreed\n")
    error = config(capsys, *words, code=2)["error"]
    assert error["code"] == code and says in error["hint"]
    assert file.read_text() == "strategy: fastest  # as agreed\n"
    assert [path.name for path in file.parent.glob("*.*") if path.suffix != ".lock"] == [file.name]


def test_where_there_is_a_choice_of_words_the_error_has_them(home: Path, capsys: Capsys) -> None:
    for name, typed, choices in (
        ("routing.strategy", "wrong", "balanced, cheapest, fastest, round-robin"),
        ("routing.policies", "[x]", "attested, licence, own, private"),
        ("privacy.sensitivity", "secret", "public, attested, own"),
    ):
        message = config(capsys, "set", name, typed, code=2)["error"]["message"]
        assert f"is none of {choices}" in message


def test_a_role_that_no_chain_has_is_taken_and_told(home: Path, capsys: Capsys) -> None:
    assert main(["config", "set", "models.scribe", "m"]) == 0
    assert "no chain here has the role scribe" in capsys.readouterr().err


def test_a_broken_file_is_named_and_not_overwritten(home: Path, capsys: Capsys) -> None:
    file = Path(".ricochet/routing.yaml")
    file.parent.mkdir()
    file.write_text("strategy: [")
    for words in (("list",), ("set", "routing.hedge", "0.1")):
        assert config(capsys, *words, code=3)["error"]["code"] == "routing_invalid"
    assert file.read_text() == "strategy: ["


def test_node_values_are_those_of_node_config(home: Path, capsys: Capsys) -> None:
    home.mkdir()
    (home / "node.yaml").write_text(
        "offers:\n  - {model: m, upstream_model: m, key: k, context: 10, "
        'price_in: "1", price_out: "1"}\nregion: eu\n'
    )
    assert value(capsys, "node.region") == ("eu", "user")
    config(capsys, "set", "node.region", "us")
    assert value(capsys, "node.region") == ("us", "user")
    assert value(capsys, "node.offers.m.price_in") == ("1", "user")


def test_paths_are_shown_before_there_are_files(home: Path, capsys: Capsys) -> None:
    found = config(capsys, "path")
    assert not any(one["exists"] for one in found)
    assert str(home / "node.yaml") in {one["path"] for one in found}


def test_comments_stay() -> None:
    old = "# ours\nhedge: 0.1  # dear\nregions: [eu]\n# more\nstrategy: fastest\n"
    new = edited(old, "regions", ["us"], yaml.safe_load(old) | {"regions": ["us"]})
    assert new == old.replace("[eu]", "[us]")
    without = {"hedge": 0.1, "strategy": "fastest"}
    assert edited(old, "regions", None, without) == old.replace("regions: [eu]\n", "")


ENTRIES = st.dictionaries(
    st.sampled_from(["a", "b", "c"]),
    st.one_of(st.text(max_size=8), st.floats(0, 1), st.lists(st.text(max_size=4), max_size=3)),
)


@given(ENTRIES, st.booleans(), st.sampled_from(["a", "d"]), st.none() | st.text(max_size=8))
def test_an_edit_is_what_was_wanted(
    tree: dict[str, Any], flow: bool, entry: str, new: str | None
) -> None:
    old = yaml.safe_dump(tree, default_flow_style=flow) if tree else ""
    wanted = {key: one for key, one in tree.items() if key != entry}
    if new is not None:
        wanted = tree | {entry: new}
    assert (yaml.safe_load(edited(old, entry, new, wanted)) or {}) == wanted
