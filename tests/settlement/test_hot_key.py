"""Hot keys: made once, kept, and refused when damaged."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ricochet_protocol.errors import ConfigurationError
from ricochet_protocol.signing import account_address, peer_of
from ricochet_settlement.hot_key import load_or_create

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


def test_a_key_is_made_once_and_serves_both_curves(tmp_path: Path) -> None:
    path = tmp_path / "home" / "session.key"
    key = load_or_create(path)
    assert len(key) == 32
    assert load_or_create(path) == key
    assert load_or_create(tmp_path / "peer.key") != key
    assert account_address(key).startswith("0x")
    assert peer_of(key).startswith("12D3KooW")
    assert path.stat().st_mode & 0o777 == 0o600


def test_processes_that_start_together_share_one_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _: load_or_create(tmp_path / "session.key"), range(16)))
    assert len(keys) == 1


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"ab" * 31,
        b"AB" * 32,
        b"zz" * 32,
        b"ab" * 32 + b"\nab",
        b"00" * 32,
        b"%064x" % ORDER,
        b"\xff" * 64,
    ],
)
def test_a_damaged_key_is_kept_and_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "session.key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(ConfigurationError) as caught:
        load_or_create(path)
    assert caught.value.code == "key_damaged"
    assert path.read_bytes() == content


def test_the_largest_and_smallest_scalars_are_keys(tmp_path: Path) -> None:
    for number in (1, ORDER - 1):
        path = tmp_path / f"{number}.key"
        path.write_bytes(b"%064x" % number)
        path.chmod(0o600)
        assert load_or_create(path) == number.to_bytes(32, "big")
