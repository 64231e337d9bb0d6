"""The Hardhat suites, and the committed contract data against a fresh compile."""

import json
import re
from pathlib import Path

import hardhat_project


def test_hardhat_suites_pass(hardhat_build: Path) -> None:
    output = hardhat_project.hardhat(hardhat_build, "test")
    passing = re.search(r"^(\d+) passing \((\d+) solidity, (\d+) mocha\)", output, re.MULTILINE)
    # Counted, so that a suite which is not found any more is a failure.
    assert passing, output
    assert int(passing[2]) >= 8 and int(passing[3]) >= 67, output


def test_committed_contracts_are_a_fresh_compile(hardhat_build: Path) -> None:
    committed = {
        path.stem: json.loads(path.read_text("utf-8"))
        for path in hardhat_project.ABI_FOLDER.glob("*.json")
    }
    assert committed == hardhat_project.compiled(hardhat_build), (
        "run: python tests/hardhat_project.py write-abi"
    )
