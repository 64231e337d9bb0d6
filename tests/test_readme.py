"""The README's two commands are the ones that CI and a newcomer run; both READMEs say the same."""

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


def shape(name: str) -> dict[str, list[str]]:
    """What a translation leaves as it is: commands, levels of headings, tables, links, code."""
    text = (ROOT / name).read_text("utf-8")
    blocks = re.findall(r"^```.*?^```$", text, re.MULTILINE | re.DOTALL)
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    uncommented = (
        re.sub(r"(^|(?<= ))#.*", "", line).rstrip() for line in "\n".join(blocks).splitlines()
    )
    return {
        "headings": re.findall(r"^#+", prose, re.MULTILINE),
        "commands": [line for line in uncommented if line],
        "rows": [
            " ".join(sorted(re.findall(r"`[^`]+`", row)))
            for row in re.findall(r"^\|.*\|$", prose, re.MULTILINE)
        ],
        "links": sorted(set(re.findall(r"\]\(([^)]+)\)", prose)) - {"README.md", "README.ru.md"}),
        "code": sorted({" ".join(one.split()) for one in re.findall(r"`[^`]+`", prose)}),
    }


def test_the_russian_readme_says_what_the_english_one_says() -> None:
    english, russian = shape("README.md"), shape("README.ru.md")
    for part, found in english.items():
        assert russian[part] == found, part
    assert "(README.ru.md)" in (ROOT / "README.md").read_text("utf-8")
    assert "(README.md)" in (ROOT / "README.ru.md").read_text("utf-8")
