"""`ricochet forges` and `tasks push|pull|propose`, as typed; the exchange has its own tests."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from doubles.forge import TOKEN, GitHub, GitLab, serving
from ricochet_cli.main import main

Capsys = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def phrase(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "phrase").write_text("a phrase")
    (tmp_path / "token").write_text(TOKEN + "\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RICOCHET_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("RICOCHET_PASSPHRASE_FILE", str(tmp_path / "phrase"))


@pytest.fixture
def gitlab() -> Iterator[GitLab]:
    double = GitLab()
    with serving(double):
        yield double


def run(capsys: Capsys, *words: str, code: int = 0) -> Any:
    assert main([*words, "--json"]) == code
    shown = capsys.readouterr()
    assert TOKEN not in shown.out + shown.err
    return json.loads(shown.out or shown.err)


def connect(capsys: Capsys, double: GitHub | GitLab, name: str) -> None:
    run(capsys, "forges", "add", name, "--url", double.base, "--file", "token")


def test_tasks_go_out_and_come_back(gitlab: GitLab, tmp_path: Path, capsys: Capsys) -> None:
    connect(capsys, gitlab, "gitlab")
    assert TOKEN not in (tmp_path / "home" / "forges.json").read_text()
    run(capsys, "tasks", "add", "Write it")
    made = run(capsys, "tasks", "push", "--to", "gitlab", "--repo", "ada/engine")
    assert made["created"] == ["1"] and made["urls"]["1"].endswith("/issues/1")
    gitlab.person_edits(1, title="Write all of it")
    assert run(capsys, "tasks", "pull", "--from", "gitlab")["updated"] == ["1"]
    run(capsys, "tasks", "edit", "1", "--title", "Here")
    gitlab.person_edits(1, title="\x1b[2JThere")
    told = run(capsys, "tasks", "pull", "--to", "gitlab", code=5)
    assert told["conflicts"] == ["1"]
    assert main(["tasks", "push", "--to", "gitlab"]) == 5
    shown = capsys.readouterr()
    assert "conflict  1" in shown.out and "--theirs" in shown.err
    assert run(capsys, "tasks", "pull", "--from", "gitlab", "--theirs")["updated"] == ["1"]
    assert main(["tasks", "list"]) == 0
    assert "\x1b" not in capsys.readouterr().out
    error = run(capsys, "tasks", "propose", "1", "--to", "gitlab", code=2)["error"]
    assert error["code"] == "no_result" and "tasks run 1" in error["hint"]


def test_github_is_spoken_to_as_well(capsys: Capsys) -> None:
    double = GitHub()
    with serving(double):
        connect(capsys, double, "github")
        run(capsys, "add-task", "One")
        made = run(capsys, "tasks", "push", "--to", "github", "--repo", "ada/engine")
        assert made["created"] == ["1"] and set(double.issues) == {1}


def test_a_token_is_replaced_shown_by_its_end_and_forgotten(capsys: Capsys, tmp_path: Path) -> None:
    for ends in ("35b6", "aaaa"):
        (tmp_path / "token").write_text("tok-0123456789abcdef0123" + ends)
        run(capsys, "forges", "add", "github", "--file", "token")
        (one,) = run(capsys, "forges", "list")
        assert one == {"forge": "github", "address": "https://api.github.com", "ends": ends}
    run(capsys, "forges", "remove", "github")
    assert run(capsys, "forges", "list") == []


@pytest.mark.parametrize(
    ("words", "code", "error"),
    [
        ("forges add github --url http://git.example.org --file token", 2, "bad_origin"),
        ("forges add sourceforge --file token", 2, "usage"),
        ("forges remove github", 3, "no_token"),
        ("tasks push --to github --repo ada/engine", 3, "no_token"),
        ("tasks push --to github", 2, "no_repository"),
        ("tasks push --to github --repo ../../x", 2, "bad_repository"),
        ("tasks push --to github --repo engine", 2, "bad_repository"),
    ],
)
def test_what_is_refused(words: str, code: int, error: str, capsys: Capsys) -> None:
    assert run(capsys, *words.split(), code=code)["error"]["code"] == error


def test_a_wrong_passphrase_opens_nothing(gitlab: GitLab, tmp_path: Path, capsys: Capsys) -> None:
    connect(capsys, gitlab, "gitlab")
    (tmp_path / "phrase").write_text("another")
    words = ("tasks", "push", "--to", "gitlab", "--repo", "ada/engine")
    assert run(capsys, *words, code=3)["error"]["code"] == "wrong_passphrase"
    assert gitlab.calls == []


@pytest.mark.parametrize("name", ["github", "gitlab"])
def test_without_the_library_it_says_what_to_install(
    name: str, gitlab: GitLab, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect(capsys, gitlab, name)
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, f"ricochet_orchestrator.forges.{name}_forge", raising=False)
    words = ("tasks", "push", "--to", name, "--repo", "ada/engine")
    error = run(capsys, *words, code=3)["error"]
    assert error["code"] == "forges_missing" and "ricochet-network[forges]" in error["hint"]
