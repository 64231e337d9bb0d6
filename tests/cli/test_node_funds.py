"""`ricochet node funds`, `claim` and `withdraw` as a person and a program see them."""

import json
from pathlib import Path
from typing import Any

import pytest

from ricochet_cli.main import main
from ricochet_node import owner
from ricochet_node.funds import Reading, add_up, split
from ricochet_node.ledger import Entry
from ricochet_protocol.ids import Address, Period
from ricochet_protocol.money import Units
from ricochet_protocol.ports import Commitment

ENDS = 1_800_000_000  # 2027-01-15 08:00 UTC


def found(served: int = 1_500_000) -> dict[str, Any]:
    entry = Entry(
        subscriber=Address("0x" + "51" * 20),
        period=Period(3),
        due=Units(1_500_000),
        vouchered=Units(1_200_000),
        voucher=None,
        claimed=Units(0),
    )
    held = Commitment(committed=Units(1_300_000), claimed=Units(1_000_000))
    period = split(entry, Reading(held, ENDS), ENDS - 1)
    return add_up([period], Units(served), Units(100_000), ENDS - 1).document()


def test_funds_for_a_person(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def tell(home: Path) -> dict[str, Any]:
        assert home == tmp_path
        return found()

    monkeypatch.setattr(owner, "funds", tell)
    assert main(["node", "funds", "--home", str(tmp_path)]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    for start in (
        "unpaid $0.10 ",
        "vouchered $0.20 ",
        "at risk $0.20 ",
        "withdrawable $0.10 ",
        "withdrawn $0.60 ",
        "commission $0.30 ",
        "lost $0.00 ",
        "served $1.50 the states add up to it",
        "0x" + "51" * 20 + " 3 2027-01-15 08:00 2027-01-22 08:00 $0.10 $0.20 $0.20 $0.00 -",
    ):
        assert any(line.startswith(start) for line in lines), (start, lines)


def test_books_that_do_not_add_up_are_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def tell(home: Path) -> dict[str, Any]:
        return found(served=1_500_001)

    monkeypatch.setattr(owner, "funds", tell)
    assert main(["node", "funds", "--json", "--home", str(tmp_path)]) == 1
    printed = capsys.readouterr()
    assert json.loads(printed.out)["accounted"] is False
    assert json.loads(printed.err)["error"]["code"] == "books_disagree"


@pytest.mark.parametrize(
    ("command", "done", "said"),
    [
        ("claim", {"claimed": 1_000_000}, "claimed $1.00"),
        ("withdraw", {"withdrawn": 700_000}, "withdrawn $0.70"),
        ("settle", {"claimed": 10, "withdrawn": 7}, "claimed $0.00001, withdrawn $0.000007"),
    ],
)
def test_what_was_done_is_told(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
    done: dict[str, int],
    said: str,
) -> None:
    async def do(home: Path) -> dict[str, Any]:
        return done

    monkeypatch.setattr(owner, command, do)
    assert main(["node", command, "--home", str(tmp_path)]) == 0
    assert capsys.readouterr().out.strip() == said
    assert main(["node", command, "--json", "--home", str(tmp_path)]) == 0
    assert json.loads(capsys.readouterr().out) == done


@pytest.mark.parametrize("command", ["funds", "claim", "withdraw", "settle"])
def test_without_a_network_the_next_step_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    assert main(["node", command, "--json", "--home", str(tmp_path)]) == 3
    error = json.loads(capsys.readouterr().err)["error"]
    assert error["code"] == "no_network" and "ricochet network join" in error["hint"]
    assert list(tmp_path.iterdir()) == []
