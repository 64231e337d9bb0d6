"""Prompts that fit: `python -m benchmarks.orchestrator.prompts [DOCUMENTS]`. Prints JSON.

The 10,000 random documents of `segmentation`, each planned for one of the built-in chains and a
window drawn at random, and played to its end with answers of any length, longer than allowed ones
and refused ones included. Each prompt is counted anew, and with the longest answer it asks for it
must stay within the window. A window that holds no call of a chain step is refused before a call is
made where that is known, and once answers tell that two of them cannot be joined in it where not.
"""

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from random import Random
from typing import Any, Final, NamedTuple

from benchmarks.orchestrator.segmentation import DOCUMENTS, random_document

from ricochet_orchestrator.answer_schema import canonical
from ricochet_orchestrator.chain_language import Chain
from ricochet_orchestrator.chains import TEMPLATES, get
from ricochet_orchestrator.document import Document
from ricochet_orchestrator.expansion import segment_budget
from ricochet_orchestrator.growth import Growth
from ricochet_orchestrator.material import Material
from ricochet_orchestrator.parameters import resolved
from ricochet_orchestrator.plan import Step
from ricochet_orchestrator.schedule import Schedule
from ricochet_orchestrator.segment import segment
from ricochet_protocol.conversation import texts_of_turns
from ricochet_protocol.errors import UsageError
from ricochet_protocol.ids import ModelId
from ricochet_protocol.tokens import count_tokens
from ricochet_protocol.usage import TEMPLATE_TOKENS

MODEL: Final = ModelId("any")
CHAINS: Final = tuple(get(path.stem, (TEMPLATES,)) for path in sorted(TEMPLATES.glob("*.yaml")))
WINDOWS: Final = (1024, 4096)
LONGEST: Final = 1.5
"""An answer's length is up to so many times what was asked for."""


class Played(NamedTuple):
    """A call: the share of its window that it may take, and whether it is not the first try."""

    fill: float
    again: bool


def planned(document: Document, chain: Chain, window: int) -> Growth:
    """As `preparation` does it."""
    given = {name: "a word" for name, one in chain.parameters.items() if one.default is None}
    values, windows = resolved(chain, given), {MODEL: window}
    budget = segment_budget(chain, MODEL, windows, count_tokens, values)
    made = segment(document, budget, count_tokens)
    return Growth(chain, Material(document, made), MODEL, windows, count_tokens, values)


def answer(step: Step, prompt: str, chance: Random) -> str:
    """Words, or for half of the steps the beginning of what they read: a quotation passes so."""
    words = int(chance.random() * LONGEST * step.max_tokens)
    if chance.random() < 0.5:
        return prompt[: 4 * words] or "Nothing."
    return "word " * words + "end."


def size(growth: Growth, step: Step, window: int) -> tuple[int, str]:
    """Tokens of a call by our count, its longest answer included, and its prompt."""
    turns, _ = growth.turns(step, window)
    schema = "" if step.spec.schema is None else canonical(step.spec.schema)
    tokens = sum(count_tokens(text) for text in (*texts_of_turns(turns), schema))
    return tokens + TEMPLATE_TOKENS + step.max_tokens, turns[-1].content


def played(document: Document, chain: Chain, window: int, chance: Random) -> Iterator[Played]:
    """Every call of a run, as far as its window holds them."""
    growth = planned(document, chain, window)
    schedule = Schedule()
    schedule.add(growth.fresh())
    while lanes := schedule.lanes():
        step = schedule.take(lanes[0])
        assert step is not None, "a lane that is listed has a step"
        tokens, prompt = size(growth, step, window)
        yield Played(tokens / window, step.attempt > 0)
        if growth.answered(step.id, answer(step, prompt, chance)).passed:
            schedule.passed(step.slot)
        schedule.add(growth.fresh())


def measure(documents: int, seed: int = 1) -> dict[str, Any]:
    random, chance = Random(seed), Random(seed)
    calls: list[Played] = []
    refused = Counter[str]()
    begin = time.perf_counter()
    for _ in range(documents):
        document, window = random_document(random), chance.randint(*WINDOWS)
        before = len(calls)
        try:
            for call in played(document, chance.choice(CHAINS), window, chance):
                calls.append(call)
        except UsageError as error:
            if error.code != "window_too_small":
                raise
            refused["later" if len(calls) > before else "before a call"] += 1
    return {
        "documents": documents,
        "windows": WINDOWS,
        "windows_refused": dict(refused),
        "prompts": len(calls),
        "after_a_refused_answer": sum(one.again for one in calls),
        "over_the_window": sum(one.fill > 1 for one in calls),
        "fullest_percent": round(100 * max(one.fill for one in calls), 1),
        "seconds": round(time.perf_counter() - begin, 1),
        "load": os.getloadavg()[0],
    }


def main() -> None:
    documents = int(sys.argv[1]) if len(sys.argv) > 1 else DOCUMENTS
    print(json.dumps(measure(documents), indent=2))


if __name__ == "__main__":
    main()
