"""Replacing the session key, cut off at each point: one key is always in force and none is lost."""

import asyncio
from pathlib import Path

import pytest

from ricochet_protocol.errors import ChainError, ConfigurationError
from ricochet_protocol.ids import Address
from ricochet_protocol.signing import account_address
from ricochet_settlement import session_key
from ricochet_settlement.hot_key import load_or_create
from ricochet_settlement.session_key import Rotation, former_sessions, rotate_session


class Chain:
    """Whom the chain names; `refuse` before it changes anything, `lose` the answer after."""

    def __init__(self, delegate: Address) -> None:
        self.delegate = delegate
        self.changes = 0
        self.refuse = self.lose = False

    async def appoint(self, delegate: Address) -> None:
        if self.refuse:
            raise ChainError("chain_unreachable", "gone", "start it")
        if delegate != self.delegate:
            self.delegate = delegate
            self.changes += 1
        if self.lose:
            raise ChainError("not_mined", "perhaps", "look")


class Crash(BaseException):
    """The process ends here."""


@pytest.fixture
def chain(tmp_path: Path) -> Chain:
    return Chain(signer(tmp_path))


def signer(home: Path) -> Address:
    return account_address(load_or_create(home / "session.key"))


def rotate(home: Path, chain: Chain) -> Rotation:
    return asyncio.run(rotate_session(home, chain.appoint))


def test_the_new_key_takes_over_and_the_old_one_is_kept(tmp_path: Path, chain: Chain) -> None:
    first = signer(tmp_path)
    done = rotate(tmp_path, chain)
    assert (done.replaced, done.delegate) == (first, signer(tmp_path))
    assert chain.delegate == done.delegate != first
    assert account_address(load_or_create(done.kept)) == first
    assert done.kept.stat().st_mode & 0o777 == 0o600
    assert former_sessions(tmp_path) == {first}
    assert not (tmp_path / "session.key.next").exists()
    rotate(tmp_path, chain)
    assert former_sessions(tmp_path) == {first, done.delegate}


def test_a_refusal_leaves_the_old_key_in_force(tmp_path: Path, chain: Chain) -> None:
    first = signer(tmp_path)
    chain.refuse = True
    with pytest.raises(ChainError):
        rotate(tmp_path, chain)
    assert signer(tmp_path) == first == chain.delegate
    assert former_sessions(tmp_path) == frozenset()
    chain.refuse = False
    prepared = account_address(load_or_create(tmp_path / "session.key.next"))
    assert rotate(tmp_path, chain).delegate == prepared == chain.delegate


@pytest.mark.parametrize("point", ["answer", "create_private", "replace", "sync_folder"])
def test_a_crash_after_the_chain_knows_is_made_good_by_the_same_command(
    tmp_path: Path, chain: Chain, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = signer(tmp_path)

    def crash(*_: object) -> None:
        raise Crash

    with monkeypatch.context() as broken:
        if point == "answer":
            chain.lose = True
        elif point == "replace":
            broken.setattr(Path, "replace", crash)
        else:
            # The next key is written before the chain hears of it, by another module.
            broken.setattr(session_key, point, crash)
        with pytest.raises((Crash, ChainError)):
            rotate(tmp_path, chain)
    chain.lose = False
    keys = {account_address(load_or_create(file)) for file in tmp_path.glob("session*key*")}
    assert {first, chain.delegate} <= keys
    if point == "sync_folder":  # the last step was done
        assert signer(tmp_path) == chain.delegate
        return
    assert signer(tmp_path) == first
    assert rotate(tmp_path, chain).delegate == signer(tmp_path) == chain.delegate
    assert chain.changes == 1
    assert former_sessions(tmp_path) == {first}


def test_a_nodes_gas_key_is_not_taken_from_under_it(tmp_path: Path, chain: Chain) -> None:
    (tmp_path / "node.db").touch()
    first = signer(tmp_path)
    with pytest.raises(ConfigurationError) as caught:
        rotate(tmp_path, chain)
    assert caught.value.code == "session_pays_gas" and "--home" in caught.value.hint
    assert signer(tmp_path) == first == chain.delegate


def test_a_damaged_next_key_is_told_before_anything_changes(tmp_path: Path, chain: Chain) -> None:
    (tmp_path / "session.key.next").write_text("no key")
    (tmp_path / "session.key.next").chmod(0o600)
    with pytest.raises(ConfigurationError) as caught:
        rotate(tmp_path, chain)
    assert caught.value.code == "key_damaged" and chain.changes == 0


def test_only_kept_keys_name_former_sessions(tmp_path: Path) -> None:
    for name in ("session.0x12.key", "session.0xzz.key", "session.0x" + "AB" * 20 + ".key"):
        (tmp_path / name).touch()
    assert former_sessions(tmp_path) == frozenset()
