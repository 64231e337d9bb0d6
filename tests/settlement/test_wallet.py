"""The wallet file: opened by its passphrase only, never overwritten, readable elsewhere."""

import json
from pathlib import Path

import pytest
from eth_account import Account
from hypothesis import given
from hypothesis import strategies as st

from ricochet_protocol.errors import ConfigurationError
from ricochet_protocol.signing import account_address
from ricochet_settlement import wallet

KEY = bytes([7]) * 32


def keystore(iterations: int = 2, kdf: str = "scrypt") -> dict[str, object]:
    """A wallet of `KEY` that opens quickly."""
    return dict(Account.encrypt(KEY, "open", kdf=kdf, iterations=iterations))


def put(path: Path, content: object) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    path.chmod(0o600)
    return path


def test_a_new_wallet_opens_with_its_passphrase_only(tmp_path: Path) -> None:
    path = tmp_path / "home" / "wallet.json"
    made = wallet.create(path, "correct horse")
    assert wallet.address_of(path) == made
    assert account_address(wallet.unlock(path, "correct horse")) == made
    assert path.stat().st_mode & 0o777 == 0o600
    stored = json.loads(path.read_text())
    assert stored["version"] == 3
    assert stored["crypto"]["kdfparams"]["n"] == wallet.SCRYPT_N
    with pytest.raises(ConfigurationError) as caught:
        wallet.unlock(path, "wrong horse")
    assert caught.value.code == "wrong_passphrase"
    assert "horse" not in str(caught.value) + caught.value.hint


def test_a_wallet_is_never_overwritten(tmp_path: Path) -> None:
    path = put(tmp_path / "wallet.json", keystore())
    before = path.read_bytes()
    with pytest.raises(ConfigurationError) as caught:
        wallet.create(path, "other")
    assert caught.value.code == "wallet_exists"
    assert path.read_bytes() == before


@pytest.mark.parametrize("kdf", ["scrypt", "pbkdf2"])
def test_wallets_of_other_programs_open(tmp_path: Path, kdf: str) -> None:
    path = put(tmp_path / "wallet.json", keystore(kdf=kdf))
    assert wallet.unlock(path, "open") == KEY
    prefixed = keystore() | {"address": account_address(KEY), "id": "x", "extra": 1}
    assert wallet.address_of(put(path, prefixed)) == account_address(KEY)
    assert wallet.unlock(path, "open") == KEY


def test_no_wallet_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        wallet.address_of(tmp_path / "wallet.json")
    assert caught.value.code == "no_wallet"
    assert "ricochet wallet new" in caught.value.hint


def damaged(field: str, value: object) -> dict[str, object]:
    crypto = dict(keystore()["crypto"], **{field: value})  # type: ignore[call-overload]
    return keystore() | {"crypto": crypto}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{",
        keystore() | {"version": 4},
        keystore() | {"address": "12"},
        keystore() | {"address": "00" * 20},
        keystore() | {"crypto": {}},
        damaged("kdf", "md5"),
        damaged("kdfparams", {"n": 2**70, "r": 8, "p": 1, "dklen": 32, "salt": "00"}),
        damaged("kdfparams", {"n": 3, "r": 8, "p": 1, "dklen": 32, "salt": "00"}),
        damaged("kdfparams", []),
        damaged("mac", 5),
        damaged("ciphertext", "zz"),
        damaged("cipherparams", {"iv": None}),
    ],
)
def test_a_damaged_wallet_is_refused_clearly(tmp_path: Path, content: object) -> None:
    path = put(tmp_path / "wallet.json", content)
    with pytest.raises(ConfigurationError) as caught:
        wallet.unlock(path, "open")
    assert caught.value.code == "wallet_damaged"
    assert str(path) in caught.value.message


@given(content=st.binary(max_size=300))
def test_any_bytes_are_a_damaged_wallet(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("home") / "wallet.json"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(ConfigurationError) as caught:
        wallet.address_of(path)
    assert caught.value.code == "wallet_damaged"
