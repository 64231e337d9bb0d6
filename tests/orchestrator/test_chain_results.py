"""What `chain run` and `chain retry` print of a run that has ended."""

import json
from pathlib import Path

import msgspec
import pytest
from orchestrator_stage import MAPPED, Stage, numbered, play

from ricochet_cli.chain_runner import show_result
from ricochet_cli.console import say
from ricochet_cli.language import choose
from ricochet_cli.main import main
from ricochet_cli.mcp_server.run_views import result_out, result_text
from ricochet_orchestrator.chain_language import Chain
from ricochet_orchestrator.checkpoint import Origin, RunRecord, RunStatus
from ricochet_orchestrator.control import Runs, resume_hint
from ricochet_orchestrator.document import document_of
from ricochet_orchestrator.result import Citation, RunResult, RunState, raise_retries
from ricochet_orchestrator.source_files import Skipped
from ricochet_protocol.errors import ExitCode
from ricochet_protocol.ids import ModelId
from ricochet_protocol.money import Units

RESULT = RunResult(
    run_id="1f2e3d4c",
    status=RunStatus.COMPLETED,
    output="It rose [3].",
    steps=1,
    calls=1,
    tokens_in=1,
    tokens_out=1,
    cost=Units(1),
    seconds=1.0,
    peers=(),
    citations=(Citation(3, Origin("a\x1b[2J.pdf", 10, 2_000, ("page 2",))),),
)
LEFT_OUT = (Skipped("b.bin", "b.bin is not text."),)


def test_citations_are_followed_by_their_sources(capsys: pytest.CaptureFixture[str]) -> None:
    show_result(RESULT, as_json=False, skipped=LEFT_OUT)
    shown = capsys.readouterr().out
    head, _, sources = shown.partition("\n\nSources:\n")
    assert head == "It rose [3]."
    assert sources.startswith("[3] a") and sources.endswith(
        ".pdf, characters 10 to 2,000 (page 2)\n"
    )
    assert "\x1b" not in shown
    (cited,) = RESULT.citations
    quoted = (Origin("a.pdf", 20, 90, ("page 2",)), Origin("a.pdf", 1_200, 1_300))
    exact = msgspec.structs.replace(cited, passages=quoted)
    show_result(msgspec.structs.replace(RESULT, citations=(exact,)), as_json=False)
    shown = capsys.readouterr().out
    assert shown.endswith(".pdf, characters 20 to 90 (page 2); 1,200 to 1,300\n")
    show_result(msgspec.structs.replace(RESULT, citations=(exact,)), as_json=True)
    (told,) = json.loads(capsys.readouterr().out)["citations"]
    assert (told["start"], told["end"]) == (10, 2_000)
    assert told["passages"] == [
        {"start": 20, "end": 90, "places": ["page 2"]},
        {"start": 1_200, "end": 1_300, "places": []},
    ]
    show_result(msgspec.structs.replace(RESULT, citations=()), as_json=False)
    assert capsys.readouterr().out == "It rose [3].\n"


def test_editors_get_the_passages_of_a_citation_too() -> None:
    passages = (Origin("a.pdf", 20, 90, ("page 2",)), Origin("a.pdf", 1_200, 1_300))
    exact = Citation(3, Origin("a.pdf", 10, 2_000, ("page 2",)), passages)
    run = RunRecord("1f2e", "k", "a", "c", ModelId("m"), {}, RunStatus.COMPLETED, 0.0, ())
    result = msgspec.structs.replace(RESULT, citations=(exact, RESULT.citations[0]))
    out = result_out(RunState(run, (), result))
    assert [one["passages"] for one in out["citations"]] == [
        [
            {"start": 20, "end": 90, "places": ["page 2"]},
            {"start": 1_200, "end": 1_300, "places": []},
        ],
        [],
    ]
    assert result_text(out).splitlines()[1] == "[3] a.pdf, characters 20 to 90; 1,200 to 1,300"
    assert result_text(out).endswith("characters 10 to 2,000")


def test_how_to_go_on_is_told_in_the_language_spoken(capsys: pytest.CaptureFixture[str]) -> None:
    choose({"RICOCHET_LANG": "ru"})
    try:
        say(resume_hint("1f2e3d4c"))
        say(raise_retries("strict", ["reader"]))
    finally:
        choose({})
    first, second = capsys.readouterr().err.splitlines()
    assert first == "Продолжить: ricochet chain resume 1f2e3d4c"
    assert second.startswith(
        "Увеличьте `retries` шага reader в цепочке (ricochet chain edit strict)"
    )


def test_what_was_left_out_is_in_the_json(capsys: pytest.CaptureFixture[str]) -> None:
    show_result(RESULT, as_json=True, skipped=LEFT_OUT)
    document = json.loads(capsys.readouterr().out)
    assert document["skipped"] == [{"name": "b.bin", "reason": "b.bin is not text."}]
    show_result(RESULT, as_json=True)
    assert "skipped" not in json.loads(capsys.readouterr().out)


def test_retrying_and_comparing_say_what_there_is_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stage = Stage(tmp_path)
    stage.node(0)
    first = play(stage, numbered(1, words=200)).run_id
    at = ("--home", str(tmp_path))
    assert main(["chain", "retry", *at]) == ExitCode.USAGE
    told = capsys.readouterr().err
    assert "nothing to retry" in told and f"chain result {first}" in told
    assert "resume" not in told
    assert main(["chain", "diff", first, *at]) == ExitCode.USAGE
    assert f"before {first}" in capsys.readouterr().err
    stage.settlement.now += 1
    second = play(stage, numbered(2, words=200)).run_id
    for named in ((), (second,), (first, second)):
        assert main(["chain", "diff", *named, "--json", *at]) == ExitCode.OK
        shown = capsys.readouterr()
        found = json.loads(shown.out)
        assert (found["first"], found["second"]) == (first, second)
        assert (f"comparing with run {first}" in shown.err) is (len(named) < 2)


def test_a_result_is_written_as_the_ending_of_its_file_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stage = Stage(tmp_path)
    stage.node(0)
    play(stage, numbered(1, words=200))
    at = ("--home", str(tmp_path))
    page, notes = tmp_path / "r.html", tmp_path / "r.txt"
    assert main(["chain", "result", "--out", str(page), *at]) == ExitCode.OK
    assert page.read_text().lower().startswith("<!doctype html>")
    capsys.readouterr()
    for refused in ((str(page), "--format", "md", "--force"), (str(notes),), (str(page), "--json")):
        assert main(["chain", "result", "--out", *refused, *at]) == ExitCode.USAGE
        assert "format_bad" in capsys.readouterr().err or "--json" not in refused
    assert not notes.exists()


def test_answers_that_were_refused_are_not_tried_again_for_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stage = Stage(tmp_path)
    stage.node(0)
    schema = {
        "type": "object",
        "properties": {"n": {"type": "integer", "minimum": 2, "maximum": 1}},
    }
    never = msgspec.structs.replace(MAPPED, schema={**schema, "required": ["n"]}, retries=1)
    result = play(stage, numbered(1, words=200), Chain("strict", (never,)))
    assert (result.status, result.exit_code) == (RunStatus.PARTIAL, ExitCode.PARTIAL)
    assert "`retries` of reader" in result.hint and "resume" not in result.hint
    assert result.calls == 2, "the schema that nothing meets was asked for twice, and paid for"
    assert main(["chain", "retry", "--home", str(tmp_path), "--json"]) == ExitCode.USAGE
    error = json.loads(capsys.readouterr().err)["error"]
    assert error["code"] == "answers_refused"
    assert "`retries` of reader" in error["hint"] and "chain edit strict" in error["hint"]


def test_a_template_is_made_ones_own_before_its_retries_are_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "chain create --name mine --from extract" in raise_retries("extract", ["find"])
    assert main(["chain", "create", "--name", "extract", "--from", "extract"]) == ExitCode.OK
    assert "chain edit extract" in raise_retries("extract", ["find"])


def test_a_text_that_was_read_before_is_cited_by_its_name_now(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.node(0)
    for name in ("standard input", "report.pdf"):
        (part,) = numbered(1, words=200).parts
        renamed = document_of(name, (msgspec.structs.replace(part, name=name),))
        run = play(stage, renamed).run_id
        with Runs(tmp_path) as runs:
            assert {origin.part for origin in runs.trace(run).origins} == {name}
    assert len(stage.nodes[0].calls) == 2, "the second run's answers were there"
