"""Every list that is empty says how to fill it, and is an empty list for programs."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from ricochet_cli.main import app, main

EMPTY = {
    "chain runs": "ricochet chain run FILE",
    "forges list": "ricochet forges add",
    "keys list": "ricochet keys add",
    "logs show": "ricochet node start",
    "node stats": "ricochet node start",
    "node token list": "ricochet node token new",
    "peers list --offline": "ricochet chain run FILE",
    "serve keys list": "ricochet serve keys new",
    "stats chain": "ricochet chain run FILE",
    "tasks list": "ricochet tasks add",
    "tasks list --ready": "ricochet tasks add",
    "tasks next": "ricochet tasks add",
    "wallet transactions": "ricochet subscribe",
}
NEVER_EMPTY = {"chain list", "config list", "models list", "tasks tags list"}
"""Built-in chains, defaults, the known roles, the first tag."""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RICOCHET_HOME", str(tmp_path / "home"))


@pytest.mark.parametrize(("command", "fills"), EMPTY.items())
def test_an_empty_list_says_how_to_fill_it(
    command: str, fills: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command.split()) == 0
    shown = capsys.readouterr()
    assert shown.out == "" and fills in shown.err
    assert main([*command.split(), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert not (found["groups"] if isinstance(found, dict) else found)
    assert not list(tmp_path.rglob("runs.db")), "looking makes nothing"


def test_no_list_is_forgotten() -> None:
    lists = {name for name in _names(get_command(app)) if name.endswith((" list", " runs"))}
    checked = {" ".join(one for one in name.split() if one[0] != "-") for name in EMPTY}
    assert lists == {name for name in checked | NEVER_EMPTY if name.endswith((" list", " runs"))}


def test_a_filter_that_fits_nothing_names_the_whole(capsys: pytest.CaptureFixture[str]) -> None:
    main(["tasks", "add", "one"])
    capsys.readouterr()
    assert main(["tasks", "list", "--blocked"]) == 0
    shown = capsys.readouterr()
    assert shown.out == "" and "`ricochet tasks list` shows all" in shown.err


def _names(command: Any, path: tuple[str, ...] = ()) -> Iterator[str]:
    yield " ".join(path)
    for name, one in getattr(command, "commands", {}).items():
        yield from _names(one, (*path, name))
