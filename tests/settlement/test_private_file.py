"""Private files: mode, atomic replacement, and refusal of exposed ones."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ricochet_protocol.errors import ConfigurationError, LocalFault
from ricochet_settlement.private_file import create_private, read_private, write_private


def test_what_was_written_is_read_and_only_its_owner_may(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "key"
    write_private(path, b"one")
    write_private(path, b"two")
    assert read_private(path) == b"two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_replacing_an_exposed_file_hides_the_new_content(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"old")
    path.chmod(0o644)
    write_private(path, b"new")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_a_file_that_others_can_reach_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key"
    write_private(path, b"secret")
    path.chmod(mode)
    with pytest.raises(ConfigurationError) as caught:
        read_private(path)
    assert caught.value.code == "file_exposed"
    assert f"chmod 600 {path}" in caught.value.hint
    assert "secret" not in str(caught.value) + caught.value.hint


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as missing:
        read_private(tmp_path / "none")
    assert missing.value.code == "file_missing"
    with pytest.raises(ConfigurationError) as folder:
        read_private(tmp_path)
    assert folder.value.code == "file_unreadable"


def test_a_failed_replacement_keeps_the_old_file_and_leaves_no_rubbish(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "key"
    write_private(path, b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(LocalFault) as caught:
        write_private(path, b"new")
    assert caught.value.code == "file_unwritable"
    assert "No space left" in caught.value.message
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_creating_never_overwrites(tmp_path: Path) -> None:
    path = tmp_path / "key"
    assert create_private(path, b"first")
    assert not create_private(path, b"second")
    assert read_private(path) == b"first"
    assert list(tmp_path.iterdir()) == [path]


def test_of_many_creators_exactly_one_wins(tmp_path: Path) -> None:
    path = tmp_path / "key"
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda n: create_private(path, b"%d" % n), range(32)))
    assert won.count(True) == 1
    assert read_private(path) == b"%d" % won.index(True)
