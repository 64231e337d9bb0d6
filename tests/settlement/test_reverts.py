"""Reverts in words, and the tables that must follow the Solidity sources."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from web3.exceptions import ContractLogicError

from ricochet_protocol.money import NODE_BPS
from ricochet_protocol.signing import keccak256
from ricochet_settlement.artifact import artifact
from ricochet_settlement.reverts import _WAYS_OUT, explain, refusal
from ricochet_settlement.skip import SKIPS

CONTRACTS = Path(__file__).parents[2] / "contracts"


def test_errors_of_contract_token_and_compiler_are_named() -> None:
    one = (1).to_bytes(32, "big")
    assert explain(keccak256(b"NotSubscribed(uint32,uint64,uint64)")[:4] + one * 3) == (
        "NotSubscribed(period=1, end=1, timestamp=1)"
    )
    assert "ERC20InsufficientBalance(sender=0x" in explain(
        keccak256(b"ERC20InsufficientBalance(address,uint256,uint256)")[:4] + one * 3
    )
    assert explain(bytes.fromhex("4e487b71") + (0x11).to_bytes(32, "big")) == "Panic(code=17)"
    assert explain(b"\xff\xff\xff\xff") == "unknown error 0xffffffff"
    assert explain(b"") == "execution failed without a reason"


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        ("InexactTransfer(uint256,uint256)", "keeps a part of each transfer"),
        ("OutsideRenewal(uint64,uint64)", "ricochet subscription show"),
        ("AutoRenewOff(address)", "ricochet subscription auto-renew"),
        ("EnforcedPause()", "paused new money"),
        ("NothingToWithdraw(address)", "IRicochet.sol"),
    ],
)
def test_a_refusal_says_what_to_do(error: str, hint: str) -> None:
    data = keccak256(error.encode())[:4] + bytes(64)
    told = refusal(ContractLogicError("reverted", data="0x" + data.hex()))
    assert (told.code, error.partition("(")[0] in told.message) == ("reverted", True)
    assert hint in told.hint


def test_every_way_out_is_of_an_error_that_exists() -> None:
    names = {one.get("name") for kind in ("Ricochet", "TestUSD") for one in artifact(kind).abi}  # type: ignore[arg-type] # a literal each
    assert set(_WAYS_OUT) <= names


@given(
    selector=st.sampled_from(["08c379a0", "4e487b71"]).map(bytes.fromhex) | st.binary(max_size=4),
    rest=st.binary(max_size=100),
)
def test_any_bytes_are_explained(selector: bytes, rest: bytes) -> None:
    assert explain(selector + rest)


def test_skip_reasons_follow_the_contracts_enum() -> None:
    source = (CONTRACTS / "interfaces" / "IRicochet.sol").read_text()
    body = re.search(r"enum Skip \{(.*?)\}", source, re.DOTALL)
    assert body is not None
    names = re.findall(r"^\s*(\w+),?$", re.sub(r"///.*", "", body[1]), re.MULTILINE)
    snake = [re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower() for name in names]
    assert snake == list(SKIPS)


def test_the_share_follows_the_contracts_constant() -> None:
    source = (CONTRACTS / "Ricochet.sol").read_text()
    found = re.search(r"constant NODE_BPS = ([\d_]+);", source)
    assert found is not None and int(found[1]) == NODE_BPS


def test_the_package_carries_both_contracts() -> None:
    for name in ("Ricochet", "TestUSD"):
        assert len(bytes.fromhex(artifact(name).bytecode.removeprefix("0x"))) > 1000  # type: ignore[arg-type] # a literal each
