"""`ricochet init`: what it asks and makes, what it never touches, and what it says comes next."""

import json
from pathlib import Path
from typing import Any

import pytest

from ricochet_cli.main import main
from terminal import ended, on_terminal, type_hidden

PHRASE = "a phrase that nobody guesses"

NETWORK = {
    "rpc": "http://127.0.0.1:9",
    "chain_id": 31337,
    "contract": "0x" + "11" * 20,
    "token": "0x" + "22" * 20,
    "development": True,
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RICOCHET_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("RICOCHET_PASSPHRASE_FILE", raising=False)
    return tmp_path / "home"


@pytest.fixture
def network(tmp_path: Path) -> Path:
    file = tmp_path / "given.json"
    file.write_text(json.dumps(NETWORK))
    return file


@pytest.fixture
def phrase(tmp_path: Path) -> str:
    file = tmp_path / "phrase"
    file.write_text(PHRASE)
    return str(file)


def init(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> Any:
    assert main(["init", *arguments, "--json"]) == code
    captured = capsys.readouterr()
    return json.loads(captured.out or captured.err)


def files(home: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in home.iterdir()}


def test_a_subscriber_is_set_up_by_options_and_twice_changes_nothing(
    home: Path, network: Path, phrase: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--as", "subscriber", "--network", str(network), "--wallet", "new")
    first = init(capsys, *words, "--passphrase-file", phrase)
    assert first["network"]["kept"] is first["wallet"]["kept"] is False
    assert first["next"] == [
        "ricochet dev faucet",
        "ricochet subscribe --plan 10",
        "ricochet chain run FILE --chain overview",
    ]
    made = files(home)
    assert set(made) == {"network.json", "wallet.json"}
    again = init(capsys, *words)
    assert files(home) == made
    assert again["wallet"] == {"address": first["wallet"]["address"], "kept": True}
    assert again["network"]["kept"] is True and again["next"] == first["next"]


def test_an_owner_is_told_what_is_missing_and_no_more(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = init(capsys, "--as", "owner")
    assert empty["network"] is None and empty["wallet"] is None
    assert [step.split(" --")[0] for step in empty["next"]] == [
        "ricochet network join FILE",
        "ricochet wallet new",
        "ricochet keys add ollama",
        "ricochet node offer MODEL",
        "ricochet node start",
    ]
    home.mkdir()
    for name in ("keys.json", "node.yaml"):
        (home / name).touch()
    later = init(capsys, "--as", "owner")["next"]
    assert "ricochet keys add ollama" not in later and later[-1] == "ricochet node start"
    both = init(capsys, "--as", "both")["next"]
    assert both[-2:] == ["ricochet node start", "ricochet chain run FILE --chain overview"]


def test_a_home_given_by_option_is_named_for_the_commands_after_it(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "a b"
    found = init(capsys, "--as", "owner", "--home", str(other))
    assert found["next"][0] == f"export RICOCHET_HOME='{other}'"


def test_another_network_is_refused_and_the_old_one_stays(
    home: Path, network: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    init(capsys, "--as", "owner", "--network", str(network))
    made = files(home)
    other = tmp_path / "other.json"
    other.write_text(json.dumps(NETWORK | {"chain_id": 1}))
    error = init(capsys, "--as", "owner", "--network", str(other), code=2)["error"]
    assert error["code"] == "other_network" and "network join" in error["hint"]
    assert files(home) == made


def test_a_key_is_imported(home: Path, tmp_path: Path, phrase: str, capsys: Any) -> None:
    file = tmp_path / "key"
    file.write_text("0x" + "01" * 32)
    file.chmod(0o600)
    words = ("--as", "subscriber", "--wallet", "import", "--wallet-file", str(file))
    found = init(capsys, *words, "--passphrase-file", phrase)
    assert found["wallet"]["address"] == "0x1a642f0e3c3af545e7acbd38b07251b3990914f1"


@pytest.mark.parametrize(
    ("words", "code", "error"),
    [
        ((), 2, "no_terminal"),
        (("--as", "owner", "--network", "missing.json"), 3, "no_network"),
        (("--as", "owner", "--wallet", "new"), 3, "no_passphrase"),
        (("--as", "owner", "--wallet", "import"), 3, "no_key"),
        (("--as", "owner", "--wallet-file", "key"), 2, "usage"),
        (
            (
                "--as",
                "king",
            ),
            2,
            "usage",
        ),
    ],
)
def test_what_it_refuses_leaves_no_trace(
    words: tuple[str, ...],
    code: int,
    error: str,
    home: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert init(capsys, *words, code=code)["error"]["code"] == error
    assert not home.exists()


def test_a_person_is_asked_and_a_slip_is_asked_again(home: Path, network: Path) -> None:
    with on_terminal("init", home=home) as child:
        child.expect_exact("or both?")
        child.sendline("queen")
        child.expect_exact("one of owner, subscriber, both")
        child.sendline("")  # Enter: the subscriber
        child.expect_exact("network.json")
        child.sendline(str(network))
        child.expect_exact("import one")
        child.sendline("new")
        child.expect_exact("Passphrase:")
        type_hidden(child, PHRASE)
        child.expect_exact("confirmation:")
        type_hidden(child, PHRASE)
        code, shown = ended(child)
    assert code == 0 and PHRASE not in shown
    assert "next: ricochet dev faucet" in shown
    assert set(files(home)) == {"network.json", "wallet.json"}
