"""The Hardhat suites, and the committed contract data against a fresh compile."""

import json
import re
from pathlib import Path

import pytest

import hardhat_project


@pytest.mark.timeout(300)
@pytest.mark.slow
def test_hardhat_suites_pass(hardhat_build: Path) -> None:
    output = hardhat_project.hardhat(hardhat_build, "test")
    passing = re.search(r"^(\d+) passing \((\d+) solidity, (\d+) mocha\)", output, re.MULTILINE)
    # Counted, so that a suite which is not found any more is a failure.
    assert passing, output
    assert int(passing[2]) >= 3 and int(passing[3]) >= 130, output


@pytest.mark.deep
@pytest.mark.timeout(3600)
def test_invariants_hold_in_long_runs(hardhat_build: Path) -> None:
    output = hardhat_project.hardhat(
        hardhat_build, "test", "solidity", seconds=3500, RICOCHET_DEEP="1"
    )
    assert "invariant_everyRuleHolds() (runs: 1000)" in output, output
    assert len(re.findall(r"testFuzz_\w+\(.*\) \(runs: 20000\)", output)) >= 2, output


@pytest.mark.deep
@pytest.mark.timeout(600)
def test_every_line_and_branch_is_covered(hardhat_build: Path) -> None:
    report = hardhat_project.coverage(hardhat_build)
    print(report)  # shown by `pytest -rP`
    row = re.search(r"contracts/Ricochet\.sol +│ +([\d.]+) +│ +([\d.]+)", report)
    assert row and row.groups() == ("100.00", "100.00"), report


@pytest.mark.slow
def test_committed_contracts_are_a_fresh_compile(hardhat_build: Path) -> None:
    committed = {
        path.stem: json.loads(path.read_text("utf-8"))
        for path in hardhat_project.ABI_FOLDER.glob("*.json")
    }
    assert committed == hardhat_project.compiled(hardhat_build), (
        "run: python tests/hardhat_project.py write-abi"
    )
