"""Tables and errors as people and programs read them."""

import json
from io import StringIO
from pathlib import Path

import pytest

from command_reference import commands
from ricochet_cli.console import hushed, note, print_error, say, table
from ricochet_cli.main import main
from ricochet_cli.progress_view import ProgressView
from ricochet_orchestrator.checkpoint import RunStatus
from ricochet_orchestrator.progress import OffersAwaited, RunFinished
from ricochet_protocol.ids import ModelId


def test_columns_of_numbers_are_right_aligned() -> None:
    text = table(("node", "calls", "earned"), [("alice", "7", "$0.01"), ("bob", "12", "-")])
    assert text.splitlines() == [
        "node   calls  earned",
        "─────  ─────  ──────",
        "alice      7   $0.01",
        "bob       12       -",
    ]


def test_quiet_work_tells_results_and_errors_only(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    home = ("--home", str(tmp_path))
    assert main(["chain", "resume", "--quiet", *home]) == 2
    assert "error: " in capsys.readouterr().err
    assert hushed()
    note("starting …")
    say("a result")
    out = StringIO()
    ProgressView(out)(RunFinished("1f2e", RunStatus.COMPLETED, 1.0))
    assert (capsys.readouterr().err, out.getvalue()) == ("a result\n", "")
    assert main(["chain", "resume", *home]) == 2
    assert not hushed(), "one command's option is not the next one's"
    ProgressView(out)(RunFinished("1f2e", RunStatus.COMPLETED, 1.0))
    assert "1f2e" in out.getvalue()


def test_a_wait_for_nodes_is_told() -> None:
    out = StringIO()
    view = ProgressView(out)
    view(OffersAwaited(None, 9.0))
    view(OffersAwaited(ModelId("small"), 2.0))
    assert out.getvalue().splitlines() == [
        "waiting for a node that offers a model, 9 s at most",
        "waiting for a node that offers small, 2 s at most",
    ]


def test_all_that_shows_a_run_can_be_quiet() -> None:
    quiet = {
        name
        for name, command in commands()
        for option in command.params
        if "--quiet" in option.opts
    }
    assert quiet == {
        "ricochet demo",
        "ricochet models test",
        "ricochet analyze-complexity",
        *(f"ricochet chain {name}" for name in ("run", "resume", "retry")),
        *(f"ricochet tasks {one}" for one in ("analyze-complexity", "expand", "parse", "run")),
    }


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
