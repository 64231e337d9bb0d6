"""Symbolic proofs and static analysis of the contract; docs/proofs.md says what they are worth."""

import re
from pathlib import Path

import pytest

import halmos_project
import hardhat_project
import slither_project

SHARE = re.compile(r"function _shareOf\(.*?^    }", re.DOTALL | re.MULTILINE)
RATES = re.compile(r"uint256 \w+ constant (?:NODE_)?BPS = [\d_]+;")


def test_proofs_are_of_the_contracts_own_formula() -> None:
    contract = (hardhat_project.ROOT / "contracts" / "Ricochet.sol").read_text("utf-8")
    proofs = (hardhat_project.ROOT / halmos_project.PROOFS).read_text("utf-8")
    assert SHARE.findall(contract) == SHARE.findall(proofs) != []
    rates = [text.replace("public", "private") for text in RATES.findall(contract)]
    assert rates == RATES.findall(proofs) != []


@pytest.mark.deep
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("hardhat_build")
def test_the_split_is_proven(tmp_path: Path) -> None:
    verdicts = halmos_project.prove(tmp_path)
    refuted = "check_refutedThatNoSingleClaimExceedsSeventyPercent"
    # The one that must fail shows that the others could.
    assert verdicts.pop(refuted) == "refuted"
    assert len(verdicts) == 4 and set(verdicts.values()) == {"proven"}, verdicts


@pytest.mark.deep
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("hardhat_build")
def test_each_finding_of_slither_has_an_answer(tmp_path: Path) -> None:
    found, answered = slither_project.findings(tmp_path), slither_project.answered()
    assert found - answered == set(), "answer it in docs/slither.md, or mend the contract"
    assert answered - found == set(), "docs/slither.md answers what slither no longer finds"
