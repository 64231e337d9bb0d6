"""The keystore: sealed, bound to its origin, readable by its owner only, light to list."""

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ricochet_node import keystore
from ricochet_node.keystore import KeyInfo, Keystore
from ricochet_protocol.errors import ConfigurationError, LocalFault, RicochetError, UsageError
from ricochet_settlement.file_lock import locked
from ricochet_settlement.sealing import master_key, new_kdf

SECRET = "sk-test-0123456789abcdef"
ORIGIN = "https://api.example.com/v1"
WORDS = "correct horse"


SALTED, DERIVED = new_kdf(), cache(master_key)


@pytest.fixture(autouse=True)
def each_key_derived_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Argon2id costs a fifth of a second by design; the same words and salt give the same key."""
    monkeypatch.setattr(keystore, "new_kdf", lambda: SALTED)
    monkeypatch.setattr(keystore, "master_key", DERIVED)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


@pytest.fixture
def store(path: Path) -> Keystore:
    store = Keystore(path)
    store.add(WORDS, "main", "example", ORIGIN, SECRET)
    return store


def test_a_key_comes_back_with_the_passphrase_only(store: Keystore, path: Path) -> None:
    assert store.unlock(WORDS, "main") == SECRET
    with pytest.raises(ConfigurationError) as caught:
        store.unlock("wrong", "main")
    assert caught.value.code == "wrong_passphrase"
    assert caught.value.__cause__ is None
    assert SECRET not in path.read_text()
    assert SECRET.encode().hex() not in path.read_text()


def test_the_file_is_private_and_shows_four_characters(store: Keystore, path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert store.list() == (KeyInfo("main", "example", ORIGIN, "cdef"),)


def test_a_short_secret_shows_nothing(store: Keystore) -> None:
    assert store.add(WORDS, "short", "example", ORIGIN, "abcd1234").last4 == ""


def test_a_file_others_can_read_is_refused(store: Keystore, path: Path) -> None:
    path.chmod(0o644)
    with pytest.raises(ConfigurationError) as caught:
        store.list()
    assert caught.value.code == "file_exposed"


def test_without_a_file_there_are_no_keys(path: Path) -> None:
    assert Keystore(path).list() == ()
    with pytest.raises(ConfigurationError) as caught:
        Keystore(path).unlock(WORDS, "main")
    assert caught.value.code == "no_key"
    assert "ricochet keys add" in caught.value.hint


def test_later_keys_need_the_first_passphrase(store: Keystore) -> None:
    with pytest.raises(ConfigurationError) as caught:
        store.add("other", "second", "example", ORIGIN, SECRET)
    assert caught.value.code == "wrong_passphrase"
    store.add(WORDS, "second", "example", ORIGIN, SECRET + "2")
    assert [info.id for info in store.list()] == ["main", "second"]
    assert store.unlock(WORDS, "second") == SECRET + "2"


def test_removing_the_last_key_frees_the_passphrase(store: Keystore) -> None:
    assert store.remove("main").id == "main"
    assert store.list() == ()
    store.add("a new one", "main", "example", ORIGIN, SECRET)
    assert store.unlock("a new one", "main") == SECRET


def test_removing_a_missing_key_says_how_to_see_them(store: Keystore) -> None:
    with pytest.raises(ConfigurationError) as caught:
        store.remove("nothing")
    assert caught.value.code == "no_key"
    assert "ricochet keys list" in caught.value.hint


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ((WORDS, "main", "example", ORIGIN, SECRET), "duplicate_key"),
        ((WORDS, "../etc", "example", ORIGIN, SECRET), "bad_name"),
        ((WORDS, "Key", "example", ORIGIN, SECRET), "bad_name"),
        ((WORDS, "", "example", ORIGIN, SECRET), "bad_name"),
        ((WORDS, "k" * 33, "example", ORIGIN, SECRET), "bad_name"),
        ((WORDS, "k", "exa mple", ORIGIN, SECRET), "bad_name"),
        ((WORDS, "k", "example", "http://api.example.com", SECRET), "bad_origin"),
        ((WORDS, "k", "example", ORIGIN, "two words"), "bad_key"),
        ((WORDS, "k", "example", ORIGIN, "line\r\nX-Evil: 1"), "bad_key"),
        ((WORDS, "k", "example", ORIGIN, ""), "bad_key"),
    ],
)
def test_bad_arguments_change_nothing(
    store: Keystore, path: Path, arguments: tuple[str, str, str, str, str], code: str
) -> None:
    before = path.read_bytes()
    with pytest.raises(UsageError) as caught:
        store.add(*arguments)
    assert caught.value.code == code
    assert caught.value.hint
    assert SECRET not in str(caught.value)
    assert path.read_bytes() == before


def test_an_empty_passphrase_is_refused(path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        Keystore(path).add("", "main", "example", ORIGIN, SECRET)
    assert caught.value.code == "empty_passphrase"


def _set(*keys: Any, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(file: dict[str, Any]) -> None:
        place: Any = file
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value

    return change


TOKENS = (
    "sk-ant-oat01-abcdefghijkl",
    "sk-ant-ort01-abcdefghijkl",
    "sk-ant-sid01-abcdefghijkl",
    "ya29.a0AfH6SMBx",
    "1//0gabcdefghijk",
    "sess-abcdefghijklmnop",
    "gho_abcdefghijklmnop",
    "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln",
    "Bearer:eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln",
)


@pytest.mark.parametrize("token", TOKENS)
def test_subscription_tokens_are_refused(store: Keystore, path: Path, token: str) -> None:
    before = path.read_bytes()
    for attempt in (
        lambda: store.add(WORDS, "k", "example", ORIGIN, f"  {token}\n"),
        lambda: store.rotate(WORDS, "main", token),
    ):
        with pytest.raises(UsageError) as caught:
            attempt()
        assert caught.value.code == "subscription_token"
        assert token not in str(caught.value) + caught.value.hint
    assert path.read_bytes() == before


def test_a_rotated_key_keeps_everything_else(store: Keystore) -> None:
    store.add(WORDS, "other", "example", ORIGIN, SECRET)
    info = store.rotate(WORDS, "main", "sk-new-9876543210fedcba")
    assert info == KeyInfo("main", "example", ORIGIN, "dcba")
    assert store.unlock(WORDS, "main") == "sk-new-9876543210fedcba"
    assert [each.id for each in store.list()] == ["main", "other"]
    assert store.unlock(WORDS, "other") == SECRET


def test_an_edited_record_is_not_sealed_anew(store: Keystore, path: Path) -> None:
    path.write_text(path.read_text().replace("api.example.com", "evil.example.com"))
    for attempt in (
        lambda: store.rotate(WORDS, "main", SECRET + "2"),
        lambda: store.change_passphrase(WORDS, "new"),
        lambda: store.export(WORDS, (), path.with_name("out.json"), "own"),
    ):
        with pytest.raises(ConfigurationError) as caught:
            attempt()
        assert caught.value.code == "keystore_damaged"
    assert not path.with_name("out.json").exists()


def test_a_new_passphrase_opens_all_or_none(
    store: Keystore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.add(WORDS, "other", "example", ORIGIN, SECRET + "2")
    with pytest.raises(ConfigurationError):
        store.change_passphrase("wrong", "new")

    def killed(source: str, target: Path) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed)
        with pytest.raises(RicochetError):
            store.change_passphrase(WORDS, "new")
    assert store.unlock(WORDS, "other") == SECRET + "2"
    assert store.change_passphrase(WORDS, "new") == 2
    assert store.unlock("new", "main") == SECRET
    assert store.unlock("new", "other") == SECRET + "2"


def test_an_import_adds_all_or_nothing(store: Keystore, path: Path) -> None:
    store.add(WORDS, "other", "example", ORIGIN, SECRET + "2")
    out = path.with_name("out.json")
    assert store.export(WORDS, ["other"], out, "own") == 1
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    elsewhere = Keystore(path.with_name("elsewhere.json"))
    with pytest.raises(ConfigurationError):
        elsewhere.take_in("mine", out, "wrong")
    assert elsewhere.list() == ()
    assert [info.id for info in elsewhere.take_in("mine", out, "own")] == ["other"]
    assert elsewhere.unlock("mine", "other") == SECRET + "2"
    store.export(WORDS, (), path.with_name("all.json"), "own")
    with pytest.raises(UsageError):
        elsewhere.take_in("mine", path.with_name("all.json"), "own")
    assert [info.id for info in elsewhere.list()] == ["other"]


_ADDS = """
import sys
from pathlib import Path
from ricochet_node.keystore import Keystore
for number in range(2):
    name = f"{sys.argv[2]}-{number}"
    Keystore(Path(sys.argv[1])).add("correct horse", name, "local", "https://x.example", "sk-12345")
"""


def test_two_processes_lose_nothing(store: Keystore, path: Path) -> None:
    adders = [subprocess.Popen([sys.executable, "-c", _ADDS, str(path), who]) for who in "ab"]
    assert [adder.wait(60) for adder in adders] == [0, 0]
    assert {info.id for info in store.list()} == {"main", "a-0", "a-1", "b-0", "b-1"}


def test_a_lock_that_stays_is_named(store: Keystore, path: Path) -> None:
    with locked(path), pytest.raises(LocalFault) as caught, locked(path, wait=0):
        pass
    assert caught.value.code == "file_busy"
    store.remove("main")


@pytest.mark.parametrize(
    "change",
    [
        _set("keys", 0, "info", "id", value="renamed"),
        _set("keys", 0, "info", "origin", value="https://evil.example/v1"),
        _set("keys", 0, "info", "origin", value="http://127.0.0.1:9/v1"),
        _set("keys", 0, "info", "provider", value="other"),
        _set("keys", 0, "info", "last4", value="0000"),
        _set("keys", 0, "box", "nonce", value="AAAAAAAAAAAAAAAA"),
        _set("keys", 0, "info", "origin", value="http://evil.example/v1"),
        _set("keys", 0, "info", "extra", value=1),
        _set("kdf", "memory_kib", value=8),
        _set("kdf", "memory_kib", value=2**40),
        _set("version", value=2),
    ],
)
def test_tampering_is_found(
    store: Keystore, path: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    file = json.loads(path.read_text())
    change(file)
    path.write_text(json.dumps(file))
    with pytest.raises(ConfigurationError) as caught:
        store.unlock(WORDS, file["keys"][0]["info"]["id"])
    assert caught.value.code == "keystore_damaged"


def test_sealed_keys_cannot_change_places(store: Keystore, path: Path) -> None:
    store.add(WORDS, "other", "example", "https://other.example/v1", SECRET + "2")
    file = json.loads(path.read_text())
    first, second = file["keys"]
    first["box"], second["box"] = second["box"], first["box"]
    path.write_text(json.dumps(file))
    with pytest.raises(ConfigurationError) as caught:
        store.unlock(WORDS, "main")
    assert caught.value.code == "keystore_damaged"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=200))
def test_any_file_content_is_read_or_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "any.json"
    path.write_bytes(data)
    path.chmod(0o600)
    with pytest.raises(RicochetError) as caught:
        Keystore(path).list()
    assert caught.value.code == "keystore_damaged"


def test_a_failed_write_leaves_the_old_file(
    store: Keystore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(source: str, target: Path) -> None:
        raise OSError(28, "No space left on device")

    before = path.read_bytes()
    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(RicochetError) as caught:
        store.add(WORDS, "second", "example", ORIGIN, SECRET)
    assert caught.value.code == "file_unwritable"
    assert path.read_bytes() == before
    left = sorted(child.name for child in path.parent.iterdir())
    assert left == ["keys.json", "keys.json.lock"]


def test_listing_loads_nothing_heavy(store: Keystore, path: Path) -> None:
    code = (
        "import sys, pathlib; from ricochet_node.keystore import Keystore;"
        f"assert len(Keystore(pathlib.Path({str(path)!r})).list()) == 1;"
        "heavy = {'cryptography', 'aiohttp', 'asyncio', 'sqlite3', 'eth_account', 'web3'};"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
