"""Symbolic proofs with halmos: `python tests/halmos_project.py`.

halmos reads what Foundry builds, and Foundry is not needed for that: Hardhat compiles the proofs
with the pinned compiler, its build information is laid out as Foundry's `out/`, and the `forge`
that halmos calls to build is a program that does nothing.
"""

import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import hardhat_project
from tool_environment import tool_environment

PROOFS = "tests/contracts/halmos/SplitProof.sol"
_VERDICTS = {0: "proven", 1: "refuted"}
"""halmos's own exit codes for a check; the others mean that it came to no end."""
SOLVER = Path(__file__).with_name("halmos_solver.py")
SECONDS = 300


def prove(folder: Path) -> dict[str, str]:
    """Each check by name, `proven`, `refuted` or `undecided`, working in an empty `folder`."""
    bin_folder = tool_environment("halmos", "halmos==0.3.3", "cvc5==1.2.1")
    hardhat_project.hardhat(folder, "build", PROOFS)
    _lay_out(folder)
    forge = folder / "bin" / "forge"
    forge.parent.mkdir()
    forge.write_text("#!/bin/sh\n", "utf-8")
    forge.chmod(0o755)
    report = folder / "report.json"
    done = subprocess.run(
        [
            *(str(bin_folder / "halmos"), "--root", str(folder)),
            *("--solver-command", f"{bin_folder / 'python'} {SOLVER}"),
            *("--solver-timeout-assertion", "60s", "--json-output", str(report)),
        ],
        env=os.environ | {"PATH": f"{forge.parent}{os.pathsep}{os.environ.get('PATH', '')}"},
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    if not report.is_file():
        raise RuntimeError(f"halmos ended with {done.returncode}\n{done.stdout}{done.stderr}")
    results = json.loads(report.read_text("utf-8"))["test_results"]
    return {
        check["name"].partition("(")[0]: _VERDICTS.get(check["exitcode"], "undecided")
        for checks in results.values()
        for check in checks
    }


def _lay_out(folder: Path) -> None:
    """Write `out/` as Foundry would, from what Hardhat says of its build."""
    for answer in (folder / "artifacts" / "build-info").glob("*.output.json"):
        question = answer.with_name(answer.name.replace(".output", ""))
        version = json.loads(question.read_text("utf-8"))["solcLongVersion"]
        output = json.loads(answer.read_text("utf-8"))["output"]
        for source, contracts in output["contracts"].items():
            for name, contract in contracts.items():
                path = folder / "out" / Path(source).name / f"{name}.json"
                path.parent.mkdir(parents=True, exist_ok=True)
                entry = _artifact(contract, output["sources"][source], version)
                path.write_text(json.dumps(entry), "utf-8")


def _artifact(contract: dict[str, Any], source: dict[str, Any], version: str) -> dict[str, Any]:
    evm = contract["evm"]
    codes = {
        kind: evm[kind] | {"object": "0x" + evm[kind]["object"]}
        for kind in ("bytecode", "deployedBytecode")
    }
    return codes | {
        "abi": contract["abi"],
        "ast": source["ast"],
        "id": source["id"],
        "methodIdentifiers": evm["methodIdentifiers"],
        "metadata": {"compiler": {"version": version}},
    }


def main() -> None:
    """Print what was proven."""
    hardhat_project.install_node_modules()
    with tempfile.TemporaryDirectory() as folder:
        for name, verdict in prove(Path(folder)).items():
            print(f"{verdict:9} {name}")


if __name__ == "__main__":
    main()
