"""Results that lead back to the source, in every form, whatever models and file names hold."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest
from orchestrator_stage import MAPPED, SHORT, Stage, numbered, play

from ricochet_orchestrator.checkpoint import Origin
from ricochet_orchestrator.control import Runs
from ricochet_orchestrator.difference import difference
from ricochet_orchestrator.document import Document, document_of, part_of
from ricochet_orchestrator.report_page import as_html
from ricochet_orchestrator.reports import as_json, as_markdown, quoted
from ricochet_orchestrator.trace import Trace, ranges
from ricochet_protocol.messages import Ask

HOSTILE = "<script>alert(1)</script> | `x` [a](javascript:b) \x1b[31m & \u202e"


def traced(stage: Stage) -> Trace:
    with Runs(stage.home) as runs:
        return runs.trace()


def two_files() -> Document:
    texts = numbered(3).text, numbered(2).text.replace("Part", "Piece")
    return document_of("two", (part_of("a.md", texts[0]), part_of("b<i>.md", texts[1])))


def test_every_answer_leads_to_offsets_in_its_source(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.node(0)
    document = two_files()
    play(stage, document)
    trace = traced(stage)
    mapped = [step for step in trace.steps if step.name == MAPPED.name]
    (writer,) = [step for step in trace.steps if step.id in trace.outputs]
    assert [step.rests_on for step in mapped] == [(number,) for number in range(len(mapped))]
    assert writer.rests_on == tuple(range(len(mapped))) and not writer.segments
    assert writer.inputs == tuple(step.id for step in mapped)
    prompts = [ask.turns[-1].content for ask in stage.nodes[0].calls]
    texts = {part.name: part.text for part in document.parts}
    for step in mapped:
        origin = trace.origins[step.segments[0]]
        source = texts[origin.part][origin.start : origin.end]
        assert any(source in prompt for prompt in prompts)
    whole = "".join(texts[one.part][one.start : one.end] for one in trace.origins)
    assert whole == document.text, "nothing of the document is without a segment"


def test_the_forms_hold_result_steps_and_segments(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.node(0)
    result = play(stage, two_files())
    trace = traced(stage)
    document = json.loads(as_json(trace))
    assert document["output"] == result.output
    assert document["run"]["cost"] == sum(step["cost"] for step in document["steps"]) > 0
    assert document["segments"][0] == {
        **{"number": 1, "file": "a.md", "start": 0, "places": [], "passages": []},
        "end": trace.origins[0].end,
    }
    assert document["steps"][-1]["rests_on"][0] == 1, "numbers count from 1, as people's do"
    markdown, page = as_markdown(trace), as_html(trace)
    for step in trace.steps:
        assert step.id[:8] in markdown and f'id="{step.id}"' in page
    assert result.output in markdown
    assert page.count("<details") == len(trace.steps)
    assert 'href="#s1"' in page and 'id="s1"' in page


def test_the_forms_show_what_was_quoted_of_a_segment(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.node(0)
    play(stage, two_files())
    bare = traced(stage)
    quotes = (Origin("a.md", 5, 17, ("page 1",)), Origin("a.md", 20, 30), Origin("b<i>.md", 0, 4))
    trace = msgspec.structs.replace(bare, run=msgspec.structs.replace(bare.run, passages=quotes))
    assert bare.places[0] == f"a.md, characters 0 to {bare.origins[0].end:,}"
    where = f"{bare.places[0]}; quoted: 5 to 17 (page 1); 20 to 30"
    assert trace.places[0] == where
    assert where in as_markdown(trace) and where in as_html(trace)
    told = {one["file"]: one["passages"] for one in json.loads(as_json(trace))["segments"][::-1]}
    assert told["b<i>.md"] == [{"start": 0, "end": 4, "places": []}]
    assert [one["start"] for one in told["a.md"]] == [5, 20]


class Seen(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += attrs


def hostile(ask: Ask) -> str:
    return f"{HOSTILE} {len(ask.turns[-1].content)}. End."


def test_what_models_and_files_say_stays_text(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.node(0, answer=hostile)
    text = numbered(2).text
    play(stage, document_of(HOSTILE, (part_of(HOSTILE, text),)))
    trace = traced(stage)
    seen = Seen()
    seen.feed(as_html(trace))
    assert not seen.tags & {"script", "img", "iframe", "object", "link", "form", "base"}
    assert not [name for name, _ in seen.attributes if name.startswith("on") or name == "src"]
    assert all((value or "").startswith("#") for name, value in seen.attributes if name == "href")
    assert "default-src 'none'" in as_html(trace)
    for form in (as_html(trace), as_markdown(trace)):
        assert "\x1b" not in form and "\u202e" not in form
    table = [line for line in as_markdown(trace).splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in table} == {9}
    assert quoted("a | b\n# c") == r"a \| b \# c"


def test_a_run_that_another_paid_for_says_so(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.node(0)
    first = play(stage, numbered(3))
    second = play(stage, numbered(3), seed=0)
    assert second.run_id != first.run_id and second.cost == 0
    assert not any(step.paid for step in traced(stage).steps)
    assert "paid by an earlier run" in as_markdown(traced(stage))


def test_a_changed_paragraph_is_the_difference_of_two_runs(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.node(0)
    document = numbered(4)
    first = play(stage, document)
    text = document.text.replace("Part 2.", "Part two.")
    second = play(stage, document_of("numbered.txt", (part_of("numbered.txt", text),)))
    with Runs(stage.home) as runs:
        found = difference(runs.trace(first.run_id), runs.trace(second.run_id))
        same = difference(runs.trace(first.run_id), runs.trace(first.run_id))
    assert [(one.name, one.same, one.added, one.removed) for one in found.steps] == [
        ("reader", 3, 1, 1),
        ("writer", 0, 1, 1),
    ]
    assert found.segments == (2,)
    assert (found.calls, found.cost) == (second.calls - first.calls, second.cost - first.cost)
    assert any(line.startswith("+") for line in found.text)
    assert same.text == () and same.segments == () and same.cost == 0


def test_an_unfinished_run_has_a_trace_too(tmp_path: Path) -> None:
    from ricochet_orchestrator.entering import enter
    from ricochet_orchestrator.request import Options
    from ricochet_orchestrator.store import Store

    store = Store(tmp_path / "runs.db")
    enter(store, numbered(1), SHORT, Options(), 1.0)
    store.close()
    with Runs(tmp_path) as runs:
        trace = runs.trace()
    assert "No result: the run is pending" in as_markdown(trace)
    assert "No result: the run is pending" in as_html(trace)
    assert json.loads(as_json(trace))["steps"] == []


@pytest.mark.parametrize(
    ("numbers", "text"),
    [((), ""), ((0,), "1"), ((0, 1, 2), "1-3"), ((0, 2, 3, 9), "1, 3-4, 10")],
)
def test_ranges(numbers: tuple[int, ...], text: str) -> None:
    assert ranges(numbers) == text


def test_a_refused_answer_is_followed_by_the_one_that_passed(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    given: list[str] = []

    def answer(ask: Ask) -> str:
        given.append("")
        return "no json" if len(given) == 1 else '{"topic": "words"}'

    stage.node(0, answer=answer)
    schema = {"type": "object", "properties": {"topic": {"type": "string"}}}
    reader = msgspec.structs.replace(MAPPED, schema=schema, retries=2)
    play(
        stage,
        numbered(1, words=100),
        msgspec.structs.replace(SHORT, steps=(reader, SHORT.steps[1])),
    )
    trace = traced(stage)
    refused, passed = [step for step in trace.steps if step.name == "reader"]
    (writer,) = [step for step in trace.steps if step.name == "writer"]
    assert "no json" in refused.text and writer.inputs == (passed.id,)
    assert writer.rests_on == (0,)
