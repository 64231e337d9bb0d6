"""Tables and errors as people and programs read them."""

import json

import pytest

from ricochet_cli.console import print_error, table


def test_columns_of_numbers_are_right_aligned() -> None:
    text = table(("node", "calls", "earned"), [("alice", "7", "$0.01"), ("bob", "12", "-")])
    assert text.splitlines() == [
        "node   calls  earned",
        "─────  ─────  ──────",
        "alice      7   $0.01",
        "bob       12       -",
    ]


def test_an_error_names_the_next_step(capsys: pytest.CaptureFixture[str]) -> None:
    print_error("no_peer", "no peer offers gpt-9", "ricochet network join FILE", as_json=False)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "error: no peer offers gpt-9\nhint: ricochet network join FILE\n"


def test_an_error_for_programs_is_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    print_error("no_peer", "no peer offers gpt-9", "join", as_json=True)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert json.loads(captured.err) == {
        "error": {"code": "no_peer", "message": "no peer offers gpt-9", "hint": "join"}
    }
