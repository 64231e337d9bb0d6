"""Static analysis of our contracts with slither: `python tests/slither_project.py`.

Every finding has an answer in docs/slither.md, one row of its table for a detector and a function.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import hardhat_project
from tool_environment import tool_environment

ANSWERS = hardhat_project.ROOT / "docs" / "slither.md"
SECONDS = 120
Finding = tuple[str, str]
"""Detector and name of the function, variable or contract it is about."""


def findings(build: Path) -> set[Finding]:
    """What slither finds in our contracts, not in their mocks and libraries."""
    slither = tool_environment("slither", "slither-analyzer==0.11.6") / "slither"
    hardhat_project.hardhat(build, "build", "--no-tests")
    report = build / "report.json"
    done = subprocess.run(
        [
            *(str(slither), ".", "--ignore-compile", "--json", str(report)),
            *("--hardhat-artifacts-directory", str(build / "artifacts")),
            *("--filter-paths", "node_modules|contracts/mocks"),
        ],
        cwd=hardhat_project.ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    if not report.is_file():
        raise RuntimeError(f"slither ended with {done.returncode}\n{done.stdout}{done.stderr}")
    detected = json.loads(report.read_text("utf-8"))["results"].get("detectors", [])
    unread = re.findall(r"Impossible to generate IR for \w+\.(\w+)", done.stdout + done.stderr)
    found = {(entry["check"], entry["elements"][0]["name"]) for entry in detected}
    return found | {("not analysed", name) for name in unread}


def answered() -> set[Finding]:
    """The findings that docs/slither.md explains."""
    text = ANSWERS.read_text("utf-8")
    rows = re.findall(r"^\| `?([a-z0-9 -]+?)`? \| ((?:`\w+`(?:, )?)+) \|", text, re.MULTILINE)
    return {(check, name) for check, names in rows for name in re.findall(r"\w+", names)}


def main() -> None:
    """Print what was found; exit with 1 when something has no answer."""
    hardhat_project.install_node_modules()
    with tempfile.TemporaryDirectory() as build:
        found = findings(Path(build))
    known = answered()
    for check, name in sorted(found):
        print("answered" if (check, name) in known else "NEW     ", check, name)
    sys.exit(1 if found - known else 0)


if __name__ == "__main__":
    main()
