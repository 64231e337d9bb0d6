"""`ricochet doctor`: one look at the whole machine; the parts are tested beside their modules."""

import json
from pathlib import Path
from typing import Any

import pytest

from ricochet_cli.doctor_command import installed, versions
from ricochet_cli.main import main
from ricochet_orchestrator.doctor import offer_findings, subscription_finding
from ricochet_orchestrator.model_choice import ModelChoice
from ricochet_protocol.ids import Address, ModelId, Period
from ricochet_protocol.money import PricePerMillion, Units
from ricochet_protocol.ports import Subscription
from ricochet_settlement.standing import Standing

DAY = 86400
ACCOUNT = Address("0x" + "a" * 40)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "user" / "config"))
    monkeypatch.setenv("RICOCHET_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def doctor(capsys: pytest.CaptureFixture[str], code: int) -> dict[tuple[str, str], Any]:
    assert main(["doctor", "--offline", "--json"]) == code
    found = json.loads(capsys.readouterr().out)
    return {(one["part"], one["about"]): one for one in found}


def test_an_empty_machine_is_told_where_to_begin_and_stays_empty(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = doctor(capsys, 1)
    assert found["program", "versions"]["state"] == "ok"
    assert "ricochet network join" in found["home", "network"]["mend"]
    assert "ricochet wallet new" in found["home", "wallet"]["mend"]
    assert found["subscriber", "models"]["state"] == "ok"
    assert not any(part == "node" for part, _ in found), "nobody asked for a node"
    assert not home.exists()


def test_what_cannot_be_used_is_named_with_its_file(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = tmp_path / ".ricochet"
    project.mkdir()
    home.mkdir(mode=0o777)
    home.chmod(0o777)
    (project / "routing.yaml").write_text("strateggy: fastest")
    (project / "models.json").write_text("{")
    (project / "tasks.json").write_text('{"master": {"tasks": [')
    (home / "privacy.yaml").write_text("redact: [everything]")
    (home / "node.yaml").write_text("offers: 1")
    found = doctor(capsys, 1)
    for about in ("routing", "models", "tasks", "privacy"):
        one = found["subscriber", about]
        assert one["state"] == "fail" and one["mend"], about
    assert str(project / "tasks.json") in found["subscriber", "tasks"]["message"]
    assert found["home", "secrets"]["mend"] == f"chmod 700 {home}"
    assert found["node", "offers"]["state"] == "fail"


def test_what_editors_are_told_is_looked_at_and_not_started(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not any(part == "editors" for part, _ in doctor(capsys, 1)), "no editor was told"
    assert main(["mcp", "install", "--editor", "cursor"]) == 0
    (tmp_path / ".zed").mkdir()
    (tmp_path / ".zed" / "settings.json").write_text("{")
    trap = tmp_path / "trap"
    trap.write_text("#!/bin/sh\ntouch started\n")
    trap.chmod(0o700)
    (tmp_path / ".vscode").mkdir()
    settings = tmp_path / ".vscode" / "mcp.json"
    settings.write_text(json.dumps({"servers": {"ricochet": {"command": str(trap)}}}))
    capsys.readouterr()
    found = doctor(capsys, 1)
    assert found["editors", "cursor (project)"]["state"] == "ok"
    assert "mcp doctor" in found["editors", "cursor (project)"]["message"]
    assert found["editors", "zed (project)"]["state"] == "fail"
    assert found["editors", "vscode (project)"]["state"] == "ok"
    assert not (tmp_path / "started").exists()
    trap.unlink()
    gone = doctor(capsys, 1)["editors", "vscode (project)"]
    assert gone["state"] == "fail" and "there is no program" in gone["message"]
    assert gone["mend"] == "ricochet mcp install --editor vscode --replace"


def test_people_see_marks_and_what_to_do(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--offline"]) == 1
    shown = capsys.readouterr().out
    assert "✗  network" in shown and "\n✗ wallet: Run `ricochet wallet new`." in shown


def test_versions_are_held_against_the_pins() -> None:
    pins = list(installed())
    assert {"libp2p", "trio", "litellm", "py-evm"} <= {name for name, _, _ in pins}
    assert versions(pins).state == "ok"
    wrong = versions([("litellm", "1.106.2", "1.107.0"), ("trio", "0.35.0", None)])
    assert wrong.state == "fail" and "litellm 1.107.0, not 1.106.2" in wrong.message
    assert "trio missing" in wrong.message and "requirements.lock" in wrong.mend


def stands(left: int, days: float, *, auto_renew: bool = False) -> Standing:
    now = 1_000_000
    period = Subscription(
        subscriber=ACCOUNT,
        delegate=ACCOUNT,
        period=Period(2),
        budget=Units(10_000_000),
        committed=Units(10_000_000 - left),
        paid=Units(0),
        start=now - DAY,
        end=round(now + days * DAY),
    )
    return Standing(period, now, auto_renew, Units(0), (), ())


@pytest.mark.parametrize(
    ("standing", "owner", "state", "mend"),
    [
        (stands(5_000_000, 20), False, "ok", ""),
        (stands(100_000, 20), False, "warn", "top-up"),
        (stands(5_000_000, 2), False, "warn", "auto-renew"),
        (stands(5_000_000, 2, auto_renew=True), False, "ok", ""),
        (stands(5_000_000, -1), False, "warn", "ricochet subscribe"),
        (stands(5_000_000, -1), True, "ok", ""),
    ],
)
def test_a_period_is_judged_by_what_is_left_of_it(
    standing: Standing, owner: bool, state: str, mend: str
) -> None:
    found = subscription_finding(standing, owner)
    assert found.state == state
    assert mend in found.mend and bool(mend) == bool(found.mend)


def test_roles_whose_model_is_gone_are_named() -> None:
    here = ModelChoice(ModelId("m"), 1, PricePerMillion(1), PricePerMillion(1), 10, None)
    assert [one.state for one in offer_findings((), {})] == ["warn"]
    assert [one.state for one in offer_findings((here,), {"main": "m"})] == ["ok"]
    gone = offer_findings((here,), {"main": "m", "critic": "old"})[1]
    assert gone.about == "roles" and "critic=old" in gone.message
    assert "ricochet models setup" in gone.mend
