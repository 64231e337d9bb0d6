"""`ricochet subscription spending` as a person and a program see it."""

import json
from pathlib import Path

import pytest

from ricochet_cli.main import main
from ricochet_orchestrator import views
from ricochet_orchestrator.spending import Answered, Grouping, Held, Signed, Spending, add_up
from ricochet_protocol.ids import Address, ModelId, Period
from ricochet_protocol.money import Units

NODE, OTHER = Address("0x" + "11" * 20), Address("0x" + "22" * 20)
MAIN = (Period(1), NODE)
ANSWERS = (
    Answered(Period(1), NODE, ModelId("m"), 0.0, Units(750_000)),
    Answered(Period(1), OTHER, ModelId("m"), 0.0, Units(1)),
)
SIGNED = {
    MAIN: Signed(Units(750_000), Units(750_000)),
    (Period(1), OTHER): Signed(Units(1), Units(1)),
}


def telling(monkeypatch: pytest.MonkeyPatch, claimed: int) -> None:
    async def find(home: Path, by: Grouping, period: Period | None) -> Spending:
        assert period is None
        return add_up(ANSWERS, SIGNED, {MAIN: Held(Units(10**6), Units(claimed))}, by)

    monkeypatch.setattr(views, "find_spending", find)


def test_spending_for_a_person(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    telling(monkeypatch, claimed=500_000)
    assert main(["subscription", "spending", "--home", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    lines = [" ".join(line.split()) for line in shown.splitlines()]
    assert f"{NODE} 1 $0.75 {'█' * 20}" in lines
    assert f"{OTHER} 1 $0.000001 █" in lines
    assert f"1 {NODE} $0.75 $0.50 $0.25 $1.00" in lines
    assert lines[-1] == (
        "it adds up: $0.750001 paid for answers = "
        "$0.50 claimed on the chain + $0.250001 not claimed yet"
    )


def test_a_difference_is_named_for_people_and_programs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    telling(monkeypatch, claimed=800_000)
    command = ["subscription", "spending", "--by", "day", "--home", str(tmp_path)]
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert "it does not add up:" in shown
    assert "claimed $0.05 more than was signed in this home" in shown
    assert main([*command, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert not document["accounted"] and len(document["differences"]) == 1
    assert document["groups"] == [{"name": "1970-01-01", "calls": 2, "paid": 750_001}]
    assert document["accounts"][0]["claimed"] == 800_000


@pytest.mark.parametrize("wrong", [["--by", "hour"], ["--period", "0"], ["--period", "x"]])
def test_a_wrong_option_is_a_usage_error(tmp_path: Path, wrong: list[str]) -> None:
    assert main(["subscription", "spending", "--home", str(tmp_path), *wrong]) == 2


def test_without_a_wallet_the_next_step_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["subscription", "spending", "--json", "--home", str(tmp_path)]) == 3
    error = json.loads(capsys.readouterr().err)["error"]
    assert error["code"] == "no_wallet" and "ricochet wallet new" in error["hint"]
