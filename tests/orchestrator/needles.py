"""Needles in hay, and a model by script that finds what a segment shows of them.

Half of the needles are sentences of the text. The others are put where a segment ends, into a
stretch without sentences, so that the cut goes through them: each half alone says little.
"""

import random
import re
from itertools import pairwise
from pathlib import Path
from pydoc_data.topics import topics
from typing import Final, NamedTuple

import msgspec
from orchestrator_stage import Stage, play

from ricochet_orchestrator.chains import TEMPLATES, get
from ricochet_orchestrator.document import Document, document_from
from ricochet_orchestrator.expansion import segment_budget
from ricochet_orchestrator.result import RunResult
from ricochet_orchestrator.segment import segment
from ricochet_protocol.messages import Ask
from ricochet_protocol.tokens import count_tokens
from twins.scripted_node import MODEL, OFFER

QUESTIONS: Final = get("questions", (TEMPLATES,))
ASKED: Final = {"question": "Which pins are there, and what are their words?"}
_MARKED: Final = re.compile(r"[^.\n]{0,30}\b(?:pin|word|end)\d+\b[^.\n]{0,30}")


class Hay(NamedTuple):
    """`cut` are the needles that the end of one of the `segments` goes through."""

    document: Document
    segments: int
    needles: tuple[str, ...]
    cut: tuple[str, ...]


class Found(NamedTuple):
    """What came of a run: needles that the last prompt has, and how many prompts there were."""

    result: RunResult
    reached: tuple[str, ...]
    prompts: int


def needle(number: int) -> str:
    """Three marks, so that either half of it has one."""
    return f"pin{number} opens with word{number} till end{number}"


def hay(tokens: int, needles: int, window: int, seed: int = 0) -> Hay:
    """A document of about so many tokens, as the chain `questions` will cut it for that window."""
    chance = random.Random(seed)
    budget = segment_budget(QUESTIONS, MODEL, {MODEL: window}, count_tokens, ASKED)
    sentences = re.split(r"(?<=\.)\s+", " ".join(" ".join(topics.values()).split()))
    size = len(sentences) * tokens // count_tokens(" ".join(sentences))
    plain, bare = sentences[: size // 2], sentences[size // 2 : size]
    whole = [needle(number) for number in range(needles // 2)]
    for one in whole:
        plain.insert(chance.randrange(len(plain)), f"{one.capitalize()}.")
    # Nothing in the second half ends a sentence, so cuts fall between any two words.
    text = " ".join(plain) + "\n\n" + re.sub(r"[^\w\s]|\d", "", " ".join(bare))
    parted = [needle(number) for number in range(needles // 2, needles)]
    edge = len(" ".join(plain))
    for one in parted:
        starts = [part.start for part in segment(document_from("hay", text), budget, count_tokens)]
        place = next((start for start in starts if start > edge + len(one)), len(text))
        if place < len(text):
            place = text.rfind(" ", edge, place - len(one) // 2)
        text = f"{text[:place]} {one}{text[place:]}"
        edge = place + len(one) + 1
    document = document_from("hay.txt", text)
    cuts = [part.start for part in segment(document, budget, count_tokens)]
    places = {one: text.index(one) for one in parted}
    cut = [one for one, at in places.items() if any(at < start < at + len(one) for start in cuts)]
    return Hay(document, len(cuts), tuple(one.lower() for one in whole + parted), tuple(cut))


def finder(ask: Ask) -> str:
    """Copies what has a mark; of passages or answers, tells every needle that it reads."""
    prompt = ask.turns[-1].content
    if not prompt.startswith("Passages"):
        text = prompt.partition("\n\nCopy, word for word")[0]
        return "\n".join(one.strip() for one in _MARKED.findall(text)) or "NONE"
    told = []
    numbers = [*re.finditer(r"^\[(\d+)\]", prompt, re.MULTILINE)]
    ends = [*(one.start() for one in numbers), len(prompt)]
    for number, (start, end) in zip(numbers, pairwise(ends), strict=True):
        found = re.findall(r"(?i)\bpin\d+ opens[^.\n]*?end\d+", prompt[start:end])
        told += [f"{one} [{number[1]}]." for one in found]
    return " ".join(told) or "The document does not say."


def look(home: Path, found: Hay, window: int) -> Found:
    """Run `questions` over the hay."""
    stage = Stage(home)
    offer = msgspec.structs.replace(OFFER, context=window, slots=8)
    stage.node(0, offers=(offer,), answer=finder)
    result = play(stage, found.document, QUESTIONS, parameters=ASKED)
    prompts = [call.turns[-1].content.lower() for node in stage.nodes for call in node.calls]
    (last,) = [one for one in prompts[-1:] if one.startswith("passages")]
    reached = tuple(one for one in found.needles if one in last)
    return Found(result, reached, len(prompts))
