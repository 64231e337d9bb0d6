"""What commands say of a running node: one whose key is at its owner's limit, and a new offer."""

from pathlib import Path
from typing import Any

import pytest

from ricochet_cli.main import main
from ricochet_node import admin

STATE: dict[str, Any] = {
    "peer": "12D3KooW",
    "operator": "0x1",
    "addresses": [],
    "reached": None,
    "relays": [],
    "models": [
        {"model": "m", "offered": False, "calls": 7, "tokens_in": 1, "tokens_out": 2, "earned": 3}
    ],
    "keys": [{"key": "mine", "told": "at its rate limit for 41 s", "open_calls": 0}],
    "draining": False,
    "earned": 0,
}


def test_an_offer_that_is_not_made_now_is_told_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def status(_: Path) -> dict[str, Any]:
        return STATE

    async def resume(_: Path) -> dict[str, Any]:
        return {"models": []}

    monkeypatch.setattr(admin, "status", status)
    monkeypatch.setattr(admin, "resume", resume)
    assert main(["node", "resume", "--home", str(tmp_path)]) == 0
    said = capsys.readouterr().err
    assert "offering nothing" in said and "`ricochet node status` says why" in said
    assert main(["node", "status", "--home", str(tmp_path)]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["m", "no", "7", "1", "2"] in lines
    assert ["mine", *["at", "its", "rate", "limit", "for", "41", "s"], "0"] in lines


@pytest.mark.parametrize("runs", [True, False])
def test_what_follows_an_offer_depends_on_whether_the_node_runs(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    runs: bool,
) -> None:
    monkeypatch.setattr(admin, "is_running", lambda home: runs and home == tmp_path)
    offer = ["node", "offer", "m", "--key", "k", "--price-in", "0.40", "--price-out", "0.80"]
    assert main([*offer, "--context", "4096", "--home", str(tmp_path)]) == 0
    said = capsys.readouterr().err
    assert ("ricochet node status" in said) is runs
    assert ("next: ricochet node start" in said) is not runs
