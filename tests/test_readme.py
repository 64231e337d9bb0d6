"""The README's two commands are the ones that CI and a newcomer run."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def readme_command(name: str) -> str:
    text = (ROOT / "README.md").read_text("utf-8")
    found = re.search(rf"<!-- {name} command -->\n```sh\n(.+)\n```\n", text)
    assert found, f"README.md has no {name} command on a line of its own"
    return found[1]


def test_demo_command_installs_and_runs_the_demo() -> None:
    command = readme_command("demo")
    assert command.startswith("python3.11 -m venv .venv && ")
    assert command.endswith(".venv/bin/ricochet demo")


def test_ci_runs_the_test_command_of_the_readme() -> None:
    script = (ROOT / ".ci" / "run").read_text("utf-8")
    extract = re.search(r"^command=\$\((.+)\)$", script, re.MULTILINE)
    assert extract
    said = subprocess.run(
        ["bash", "-c", extract[1]], cwd=ROOT, capture_output=True, text=True, check=True, timeout=30
    )
    assert said.stdout.strip() == readme_command("test")
