"""A home's files about peers: bans that hold at once, and files that may be missing or damaged."""

from pathlib import Path

import pytest

from ricochet_protocol.errors import ConfigurationError
from ricochet_protocol.signing import peer_of
from ricochet_settlement import peer_files
from ricochet_settlement.peer_files import PeerFiles, bans, change_bans

A, B = (peer_of(bytes([n]) * 32) for n in (1, 2))


def test_bans_are_added_lifted_and_followed(tmp_path: Path) -> None:
    files = PeerFiles(tmp_path)
    assert files.barred() == frozenset()
    assert change_bans(tmp_path, A, banned=True) and change_bans(tmp_path, B, banned=True)
    assert not change_bans(tmp_path, A, banned=True)
    assert bans(tmp_path) == (A, B) and files.barred() == {A, B}
    assert change_bans(tmp_path, A, banned=False) and not change_bans(tmp_path, A, banned=False)
    assert files.barred() == {B}


def test_damaged_bans_are_an_error_to_edit_and_change_nothing_for_the_network(
    tmp_path: Path,
) -> None:
    files = PeerFiles(tmp_path)
    change_bans(tmp_path, A, banned=True)
    assert files.barred() == {A}
    (tmp_path / peer_files.BANS_FILE).write_text('["nobody"]')
    assert files.barred() == {A}
    with pytest.raises(ConfigurationError) as caught:
        change_bans(tmp_path, B, banned=True)
    assert caught.value.code == "bad_bans" and caught.value.hint


def test_bans_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_files, "MAX_BANS", 1)
    change_bans(tmp_path, A, banned=True)
    with pytest.raises(ConfigurationError) as caught:
        change_bans(tmp_path, B, banned=True)
    assert caught.value.code == "too_many_bans"


def test_what_is_remembered_is_read_back_and_an_exposed_file_is_not(tmp_path: Path) -> None:
    files = PeerFiles(tmp_path)
    assert files.read() == b""
    files.write(b"{}")
    assert files.read() == b"{}"
    (tmp_path / peer_files.PEERS_FILE).chmod(0o644)
    assert files.read() == b""
