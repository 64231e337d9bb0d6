import itertools

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ricochet_orchestrator.chain_language import Chain, ChainStep
from ricochet_orchestrator.chains import TEMPLATES, get
from ricochet_orchestrator.document import Document, default_document, document_from
from ricochet_orchestrator.expansion import segment_budget
from ricochet_orchestrator.growth import Growth
from ricochet_orchestrator.material import Material
from ricochet_orchestrator.plan import Step, needed_window, room
from ricochet_orchestrator.segment import segment
from ricochet_protocol.errors import UsageError
from ricochet_protocol.ids import ModelId
from ricochet_protocol.tokens import count_tokens

MODEL = ModelId("small")
OVERVIEW = get("overview", (TEMPLATES,))
MAPPED = ChainStep("a", "analyzer", "map", "segments", "{text}\nExplain.", 40)


def plan_of(text: str, chain: Chain = OVERVIEW, window: int = 2304) -> Growth:
    windows = {MODEL: window}
    budget = segment_budget(chain, MODEL, windows, count_tokens, {})
    return planned(chain, document_from("a", text), budget, windows)


def planned(chain: Chain, document: Document, budget: int, windows: dict[ModelId, int]) -> Growth:
    """A plan before there is any answer."""
    material = Material(document, segment(document, budget, count_tokens))
    return Growth(chain, material, MODEL, windows, count_tokens, {})


def named(plan: Growth, name: str) -> list[Step]:
    return [step for step in plan.steps.values() if step.name == name]


def levels(plan: Growth, name: str) -> int:
    """How many steps of this name lie on the longest path."""
    depth: dict[str, int] = {}
    for step in plan.steps.values():
        below = max((depth[source] for source in step.inputs), default=0)
        depth[step.id] = below + (step.name == name)
    return max(depth.values())


def test_the_default_document_is_thirteen_analyses_five_summaries_one_overview() -> None:
    plan = plan_of(default_document().text)
    counts = [len(named(plan, name)) for name in ("analyzer", "summarizer", "integrator")]
    assert counts == [13, 5, 1]
    assert plan.outputs == (named(plan, "integrator")[0].id,)
    assert named(plan, "integrator")[0].inputs == tuple(s.id for s in named(plan, "summarizer"))


def test_segments_leave_the_stated_margin_for_the_models_own_tokenizer() -> None:
    budget = segment_budget(OVERVIEW, MODEL, {MODEL: 2304}, count_tokens, {})
    assert 1_030 <= budget <= 1_075
    assert budget * 2 + 64 + 90 <= 2304


@given(st.sampled_from(["small", "gpt-4", "gpt-5"]), st.integers(200, 200_000), st.integers(1, 99))
def test_room_and_needed_window_are_inverse(name: str, window: int, max_tokens: int) -> None:
    model = ModelId(name)
    counted = room(model, window, max_tokens)
    assert needed_window(model, counted, max_tokens) <= window
    assert needed_window(model, counted + 1, max_tokens) > window


def test_a_model_whose_tokenizer_is_known_keeps_most_of_its_window() -> None:
    def budget(name: str) -> int:
        return segment_budget(OVERVIEW, ModelId(name), {ModelId(name): 128_000}, count_tokens, {})

    assert budget("gpt-4") > 0.99 * 128_000
    assert budget("gpt-5") > 0.82 * 128_000
    assert 0.49 * 128_000 < budget("some-other-model") < 0.5 * 128_000


def test_a_long_document_is_integrated_in_several_levels() -> None:
    text = "".join(f"Paragraph {number} says something.\n\n" for number in range(600))
    plan = plan_of(text, window=1_000)
    assert levels(plan, "integrator") > 1
    assert len(plan.outputs) == 1


paragraphs = st.lists(st.text(max_size=60) | st.just("The same again.\n\n"), min_size=1)


@settings(max_examples=30)
@given(paragraphs, st.integers(1_000, 1_200))
def test_no_prompt_exceeds_the_window_and_every_segment_reaches_the_result(
    parts: list[str], window: int
) -> None:
    text = "start " + "\n\n".join(parts * 40)
    plan = plan_of(text, window=window)
    # Answers as long as they may be and longer: the plan has to hold for any answer.
    seen: set[str] = set()
    for step in plan.steps.values():
        assert seen.issuperset(step.inputs), "a step comes after what it reads"
        seen.add(step.id)
        turns, counted = plan.turns(step, window)
        assert counted == count_tokens(turns[0].content)
        assert needed_window(step.model, counted, step.max_tokens) <= window
        plan.answered(step.id, "word. " * 300)
    assert plan.complete
    used = set(itertools.chain.from_iterable(step.inputs for step in plan.steps.values()))
    assert used | set(plan.outputs) == set(plan.steps)
    covered = {
        plan.material.segments[i].sha256 for step in plan.steps.values() for i in step.segments
    }
    assert covered == {part.sha256 for part in plan.material.segments}


def test_a_changed_paragraph_changes_its_own_steps_and_what_depends_on_them() -> None:
    text = default_document().text
    before, after = plan_of(text), plan_of(text[:-20] + "something else here.")
    kept = set(before.steps) & set(after.steps)
    assert len([s for s in named(before, "analyzer") if s.id in kept]) == 12
    assert len([s for s in named(before, "summarizer") if s.id in kept]) == 4
    assert len([s for s in named(before, "integrator") if s.id in kept]) == 0


@pytest.mark.parametrize(
    "changed",
    [
        {"prompt": "{text}\nExplain!"},
        {"max_tokens": 41},
        {"temperature": 0.5},
        {"model": ModelId("other")},
    ],
)
def test_a_step_id_depends_on_each_part_of_the_call(changed: dict[str, object]) -> None:
    def only(step: ChainStep) -> Step:
        windows = {MODEL: 2304, ModelId("other"): 2304}
        chain = Chain("mine", (step,))
        (made,) = planned(chain, document_from("a", "some text"), 100, windows).steps.values()
        return made

    fields = {name: getattr(MAPPED, name) for name in MAPPED.__struct_fields__}
    assert only(ChainStep(**(fields | changed))).id != only(MAPPED).id
    assert only(ChainStep(**(fields | {"name": "b", "role": "r"}))).id == only(MAPPED).id


def test_equal_segments_are_one_step_used_twice() -> None:
    text = ("Same words here. " * 40).strip() + "\n\n\n"
    both = ChainStep("b", "summarizer", "reduce", "a", "{text}\nJoin.", 40)
    plan = plan_of(text * 2, Chain("mine", (MAPPED, both)), window=550)
    assert len(plan.material.segments) == 2
    (analysis,) = named(plan, "a")
    assert named(plan, "b")[0].inputs == (analysis.id, analysis.id)


def test_groups_are_even_so_that_none_holds_a_lone_answer() -> None:
    text = "".join(f"{number} " + "word " * 180 + "\n\n\n" for number in range(10))
    grouped = ChainStep("b", "summarizer", "reduce", "a", "{text}\nJoin.", 40, group=3)
    end = ChainStep("c", "integrator", "reduce", "b", "{text}\nEnd.", 40)
    plan = plan_of(text, Chain("mine", (MAPPED, grouped, end)), window=550)
    assert len(named(plan, "a")) == 10
    assert sorted(len(step.inputs) for step in named(plan, "b")) == [2, 2, 3, 3]


def test_a_map_over_answers_and_a_map_at_the_end() -> None:
    second = ChainStep("b", "critic", "map", "a", "{text}\nJudge.", 40)
    text = "".join(f"Number {number}. " for number in range(200))
    plan = plan_of(text, Chain("mine", (MAPPED, second)), window=550)
    assert len(plan.outputs) > 1
    assert plan.outputs == tuple(step.id for step in named(plan, "b"))
    assert all(len(step.inputs) == 1 for step in named(plan, "b"))


def test_text_that_looks_like_the_placeholder_is_left_alone() -> None:
    plan = plan_of("braces {text} and {other} stay", Chain("mine", (MAPPED,)))
    (step,) = plan.steps.values()
    (turn,), _ = plan.turns(step, 2304)
    assert turn.content.startswith("braces {text} and {other} stay")


@pytest.mark.parametrize(("mode", "over_tokens"), [("reduce", 700), ("map", 2000)])
def test_answers_that_cannot_fit_the_next_window_are_refused(mode: str, over_tokens: int) -> None:
    wide = ChainStep("a", "r", "map", "segments", "{text}\nExplain.", over_tokens)
    then = ChainStep("b", "r", mode, "a", "{text}\nThen.", 40)  # type: ignore[arg-type]  # both modes
    windows = {MODEL: 2304, ModelId("narrow"): 1000}
    narrow = Chain("mine", (wide, msgspec.structs.replace(then, model=ModelId("narrow"))))
    text = document_from("a", "word " * 900)
    with pytest.raises(UsageError) as caught:
        planned(narrow, text, 200, windows)
    assert caught.value.code == "window_too_small"


def test_a_window_smaller_than_the_prompt_is_refused() -> None:
    with pytest.raises(UsageError) as caught:
        plan_of("some text", window=150)
    assert caught.value.code == "window_too_small"
