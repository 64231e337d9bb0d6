"""The README's two commands are the ones that CI and a newcomer run; translations say the same."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAIRS = [("README.md", "README.ru.md"), ("docs/node.md", "docs/node.ru.md")]
TRANSLATED = re.compile(r"(README|node)(\.ru)?\.md$")
"""Links between the texts that exist in both languages."""


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


def shape(name: str) -> dict[str, list[str]]:
    """What a translation leaves as it is: commands, levels of headings, tables, links, code."""
    text = (ROOT / name).read_text("utf-8")
    blocks = re.findall(r"^```.*?^```$", text, re.MULTILINE | re.DOTALL)
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    uncommented = (
        re.sub(r"(^|(?<= ))#.*", "", line).rstrip() for line in "\n".join(blocks).splitlines()
    )
    links = {link for link in re.findall(r"\]\(([^)]+)\)", prose) if not TRANSLATED.search(link)}
    return {
        "headings": re.findall(r"^#+", prose, re.MULTILINE),
        "commands": [line for line in uncommented if line],
        "rows": [
            " ".join(sorted(re.findall(r"`[^`]+`", row)))
            for row in re.findall(r"^\|.*\|$", prose, re.MULTILINE)
        ],
        "links": sorted(links),
        "code": sorted({" ".join(one.split()) for one in re.findall(r"`[^`]+`", prose)}),
    }


@pytest.mark.parametrize(("name", "translation"), PAIRS)
def test_the_russian_text_says_what_the_english_one_says(name: str, translation: str) -> None:
    english, russian = shape(name), shape(translation)
    for part, found in english.items():
        assert russian[part] == found, part
    assert f"({Path(translation).name})" in (ROOT / name).read_text("utf-8")
    assert f"({Path(name).name})" in (ROOT / translation).read_text("utf-8")
