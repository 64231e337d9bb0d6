"""Passphrases in the keyring: kept for one file, given back, forgotten; faults with a way out."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from keyring.backends.fail import Keyring as NoKeyring
from keyring.backends.null import Keyring as NullKeyring

from doubles.memory_keyring import MemoryKeyring, keyring_in_use
from ricochet_protocol.errors import ConfigurationError, LocalFault, RicochetError
from ricochet_settlement.remembered import forget, is_remembered, recall, remember

PHRASE = "a phrase that nobody guesses"


@pytest.fixture
def ring() -> Iterator[MemoryKeyring]:
    ring = MemoryKeyring()
    with keyring_in_use(ring):
        yield ring


def test_a_passphrase_is_kept_for_its_file_alone(ring: MemoryKeyring, tmp_path: Path) -> None:
    wallet, keys = tmp_path / "wallet.json", tmp_path / "keys.json"
    assert recall(wallet) is None and not is_remembered(wallet)
    remember(wallet, "before")
    remember(wallet, PHRASE)
    remember(keys, "another")
    assert (recall(wallet), recall(keys)) == (PHRASE, "another")
    assert len(ring.entries) == 2
    marker = tmp_path / "wallet.json.keyring"
    assert PHRASE not in marker.read_text() and marker.stat().st_mode & 0o777 == 0o600
    assert forget(wallet)
    assert recall(wallet) is None and recall(keys) == "another"
    assert list(ring.entries.values()) == ["another"]


def test_the_choice_moves_with_its_folder(ring: MemoryKeyring, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    remember(tmp_path / "a" / "wallet.json", PHRASE)
    (tmp_path / "a").rename(tmp_path / "b")
    assert recall(tmp_path / "b" / "wallet.json") == PHRASE
    assert recall(tmp_path / "a" / "wallet.json") is None


@pytest.mark.parametrize("useless", [NoKeyring, NullKeyring])
def test_without_a_real_keyring_nothing_is_kept(
    useless: type[NoKeyring | NullKeyring], tmp_path: Path
) -> None:
    wallet = tmp_path / "wallet.json"
    with keyring_in_use(useless()):
        with pytest.raises(ConfigurationError) as caught:
            remember(wallet, PHRASE)
        assert caught.value.code == "no_keyring" and "--passphrase-file" in caught.value.hint
    assert not is_remembered(wallet)


def test_a_keyring_that_is_gone_names_the_way_out(ring: MemoryKeyring, tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    remember(keys, PHRASE)
    with keyring_in_use(NoKeyring()):
        with pytest.raises(ConfigurationError) as caught:
            recall(keys)
        assert caught.value.code == "no_keyring" and "ricochet keys forget" in caught.value.hint
        assert not forget(keys)
    assert recall(keys) is None


def test_a_locked_keyring_fails_without_its_words(ring: MemoryKeyring, tmp_path: Path) -> None:
    wallet = tmp_path / "wallet.json"
    remember(wallet, PHRASE)
    ring.locked = True
    with pytest.raises(LocalFault) as caught:
        recall(wallet)
    assert caught.value.code == "keyring_failed" and "KeyringLocked" in caught.value.message
    assert "must not be told" not in caught.value.message + caught.value.hint
    assert "ricochet wallet forget" in caught.value.hint


def test_an_emptied_keyring_and_a_damaged_choice_are_told(
    ring: MemoryKeyring, tmp_path: Path
) -> None:
    wallet = tmp_path / "wallet.json"
    remember(wallet, PHRASE)
    ring.entries.clear()
    assert _code(wallet) == "keyring_empty"
    assert forget(wallet)
    marker = tmp_path / "wallet.json.keyring"
    marker.write_bytes(b"\xff no entry")
    marker.chmod(0o600)
    assert _code(wallet) == "keyring_damaged"
    marker.chmod(0o644)
    assert _code(wallet) == "file_exposed"


def test_a_keyring_that_loses_what_it_gets_is_not_trusted(tmp_path: Path) -> None:
    class Leaky(MemoryKeyring):
        def set_password(self, service: str, username: str, password: str) -> None:
            pass

    with keyring_in_use(Leaky()), pytest.raises(LocalFault) as caught:
        remember(tmp_path / "wallet.json", PHRASE)
    assert caught.value.code == "keyring_failed"
    assert not is_remembered(tmp_path / "wallet.json")


def _code(wallet: Path) -> str:
    with pytest.raises(RicochetError) as caught:
        recall(wallet)
    return caught.value.code
