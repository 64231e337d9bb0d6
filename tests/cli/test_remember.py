"""`ricochet wallet remember` and `forget`: the keyring instead of a question."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from eth_account import Account

from doubles.memory_keyring import MemoryKeyring, keyring_in_use
from ricochet_cli.main import main
from ricochet_cli.secret_input import unlock_wallet
from ricochet_settlement.devchain.accounts import dev_key

PHRASE = "a phrase that nobody guesses"


@pytest.fixture
def ring() -> Iterator[MemoryKeyring]:
    ring = MemoryKeyring()
    with keyring_in_use(ring):
        yield ring


@pytest.fixture
def home(tmp_path: Path) -> Path:
    wallet = tmp_path / "wallet.json"
    wallet.write_text(json.dumps(Account.encrypt(dev_key(3), PHRASE, kdf="scrypt", iterations=2)))
    wallet.chmod(0o600)
    return tmp_path


def phrase_file(home: Path, text: str) -> str:
    file = home / "phrase"
    file.write_text(text + "\n")
    return str(file)


def test_a_remembered_wallet_opens_unasked(
    ring: MemoryKeyring, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    at = ("--home", str(home))
    assert main(["wallet", "remember", *at, "--passphrase-file", phrase_file(home, PHRASE)]) == 0
    assert unlock_wallet(home, None) == dev_key(3)
    assert main(["wallet", "forget", *at, "--json"]) == 0
    assert main(["wallet", "forget", *at]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out) == {"remembered": False}
    assert "no passphrase was remembered" in said.err
    assert PHRASE not in said.out + said.err
    assert ring.entries == {}


def test_only_the_right_passphrase_is_remembered(
    ring: MemoryKeyring, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = phrase_file(home, "wrong")
    asked = ("wallet", "remember", "--home", str(home), "--passphrase-file", wrong, "--json")
    assert main(asked) == 3
    assert json.loads(capsys.readouterr().err)["error"]["code"] == "wrong_passphrase"
    assert ring.entries == {}


def test_an_uncleared_keyring_is_told(
    ring: MemoryKeyring, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    at = ("--home", str(home))
    assert main(["wallet", "remember", *at, "--passphrase-file", phrase_file(home, PHRASE)]) == 0
    ring.locked = True
    assert main(["wallet", "forget", *at]) == 1
    assert "could not be cleared" in capsys.readouterr().err
    assert main(["wallet", "forget", *at]) == 0
