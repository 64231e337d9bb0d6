"""`ricochet keys`: a key's life from adding to moving, with wrong input on the way."""

import io
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from doubles.memory_keyring import MemoryKeyring, keyring_in_use
from ricochet_cli.main import main
from ricochet_node import keystore
from ricochet_node.counters import Counters
from ricochet_node.keystore import Keystore
from ricochet_settlement.sealing import master_key, new_kdf

PHRASE, OWN, NEW = "a phrase nobody guesses", "the export's own", "another phrase"
SECRET, ROTATED = "sk-test-0123456789abcdef", "sk-test-fedcba9876543210"


SALTED, DERIVED = new_kdf(), cache(master_key)


@pytest.fixture(autouse=True)
def each_key_derived_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Argon2id costs a fifth of a second by design; the same words and salt give the same key."""
    monkeypatch.setattr(keystore, "new_kdf", lambda: SALTED)
    monkeypatch.setattr(keystore, "master_key", DERIVED)


class Cli:
    def __init__(
        self, home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.home, self._capsys, self._patch = home, capsys, monkeypatch
        self.shown = ""

    def __call__(self, *arguments: str, stdin: str = "", code: int = 0) -> Any:
        """The printed document, or the error's code."""
        self._patch.setattr("sys.stdin", io.StringIO(stdin))
        done = main([*arguments, "--home", str(self.home), "--json"])
        said = self._capsys.readouterr()
        self.shown += said.out + said.err
        assert done == code, said.err
        return json.loads(said.err)["error"] if code else json.loads(said.out)

    def phrase(self, text: str, option: str = "--passphrase-file") -> tuple[str, str]:
        file = self.home.parent / f"phrase-{option.strip('-')}"
        file.write_text(text + "\n")
        return option, str(file)


@pytest.fixture
def cli(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    return Cli(tmp_path / "home", capsys, monkeypatch)


def test_a_keys_life(cli: Cli, tmp_path: Path) -> None:
    phrase = cli.phrase(PHRASE)
    added = cli("add-key", "openai", "--stdin", *phrase, stdin=SECRET)
    assert added == {
        "id": "openai", "provider": "openai", "url": "https://api.openai.com/v1", "ends": "cdef",
    }  # fmt: skip
    error = cli("keys", "add", "openai", "--stdin", *phrase, stdin=SECRET, code=2)
    assert error["code"] == "duplicate_key" and "keys rotate openai" in error["hint"]
    error = cli("keys", "add", "openia", "--stdin", *phrase, stdin=SECRET, code=2)
    assert error["code"] == "unknown_provider"
    error = cli("keys", "add", "openai-compatible", "--stdin", *phrase, stdin=SECRET, code=2)
    assert error["code"] == "no_url"

    assert cli("keys", "disable", "openai") == {"id": "openai", "disabled": True}
    shown = cli("keys", "show", "openai")
    assert shown["disabled"] and shown["day"] == {"spent": 0, "calls": 0}
    assert cli("keys", "enable", "openai") == {"id": "openai", "disabled": False}
    assert cli("keys", "disable", "missing", code=3)["code"] == "no_key"

    rotated = cli("keys", "rotate", "openai", "--stdin", *phrase, stdin=ROTATED)
    assert (rotated["id"], rotated["ends"]) == ("openai", "3210")

    out = str(tmp_path / "moved.json")
    own = cli.phrase(OWN, "--export-passphrase-file")
    assert cli("keys", "export", "--out", out, *phrase, *own)["keys"] == 1
    assert cli("keys", "export", "--out", out, *phrase, *own, code=2)["code"] == "file_exists"
    error = cli("keys", "import", out, *phrase, *own, code=2)
    assert error["code"] == "duplicate_key"

    new = cli.phrase(NEW, "--new-passphrase-file")
    assert cli("keys", "passphrase", *phrase, *new) == {"keys": 1}
    assert Keystore(cli.home / "keys.json").unlock(NEW, "openai") == ROTATED

    cli("keys", "disable", "openai")
    cli("keys", "remove", "openai")
    assert not Counters(cli.home / "keys.db").is_disabled("openai")
    assert cli("keys", "list") == []
    cli("keys", "import", out, *cli.phrase(NEW), *own)
    assert Keystore(cli.home / "keys.json").unlock(NEW, "openai") == ROTATED
    for secret in (SECRET, ROTATED, PHRASE, OWN, NEW):
        assert secret not in cli.shown


def test_an_upstream_without_a_key_is_added_unasked(cli: Cli) -> None:
    added = cli("keys", "add", "ollama", "--name", "mine", *cli.phrase(PHRASE))
    assert (added["id"], added["url"]) == ("mine", "http://127.0.0.1:11434/v1")


def test_where_calls_of_a_key_without_secret_and_limits_are_counted_is_said(
    cli: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    def said() -> str:
        assert main(["keys", "show", "mine", "--home", str(cli.home)]) == 0
        return capsys.readouterr().err

    cli("keys", "add", "ollama", "--name", "mine", *cli.phrase(PHRASE))
    capsys.readouterr()
    assert "are not counted here: `ricochet node stats --by key` has them" in said()
    offer = {"model": "m", "upstream_model": "m", "key": "mine", "context": 4096}
    prices = {"price_in": "0.40", "price_out": "0.80"}
    config = {"offers": [{**offer, **prices}], "keys": {"mine": {"rpm": 60}}}
    (cli.home / "node.yaml").write_text(json.dumps(config), "utf-8")
    assert "not counted" not in said()


def test_the_keyring_keeps_up_with_a_new_passphrase(cli: Cli) -> None:
    with keyring_in_use(MemoryKeyring()):
        phrase = cli.phrase(PHRASE)
        cli("keys", "add", "ollama", *phrase)
        wrong = cli.phrase("wrong", "--export-passphrase-file")[1]
        assert cli("keys", "remember", "--passphrase-file", wrong, code=3)["code"] == (
            "wrong_passphrase"
        )
        assert cli("keys", "remember", *phrase) == {"remembered": True}
        assert cli("keys", "passphrase", *cli.phrase(NEW, "--new-passphrase-file")) == {"keys": 1}
        cli("keys", "add", "local")
        assert cli("keys", "forget") == {"remembered": False}
        assert cli("keys", "add", "local", "--name", "x", code=3)["code"] == "no_passphrase"


def test_a_key_is_tested_through_a_vault(cli: Cli) -> None:
    url = "http://127.0.0.1:9/v1"
    phrase = cli.phrase(PHRASE)
    cli("keys", "add", "local", "--url", url, *phrase)
    error = cli("keys", "test", "local", "--model", "m", *phrase, code=1)
    assert error["code"] == "provider_unreachable" and "keys list" in error["hint"]
    line = json.loads((cli.home / "keys.log").read_text())
    assert (line["key"], line["refusal"], line["cost"]) == ("local", "unreachable", 0)


@contextmanager
def provider(status: list[int]) -> Iterator[str]:
    """Answers everything with an empty list and the one status of `status`; its base URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status[0])
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", "11")
            self.end_headers()
            self.wfile.write(b'{"data":[]}')

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1"
        finally:
            server.shutdown()
            thread.join()


def test_what_a_test_says_of_a_key_is_in_the_list(cli: Cli) -> None:
    phrase = cli.phrase(PHRASE)

    def state() -> Any:
        (one,) = cli("keys", "list")
        return one["state"]

    status = [401]
    with provider(status) as url:
        cli("keys", "add", "local", "--url", url, *phrase)
        assert state() == "ready"
        assert cli("keys", "test", "local", *phrase, code=3)["code"] == "key_refused"
        assert state() == "refused"
        status[0] = 402
        assert cli("keys", "test", "local", *phrase, code=4)["code"] == "out_of_quota"
        assert state().startswith("exhausted")
        status[0] = 200
        cli("keys", "test", "local", *phrase)
        assert state() == "ready"
