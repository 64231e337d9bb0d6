"""Plans that grow: what answers make known, in whatever order they come."""

import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ricochet_orchestrator.chain_language import Chain
from ricochet_orchestrator.chains import parse
from ricochet_orchestrator.document import document_of, part_of
from ricochet_orchestrator.growth import Growth, grow
from ricochet_orchestrator.material import Material
from ricochet_orchestrator.plan import Plan, Step, StepId
from ricochet_orchestrator.segment import segment
from ricochet_protocol.errors import LocalFault, UsageError
from ricochet_protocol.ids import ModelId
from ricochet_protocol.tokens import count_tokens

MODEL = ModelId("small")
ITEMS = {
    "type": "object",
    "properties": {"items": {"type": "array", "items": {"type": "string"}}},
    "required": ["items"],
    "additionalProperties": False,
}


def step(name: str, mode: str, over: Any, **changes: Any) -> dict[str, Any]:
    fields = {"role": "r", "prompt": "{text}\nGo.", "max_tokens": 60}
    return {"name": name, "mode": mode, "over": over, **fields, **changes}


def chain_of(*steps: dict[str, Any], **fields: Any) -> Chain:
    return parse("mine.json", json.dumps({"name": "mine", "steps": steps, **fields}).encode())


def material_of(*files: str, budget: int = 60) -> Material:
    parts = tuple(part_of(f"{number}.txt", text) for number, text in enumerate(files))
    document = document_of("files", parts)
    return Material(document, segment(document, budget, count_tokens))


def paragraphs(number: int) -> str:
    return "\n\n".join(f"Paragraph {at} " + "word " * 45 + "ends." for at in range(number))


def begin(chain: Chain, material: Material, window: int = 1200, **parameters: str) -> Growth:
    return Growth(chain, material, MODEL, {MODEL: window}, count_tokens, parameters)


def names(steps: list[Step]) -> list[str]:
    return [one.name for one in sorted(steps, key=lambda one: one.position)]


def prompt(growth: Growth, step: Step, window: int = 1200) -> str:
    turns, _ = growth.turns(step, window)
    return turns[-1].content


EXTRACT = step("find", "map", "segments", schema=ITEMS, retries=1)
EACH = step("check", "each", "find", items="items")
END = step("end", "reduce", "check", empty="(nothing)")


def test_each_makes_one_call_for_each_item_and_equal_items_are_one_call() -> None:
    growth = begin(chain_of(EXTRACT, EACH, END), material_of(paragraphs(2)))
    first, second = growth.fresh()
    assert not growth.whole
    growth.answered(first.id, '{"items": ["a", "b"]}')
    assert growth.fresh() == []
    growth.answered(second.id, '```json\n{"items": ["b", "c"]}\n```')
    fresh = growth.fresh()
    assert names(fresh) == ["check", "check", "check", "end"]
    assert [prompt(growth, one) for one in fresh[:3]] == ["a\nGo.", "b\nGo.", "c\nGo."]
    for one in fresh:
        growth.answered(one.id, f"about {one.position}")
    assert growth.complete and growth.outputs == (fresh[3].id,)


def test_a_segment_that_yields_the_same_items_costs_nothing_further() -> None:
    def checks(text: str) -> set[StepId]:
        growth = begin(chain_of(EXTRACT, EACH, END), material_of(text))
        for one in growth.fresh():
            growth.answered(one.id, '{"items": ["a", "b"]}')
        return {one.id for one in growth.steps.values() if one.name == "check"}

    assert checks("One text. " * 9) == checks("Another text. " * 9)


def test_nothing_found_is_an_end_with_a_text_of_its_own_or_no_call() -> None:
    growth = begin(chain_of(EXTRACT, EACH, END), material_of("Some text."))
    growth.answered(growth.fresh()[0].id, '{"items": []}')
    (end,) = growth.fresh()
    assert prompt(growth, end) == "(nothing)\nGo."
    silent = begin(chain_of(EXTRACT, EACH), material_of("Some text."))
    silent.answered(silent.fresh()[0].id, '{"items": []}')
    assert silent.complete and silent.outputs == () and silent.fresh() == []


def test_a_refused_answer_is_asked_for_again_with_the_reason_and_then_given_up() -> None:
    growth = begin(chain_of(EXTRACT, EACH, END), material_of("Some text."))
    (first,) = growth.fresh()
    verdict = growth.answered(first.id, "not JSON")
    assert verdict.retry is not None and not verdict.passed and "JSON" in verdict.refusal
    (again,) = growth.fresh()
    assert (again.attempt, again.slot, again.refused) == (1, first.id, first.id)
    assert again.id != first.id
    turns, counted = growth.turns(again, 1200)
    assert [turn.role for turn in turns] == ["user", "assistant", "user"]
    assert turns[1].content == "not JSON" and "refused" in turns[2].content
    assert counted >= sum(count_tokens(turn.content) for turn in turns)
    last = growth.answered(again.id, '{"items": [1]}')
    assert not last.passed and last.retry is None and "$.items[0]" in last.refusal
    assert growth.fresh() == [] and not growth.complete


def test_what_passed_in_the_end_is_what_later_steps_and_the_result_read() -> None:
    schema = {"type": "object", "required": ["n"]}
    chain = chain_of(
        step("a", "map", "segments", schema=schema), step("b", "reduce", "a", schema=schema)
    )
    growth = begin(chain, material_of("Some text."))
    first, joined = growth.fresh()
    assert growth.outputs == ()
    growth.answered(first.id, "[]")
    (again,) = growth.fresh()
    growth.answered(again.id, '{"n": 1}')
    assert prompt(growth, joined) == '{"n": 1}\nGo.'
    growth.answered(joined.id, "{}")
    (second,) = growth.fresh()
    growth.answered(second.id, '{"n": 2}')
    assert growth.complete and growth.outputs == (second.id,)


def test_more_retries_go_on_where_fewer_ended() -> None:
    def attempts(retries: int) -> list[StepId]:
        growth = begin(chain_of({**EXTRACT, "retries": retries}), material_of("Some text."))
        made = []
        while fresh := growth.fresh():
            made.append(fresh[0].id)
            growth.answered(fresh[0].id, f"bad answer {len(made)}")
        return made

    assert len(attempts(0)) == 1
    assert attempts(3)[:2] == attempts(1)


@pytest.mark.parametrize(
    ("condition", "answers", "met"),
    [
        ({"count": {"min": 2}}, ['{"items": []}'], True),
        ({"count": {"max": 1}}, ['{"items": []}'], False),
        ({"field": "items", "empty": False}, ['{"items": []}', '{"items": ["a"]}'], True),
        ({"field": "items", "empty": False}, ['{"items": []}'], False),
        ({"field": "items", "empty": True}, ['{"items": []}'], True),
        ({"field": "missing.deep", "empty": True}, ['{"items": []}'], True),
        ({"field": "items", "equals": "a"}, ['{"items": ["a"]}'], False),
    ],
)
def test_a_step_is_made_when_its_conditions_hold(
    condition: dict[str, Any], answers: list[str], met: bool
) -> None:
    late = step("late", "reduce", "find", when=[{"step": "find", **condition}])
    growth = begin(chain_of(EXTRACT, late), material_of(paragraphs(2)))
    for one, answer in zip(growth.fresh(), answers * 2, strict=False):
        growth.answered(one.id, answer)
    assert names(growth.fresh()) == (["late"] if met else [])
    assert growth.whole and growth.complete is not met


def test_a_filter_chooses_answers_by_a_field() -> None:
    kind = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
    judged = step("find", "map", "segments", schema=kind)
    late = step("late", "map", "find", only={"field": "ok", "equals": True})
    growth = begin(chain_of(judged, late), material_of(paragraphs(3)))
    for one, ok in zip(growth.fresh(), ("true", "false", "true"), strict=True):
        growth.answered(one.id, f'{{"ok": {ok}, "of": {one.segments[0]}}}')
    assert [prompt(growth, one) for one in growth.fresh()] == [
        '{"ok": true, "of": 0}\nGo.',
        '{"ok": true, "of": 2}\nGo.',
    ]


def test_parallel_branches_meet_and_a_single_answer_is_named_in_a_prompt() -> None:
    growth = begin(
        chain_of(
            step("a", "map", "segments"),
            step("left", "reduce", "a", prompt="{text} left"),
            step("right", "reduce", "a", prompt="{text} right"),
            step("both", "reduce", ["left", "right"], prompt="{text} for {left} by {who}"),
            parameters={"who": {}},
        ),
        material_of(paragraphs(2)),
        who="{text}",
    )
    for one in sorted(growth.fresh(), key=lambda one: one.position):
        growth.answered(one.id, f"{one.name}'s answer")
        last = one
    assert last.name == "both" and growth.complete
    assert prompt(growth, last) == ("left's answer\n\nright's answer for left's answer by {text}")


def test_refine_carries_its_answer_through_the_segments() -> None:
    refine = step("a", "refine", "segments", first="{text} first", prompt="{previous} and {text}")
    growth = begin(chain_of(refine), material_of(paragraphs(3)))
    steps = sorted(growth.fresh(), key=lambda one: one.position)
    assert len(steps) == 3
    for number, one in enumerate(steps):
        said = prompt(growth, one)
        assert said.endswith("first") if number == 0 else said.startswith(f"so far {number - 1}")
        growth.answered(one.id, f"so far {number}")
    assert growth.outputs == (steps[-1].id,)
    assert steps[-1].spans == ((0, 3),)


def test_files_are_reduced_apart_and_labelled_by_name() -> None:
    chain = chain_of(
        step("note", "map", "segments"),
        step("each-file", "reduce", "note", per="part"),
        step("end", "reduce", "each-file", label="part"),
    )
    growth = begin(chain, material_of(paragraphs(2), paragraphs(3).lower()))
    assert names(growth.fresh()) == ["note"] * 5 + ["each-file"] * 2 + ["end"]
    for one in growth.steps.values():
        end = prompt(growth, one)
        growth.answered(one.id, f"{one.name} of {one.sources[0].part}")
    assert end == "--- 0.txt ---\neach-file of 0\n\n--- 1.txt ---\neach-file of 1\nGo."


def test_whole_files_are_inputs_and_one_that_is_too_long_is_refused_by_name() -> None:
    chain = chain_of(step("a", "map", "parts"))
    growth = begin(chain, material_of(paragraphs(2), "Short."))
    assert [prompt(growth, one) for one in growth.fresh()][1] == "Short.\nGo."
    with pytest.raises(UsageError) as caught:
        begin(chain, material_of(paragraphs(40)))
    assert caught.value.code == "window_too_small" and "0.txt" in caught.value.message


def test_what_is_not_an_array_is_told() -> None:
    bare = step("find", "map", "segments", schema={"type": "object"})
    growth = begin(chain_of(bare, EACH), material_of("Some text."))
    (first,) = growth.fresh()
    with pytest.raises(LocalFault) as caught:
        growth.answered(first.id, '{"items": "a"}')
    assert caught.value.code == "bad_items" and "check" in caught.value.message


# Citations and quotations.


QUOTE = step("find", "map", "segments", quotes=True, retries=1)
ANSWER = step("end", "reduce", "find", cites=True, empty="(nothing)")


def test_quotations_are_read_from_the_source_and_each_place_once() -> None:
    text = paragraphs(2).replace("Paragraph 1", "The needle is here. Paragraph 1")
    growth = begin(chain_of(QUOTE, ANSWER), material_of(text))
    first, second = growth.fresh()
    growth.answered(first.id, "NONE.")
    growth.answered(second.id, '- "the needle   IS here."\n2. needle is')
    (end,) = growth.fresh()
    assert prompt(growth, end) == "[2] The needle is here.\nGo."


def test_a_sentence_that_a_cut_divides_is_found_from_either_half() -> None:
    words = " ".join(f"n{number}" for number in range(12))
    material = material_of(f"Before. The needle {words} ends here. After.", budget=16)
    halves = [one for one in material.segments if "needle" in one.text or "ends" in one.text]
    assert len(halves) == 2, "the needle lies across a cut"
    growth = Growth(chain_of(QUOTE, ANSWER), material, MODEL, {MODEL: 1200}, count_tokens, {})
    for one in growth.fresh():
        quote = material.segments[one.segments[0]].text
        growth.answered(one.id, quote if "n3" in quote else "NONE")
    (end,) = growth.fresh()
    assert f"The needle {words} ends here." in prompt(growth, end)


def test_an_invented_line_is_refused_and_in_the_end_the_whole_segment_is_kept() -> None:
    growth = begin(chain_of(QUOTE, ANSWER), material_of("A short text. With a needle."))
    (first,) = growth.fresh()
    verdict = growth.answered(first.id, "A line that I made up.")
    assert verdict.retry is not None and "made up" in verdict.refusal
    kept = growth.answered(verdict.retry.id, "Another invention of mine.")
    assert kept.passed and kept.refusal
    end = growth.fresh()[-1]
    assert prompt(growth, end) == "[1] A short text. With a needle.\nGo."


def test_evidence_that_exceeds_a_window_is_divided_and_never_dropped() -> None:
    text = paragraphs(60)
    growth = begin(chain_of(QUOTE, ANSWER), material_of(text, budget=200), window=900)
    for one in growth.fresh():
        growth.answered(one.id, growth.material.segments[one.segments[0]].text)
    ends = [one for one in growth.steps.values() if one.name == "end" and one.segments == ()]
    shown = "".join(prompt(growth, one, 900) for one in ends if one.sources[0].step is None)
    assert all(f"Paragraph {number} " in shown for number in range(60))


def test_only_what_was_shown_can_be_cited() -> None:
    growth = begin(chain_of(QUOTE, ANSWER), material_of(paragraphs(3)))
    for one, answer in zip(growth.fresh(), ("Paragraph 0", "NONE", "Paragraph 2"), strict=True):
        growth.answered(one.id, answer)
    (end,) = growth.fresh()
    refused = growth.answered(end.id, "As [1] and [2, 3] say.")
    assert "[2]" in refused.refusal and refused.retry is not None
    assert growth.answered(refused.retry.id, "As [1; 3] says.").passed


# Growth is a function of the answers.


RICH = chain_of(
    {**EXTRACT, "retries": 2},
    {**EACH, "only": {"field": "items", "empty": False}},
    step("story", "refine", "segments", first="{text} first", prompt="{previous} and {text}"),
    {**QUOTE, "name": "proof"},
    step(
        "judge",
        "reduce",
        ["check", "proof"],
        cites=True,
        when=[{"step": "proof", "count": {"min": 1}}],
    ),
    step("end", "reduce", ["judge", "story"]),
)


def scripted(one: Step, material: Material, seed: int) -> str:
    """An answer that depends on the call and the seed alone: good or bad."""
    chance = random.Random(f"{seed}{one.id}")
    bad = chance.random() < 0.3
    if one.spec.schema is not None:
        return (
            "oops" if bad else json.dumps({"items": chance.sample("abcdef", chance.randrange(4))})
        )
    if one.spec.quotes:
        text = material.segments[one.segments[0]].text
        return "made up line" if bad else chance.choice(["NONE", text.split(" word")[0]])
    return "[99] wrong" if bad and one.spec.cites else f"Answer {chance.random()}."


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_any_order_of_answers_grows_the_same_plan(seed: int, order: int) -> None:
    material = material_of(paragraphs(4))
    growth = begin(RICH, material)
    chance = random.Random(order)
    answers: dict[StepId, str] = {}
    passed: set[StepId] = set()
    open_steps = growth.fresh()
    while ready := [one for one in open_steps if passed.issuperset(one.inputs)]:
        one = chance.choice(ready)
        open_steps.remove(one)
        growth.turns(one, 1200)
        answers[one.id] = scripted(one, material, seed)
        if growth.answered(one.id, answers[one.id]).passed:
            passed.add(one.slot)
        open_steps += growth.fresh()
    whole = grow(RICH, material, MODEL, {MODEL: 1200}, count_tokens, {}, answers)
    assert dict(whole.steps) == growth.steps
    assert (whole.outputs, whole.whole) == (growth.outputs, growth.whole)
    _check_a_killed_run_goes_on(material, answers, whole, chance)


def _check_a_killed_run_goes_on(
    material: Material, answers: dict[StepId, str], whole: Plan, chance: random.Random
) -> None:
    """With any part of the answers, what grows is part of the plan, at the same places."""
    some = {step: text for step, text in answers.items() if chance.random() < 0.6}
    part = grow(RICH, material, MODEL, {MODEL: 1200}, count_tokens, {}, some)
    assert part.steps.items() <= whole.steps.items()
