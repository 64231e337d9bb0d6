"""`ricochet policy`: what is shown, stated, kept and taken back; nothing secret, nothing silent."""

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from ricochet_cli.main import main
from ricochet_node.keystore import Keystore
from ricochet_protocol.ids import Address
from ricochet_settlement import wallet
from ricochet_settlement.deployment import Deployment, save

WORDS = "correct horse battery"
NETWORK = Deployment(
    rpc="http://127.0.0.1:9",
    chain_id=1,
    contract=Address("0x" + "aa" * 20),
    token=Address("0x" + "bb" * 20),
)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(wallet, "SCRYPT_N", 2**4)  # its cost is no part of these tests
    (tmp_path / "words").write_text(WORDS)
    monkeypatch.setenv("RICOCHET_HOME", str(tmp_path))
    monkeypatch.setenv("RICOCHET_PASSPHRASE_FILE", str(tmp_path / "words"))
    save(tmp_path, NETWORK)
    wallet.create(tmp_path / "wallet.json", WORDS)
    (tmp_path / "letter.pdf").write_bytes(b"you may resell, says the secret letter")
    return tmp_path


def ok(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert main(["policy", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


ATTEST = ("openai", "--document", "letter.pdf", "--expires", "2035-06-30")


def attest(home: Path, *arguments: str) -> tuple[str, ...]:
    return (
        "policy",
        "attest",
        *(str(home / one) if one == "letter.pdf" else one for one in arguments),
    )


def test_the_table_is_shown_with_what_it_means(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = {one["provider"]: one for one in ok(capsys, "show")["of"]}
    assert shown["openai"]["verdict"] == "deny" and not shown["openai"]["allowed"]
    assert shown["mistral"]["verdict"] == "unknown" and shown["mistral"]["note"]
    assert shown["local"]["allowed"]
    assert main(["policy", "show"]) == 0
    assert "refused: terms forbid it" in capsys.readouterr().out
    assert main(["policy", "show", "openai"]) == 0
    assert "Services Agreement" in capsys.readouterr().out
    assert ok(capsys, "show", "api.example.com")["verdict"] == "unknown"


def test_a_permission_is_stated_kept_shown_and_revoked(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Keystore(home / "keys.json").add(WORDS, "mine", "openai", "https://api.openai.com/v1", "abcd12")
    assert main([*attest(home, *ATTEST), "--yes"]) == 0
    told = capsys.readouterr().err
    assert "written permission" in told and "2035-06-30" in told and "attested until" in told
    path = home / "attestations.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert b"secret letter" not in path.read_bytes() and WORDS not in told
    held = ok(capsys, "show", "openai")
    assert held["allowed"] and held["attestation"]["state"] == "valid"
    assert len(held["attestation"]["document_sha256"]) == 64
    assert main(["keys", "list"]) == 0
    assert "attested until 2035-06-30" in capsys.readouterr().out
    assert ok(capsys, "revoke", "openai")["attestation"] is None
    assert main(["keys", "list", "--json"]) == 0
    assert "refused: terms forbid it" in capsys.readouterr().out
    assert main(["policy", "revoke", "openai"]) == 3


def test_nothing_is_signed_without_a_confirmation(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*attest(home, *ATTEST)]) == 2
    error = capsys.readouterr().err
    assert "written permission" in error and "--yes" in error
    assert not (home / "attestations.json").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("opnai", *ATTEST[1:]), "there is no provider"),
        (("api.openai.com", *ATTEST[1:]), "name it openai"),
        (("ollama", *ATTEST[1:]), "needs no permission"),
        (("openai-compatible", *ATTEST[1:]), "attest for the host"),
        (("openai", "--document", "missing", "--expires", "2035-06-30"), "cannot read"),
        ((*ATTEST[:3], "--expires", "2020-01-01"), "does not lie ahead"),
        ((*ATTEST, "--covers", ""), "printable"),
    ],
)
def test_what_cannot_be_attested_is_explained(
    home: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str
) -> None:
    assert main([*attest(home, *arguments), "--yes"]) == 2
    assert said in capsys.readouterr().err
    assert not (home / "attestations.json").exists()


def test_a_private_node_is_named_by_its_account(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["chain", "run", str(home / "letter.pdf"), "--private-node", "nobody"]) == 2
    assert "not an account address" in capsys.readouterr().err
