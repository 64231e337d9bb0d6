from ricochet_orchestrator.chain_language import Chain, ChainStep
from ricochet_orchestrator.context import Context
from ricochet_orchestrator.document import document_from
from ricochet_orchestrator.expansion import segment_budget
from ricochet_orchestrator.growth import Growth
from ricochet_orchestrator.material import Material
from ricochet_orchestrator.media import Form
from ricochet_orchestrator.plan import needed_window
from ricochet_orchestrator.segment import segment
from ricochet_protocol.ids import ModelId
from ricochet_protocol.tokens import count_tokens

MODEL = ModelId("small")
WINDOW = 1_000
CHAIN = Chain(
    "mine", (ChainStep("a", "analyzer", "map", "segments", "{text}\nExplain.", max_tokens=40),)
)
DOCUMENT = document_from("a", "# Head\n\n" + "Some more words. " * 400, Form.MARKDOWN)


def plan(context: Context) -> Growth:
    windows = {MODEL: WINDOW}
    budget = segment_budget(CHAIN, MODEL, windows, count_tokens, {})
    segments = segment(DOCUMENT, budget, count_tokens, context)
    return Growth(CHAIN, Material(DOCUMENT, segments), MODEL, windows, count_tokens, {})


def test_context_is_in_the_prompt_and_in_what_a_step_is_but_not_in_the_text() -> None:
    shown, plain = plan(Context(overlap=40, headings=True)), plan(Context())
    turns = [shown.turns(step, WINDOW) for step in shown.steps.values()]
    prompts = [turn.content for (turn,), _ in turns]
    assert len(prompts) > 2
    assert all("Headings above this text: Head" in prompt for prompt in prompts[1:])
    assert all("End of the text before" in prompt for prompt in prompts[1:])
    assert all(needed_window(MODEL, counted, 40) <= WINDOW for _, counted in turns)
    assert "".join(one.text for one in shown.material.segments) == DOCUMENT.text
    assert not set(shown.steps) & set(plain.steps)
