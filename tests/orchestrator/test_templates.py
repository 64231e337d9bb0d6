"""Each built-in template from document to result, over nodes that answer by a script."""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
import pytest
from orchestrator_stage import Stage, play

from ricochet_orchestrator.chain_language import Chain, ChainStep
from ricochet_orchestrator.chains import TEMPLATES, get
from ricochet_orchestrator.checkpoint import RunStatus
from ricochet_orchestrator.control import Runs
from ricochet_orchestrator.document import Document, document_from, document_of, part_of
from ricochet_orchestrator.parameters import given, resolved
from ricochet_orchestrator.progress import PlanGrew, StepFailed, StepRefused, StepStarted
from ricochet_orchestrator.result import RunResult
from ricochet_orchestrator.store import Store
from ricochet_orchestrator.trace import TracedStep
from ricochet_protocol.errors import BudgetError, ExitCode, UsageError
from ricochet_protocol.messages import Ask
from twins.scripted_node import OFFER

WIDE = msgspec.structs.replace(OFFER, context=8000)
Script = Callable[[Ask], str]


def run(
    home: Path, template: str | Chain, document: Document, script: Script, **given_values: str
) -> tuple[RunResult, Stage]:
    stage = Stage(home)
    stage.node(0, offers=(WIDE,), answer=script)
    chain = get(template, (TEMPLATES,)) if isinstance(template, str) else template
    values: Mapping[str, str] = resolved(chain, given_values)
    return play(stage, document, chain, parameters=values), stage


def said(ask: Ask) -> str:
    return ask.turns[-1].content


def filler(number: int, needle: str = "") -> str:
    return f"Section {number}. " + f"Words about nothing {number}. " * 60 + needle


def traced(stage: Stage) -> dict[str, list[TracedStep]]:
    """The steps of the latest run by their chain step."""
    found: dict[str, list[TracedStep]] = {}
    with Runs(stage.home) as runs:
        for step in runs.trace().steps:
            found.setdefault(step.name, []).append(step)
    return found


# Questions.


def copies_needles(ask: Ask) -> str:
    """The lines of a segment that have any piece of a needle; later, all passages, cited."""
    prompt = said(ask)
    if prompt.startswith("Passages"):
        return "Found [" + "], [".join(re.findall(r"^\[(\d+)\]", prompt, re.MULTILINE)) + "]."
    text = prompt.partition("\n\nCopy, word for word")[0]
    found = re.findall(r"[^.]*\b(?:needle|magic)[^.]*\.?", text)
    return "\n".join(one.strip() for one in found) or "NONE"


def test_every_needle_reaches_the_last_prompt_whole_and_with_its_place(tmp_path: Path) -> None:
    needles = [f"The needle {number} has the magic word w{number}." for number in range(12)]
    sections = [filler(number, needle) for number, needle in enumerate(needles)]
    # Without blank lines, so that cuts fall where they fall.
    document = document_from("hay.txt", " ".join(sections))
    result, stage = run(tmp_path, "questions", document, copies_needles, question="Which words?")
    assert result.status is RunStatus.COMPLETED
    asked = [said(call) for node in stage.nodes for call in node.calls]
    (last,) = [prompt for prompt in asked if prompt.startswith("Passages")]
    assert all(needle in last for needle in needles)
    assert len(asked) > 4
    for one in result.citations:
        place = document.text[one.origin.start : one.origin.end]
        assert "needle" in place or "magic" in place
        quoted = [document.text[passage.start : passage.end] for passage in one.passages]
        assert quoted and all(re.search(r"needle|magic|w\d", text) for text in quoted)
        assert all(one.origin.start <= passage.start for passage in one.passages)
        assert sum(map(len, quoted)) < len(place) / 2
    cited = "".join(
        document.text[passage.start : passage.end]
        for one in result.citations
        for passage in one.passages
    )
    assert all(needle in cited for needle in needles), "each is cited to the sentence"
    assert result.citations and result.citations[0].origin.part == "hay.txt"
    steps = traced(stage)
    (answer,) = steps["answer"]
    with_needles = [step for step in steps["evidence"] if "needle" in step.text]
    assert set(answer.inputs) == {step.id for step in with_needles}
    assert set(answer.rests_on) == {number for step in with_needles for number in step.segments}


def test_a_document_without_an_answer_still_ends_in_one(tmp_path: Path) -> None:
    script: Script = lambda ask: (  # noqa: E731 - a table of two
        "It does not say." if said(ask).startswith("Passages") else "NONE"
    )
    result, stage = run(tmp_path, "questions", document_from("a", filler(1)), script, question="?")
    assert result.output == "It does not say."
    assert "no passage" in said(stage.nodes[0].calls[-1])


# The others.


def test_a_detailed_summary_is_carried_from_segment_to_segment(tmp_path: Path) -> None:
    def script(ask: Ask) -> str:
        so_far = re.search(r"so far:\n(.*?)\n\nThe text goes on", said(ask), re.DOTALL)
        sections = ", ".join(re.findall(r"Section (\d+)\.", said(ask).split("goes on:")[-1]))
        return f"{so_far[1] if so_far else 'Sections'}, {sections}"

    text = "\n\n".join(filler(number) for number in range(24))
    result, _ = run(tmp_path, "detailed-summary", document_from("a", text), script)
    assert result.steps > 1
    assert result.output == "Sections, " + ", ".join(map(str, range(24)))


def test_records_are_extracted_and_joined_as_json(tmp_path: Path) -> None:
    def script(ask: Ask) -> str:
        names = re.findall(r"Section (\d+)\.|\"name\":\s*\"(\d+)\"", ask.turns[0].content)
        found = sorted({one or other for one, other in names}, key=int)
        if len(ask.turns) == 1 and "0" in found:
            return "Here they are!"
        return json.dumps({"records": [{"name": one, "details": ""} for one in found]})

    text = "\n\n".join(filler(number) for number in range(12))
    result, stage = run(tmp_path, "extract", document_from("a", text), script, what="sections")
    assert [one["name"] for one in json.loads(result.output)["records"]] == [*map(str, range(12))]
    assert stage.heard(StepRefused), "each first answer with section 0 was refused"
    steps = traced(stage)
    passed = [step for step in steps["find"] if step.text.startswith("{")]
    assert set(steps["merge"][-1].inputs) == {step.id for step in passed}
    assert steps["merge"][-1].rests_on == tuple(range(len(passed))), "all of the document"
    assert result.calls == stage.calls, "an answer that was refused is a call of its own, paid"


def test_files_are_compared_by_name(tmp_path: Path) -> None:
    files = tuple(part_of(f"{name}.txt", filler(number)) for number, name in enumerate("ab"))

    def script(ask: Ask) -> str:
        return "a.txt differs from b.txt." if "--- a.txt ---" in said(ask) else "Notes."

    result, stage = run(tmp_path, "compare", document_of("both", files), script)
    assert result.output == "a.txt differs from b.txt."
    assert "--- b.txt ---\nNotes." in said(stage.nodes[0].calls[-1])


def test_a_translation_has_every_segment_in_order(tmp_path: Path) -> None:
    def script(ask: Ask) -> str:
        assert "into German" in said(ask)
        return "Abschnitt " + ", ".join(re.findall(r"Section (\d+)\.", said(ask)))

    text = "\n\n".join(filler(number) for number in range(6))
    result, _ = run(tmp_path, "translate", document_from("a", text), script, language="German")
    assert re.findall(r"\d+", result.output) == [*map(str, range(6))]
    assert result.steps > 1


def test_each_finding_of_a_review_is_verified(tmp_path: Path) -> None:
    def script(ask: Ask) -> str:
        prompt = said(ask)
        if prompt.startswith("Findings and"):
            return f"Report: {prompt.count('Serious')} serious."
        if prompt.startswith("A finding"):
            return "Serious."
        numbers = re.findall(r"Section (\d+)\.", prompt)
        return json.dumps({"findings": [{"place": one, "problem": "bad"} for one in numbers]})

    text = "\n\n".join(filler(number) for number in range(6))
    result, stage = run(tmp_path, "review-code", document_from("a.py", text), script)
    assert result.output == "Report: 6 serious."
    steps = traced(stage)
    for verified in steps["verify"]:
        (inspected,) = [step for step in steps["inspect"] if step.id in verified.inputs]
        assert verified.rests_on == inspected.segments != ()
    assert steps["report"][0].rests_on == tuple(range(len(steps["inspect"])))
    assert stage.heard(PlanGrew)[-1].steps == result.steps
    again = play(
        stage,
        document_from("a.py", text),
        get("review-code", (TEMPLATES,)),
        parameters={"focus": get("review-code", (TEMPLATES,)).parameters["focus"].default or ""},
    )
    assert (again.calls, again.output) == (0, result.output)


# What goes wrong.


JSON_STEP = ChainStep(
    "facts", "r", "map", "segments", "{text}\nJSON.", 60, schema={"type": "object"}, retries=2
)


def test_a_schema_that_is_never_met_ends_partial_after_the_retries(tmp_path: Path) -> None:
    chain = Chain("mine", (JSON_STEP,))
    result, stage = run(tmp_path, chain, document_from("a", "Text."), lambda _: "no JSON")
    assert (result.status, result.exit_code) == (RunStatus.PARTIAL, ExitCode.PARTIAL)
    assert stage.calls == 3
    (failed,) = stage.heard(StepFailed)
    assert failed.code == "answer_refused" and "not JSON" in failed.reason
    store = Store(tmp_path / "runs.db")
    steps = store.steps(result.run_id)
    store.close()
    assert [(one.attempt, one.status.value) for one in steps] == [
        (0, "completed"),
        (1, "completed"),
        (2, "failed"),
    ]
    assert len({one.id for one in steps}) == 3 and {one.slot for one in steps} == {steps[0].id}


def test_a_budget_stops_a_step_before_it_is_passed(tmp_path: Path) -> None:
    # A call costs at most about twice 900 tokens at $0.10 a million and 60 at $0.30.
    step = ChainStep("a", "r", "map", "segments", "{text}\nGo.", 60, budget="0.0004", segment=900)
    text = "\n\n".join(filler(number) for number in range(12))
    with pytest.raises(BudgetError) as caught:
        run(tmp_path, Chain("mine", (step,)), document_from("a", text), lambda _: "Done.")
    assert caught.value.code == "step_budget" and "steps.a.budget" in caught.value.hint
    store = Store(tmp_path / "runs.db")
    record = store.run(None)
    assert record is not None and record.status is RunStatus.PAUSED
    answers = store.answers(record.id).values()
    store.close()
    assert answers and sum(one.cost for one in answers) <= 400


def test_a_budget_too_small_for_one_call_is_told_before_anything_is_asked(tmp_path: Path) -> None:
    step = ChainStep("a", "r", "map", "segments", "{text}\nGo.", 60, budget="0.000001")
    with pytest.raises(BudgetError) as caught:
        run(tmp_path, Chain("mine", (step,)), document_from("a", filler(1)), lambda _: "Done.")
    assert caught.value.exit_code is ExitCode.BUDGET and "$0.000001" in caught.value.message
    store = Store(tmp_path / "runs.db")
    record = store.run(None)
    assert record is not None and store.answers(record.id) == {}
    store.close()


def test_a_step_goes_only_to_nodes_that_support_what_it_asks_for(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    plain = stage.node(0)
    able = stage.node(1, offers=(msgspec.structs.replace(OFFER, features=("seed", "stop")),))
    step = ChainStep("a", "r", "map", "segments", "{text}\nGo.", 60, seed=7, stop=("END",))
    play(stage, document_from("a", "Text."), Chain("mine", (step,)))
    assert (plain.asks, len(able.calls)) == (0, 1)
    assert (able.calls[0].seed, able.calls[0].stop) == (7, ("END",))
    assert {event.peer for event in stage.heard(StepStarted)} == {able.peer}


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({}, "parameter_missing"),
        ({"question": "?", "colour": "red"}, "parameter_unknown"),
        ({"question": " "}, "parameter_bad"),
        ({"question": "?" * 70_000}, "parameter_bad"),
    ],
)
def test_parameters_are_checked(values: dict[str, str], code: str) -> None:
    with pytest.raises(UsageError) as caught:
        resolved(get("questions", (TEMPLATES,)), values)
    assert caught.value.code == code


def test_parameters_come_from_texts_and_files(tmp_path: Path) -> None:
    file = tmp_path / "questions"
    file.write_text("One?\nTwo?\n")
    assert given(["a=b=c"], [f"q={file}"]) == {"a": "b=c", "q": "One?\nTwo?"}
    file.write_bytes(b"\xff")
    for texts, files in ((["a"], []), (["a=1", "a=2"], []), ([], [f"q={file}"]), ([], ["q=/none"])):
        with pytest.raises(UsageError) as caught:
            given(texts, files)
        assert caught.value.code == "parameter_bad"
