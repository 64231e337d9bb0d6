"""Without a terminal nobody is asked: each command that would ask says how to tell it instead."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ricochet_cli.main import main


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RICOCHET_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("RICOCHET_PASSPHRASE_FILE", raising=False)
    with Path("/dev/null").open() as nobody:
        monkeypatch.setattr("sys.stdin", nobody)
        yield tmp_path / "home"


@pytest.mark.parametrize(
    ("command", "code", "error", "option"),
    [
        ("init", 2, "no_terminal", "--as"),
        ("init --as owner --wallet new", 3, "no_passphrase", "--passphrase-file"),
        ("init --as owner --wallet import", 3, "no_key", "--wallet-file"),
        ("wallet new", 3, "no_passphrase", "--passphrase-file"),
        ("wallet import", 3, "no_key", "--file"),
        ("keys add openai", 3, "no_key", "--stdin"),
        ("add-key openai", 3, "no_key", "--stdin"),
        ("keys add local --name mine", 3, "no_passphrase", "--passphrase-file"),
        ("models setup", 2, "no_terminal", "--set"),
        (
            "policy attest openai --document letter.txt --expires 2035-06-30",
            2,
            "not_confirmed",
            "--yes",
        ),
        ("chain encryption on", 3, "no_passphrase", "--passphrase-file"),
        ("forges add github", 3, "no_key", "--stdin"),
    ],
)
def test_nobody_is_asked_and_the_option_is_named(
    command: str,
    code: int,
    error: str,
    option: str,
    home: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("letter.txt").write_text("you may")
    assert main([*command.split(), "--json"]) == code
    shown = capsys.readouterr()
    told = json.loads(shown.err.splitlines()[-1])["error"]
    assert (told["code"], shown.out) == (error, "")
    assert option in told["hint"]
    assert not home.exists(), "nothing is begun"
