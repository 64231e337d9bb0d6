"""Attacks on the rules of money and trust: every promise holds, and the page has the figures.

Deterministic arithmetic, a thousand actors an attack; few of them on the contract's bytecode.
"""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from ricochet_protocol import payee, payer
from ricochet_protocol.payee import Payee

sys.path.append(str(Path(__file__).resolve().parents[1] / "benchmarks"))

import adversary
from attacks.chain import OnModel


@pytest.mark.slow
def test_no_attack_breaks_a_promise_and_the_page_has_its_figures(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert adversary.main([]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    page = adversary.PAGE.read_text("utf-8")
    assert adversary.documented(page) == printed.out.strip(), "run it with --write"
    assert {line.split(" | ")[0] for line in printed.out.splitlines()[2:]} == {
        f"| {name}" for name in adversary.ATTACKS
    }


def test_json_says_what_was_assumed_and_promised(capsys: pytest.CaptureFixture[str]) -> None:
    assert adversary.main(["--attack", "freeloading", "--actors", "5", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    (attack,) = document["attacks"]
    assert attack["promises"].keys() >= {"strangers get nothing", "the EVM agrees with the model"}
    assert (attack["chain"], attack["got"], document["broken"]) == ("evm", 0, {})
    assert document["assumptions"]


@pytest.mark.parametrize(
    ("attack", "where", "rule", "loosened"),
    [
        ("freeloading", payee, "admit", lambda *_: None),
        ("withholding", payee, "extend", lambda *_: None),
        ("over-issue", payee, "admit", lambda *_: None),
        ("credit-farming", Payee, "credit", lambda state, *_: state.earned // 10),
        ("credit-farming", payee, "CREDIT_PERCENT", 20),
        ("griefing", payee, "relay", lambda *_: True),
        ("one-budget", payee, "relay", lambda *_: True),
        ("advance-taking", payer, "UNPROVEN_PAID_PERCENT", 3),
        ("locking", payer, "UNPROVEN_RESERVED_PERCENT", 21),
        ("turning", payer, "ADVANCED_PERCENT", 11),
    ],
)
@pytest.mark.slow
def test_a_loosened_rule_breaks_a_promise(
    attack: str, where: Any, rule: str, loosened: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(where, rule, loosened)
    outcome = adversary.ATTACKS[attack](OnModel(), 60, adversary.Random(1))
    assert not all(outcome.promises.values()), outcome


def test_a_broken_promise_is_an_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(payer, "UNPROVEN_PAID_PERCENT", 9)
    assert adversary.main(["--attack", "advance-taking", "--actors", "10"]) == 1
    assert "advance-taking: broken: a subscriber loses 2 % at most" in capsys.readouterr().err


@pytest.mark.parametrize(
    "given", [["--attack", "luck"], ["--actors", "1"], ["--attack", "replay", "--write"]]
)
def test_a_wrong_command_line_is_refused(given: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        adversary.main(given)
