"""Calls whose answer is known, hidden in a run's own text, and how alike two answers are.

A canary is a step's prompt with a made-up fact in the middle and a question about it at the end.
It has the size, fields and payment of the step, so that only who reads the prompt can tell it
apart. It shows that the whole prompt was read by something that can find a fact in it: an answer
made up, a prompt cut short or a model far too weak fail. A model that is merely cheaper than
advertised passes.

Likeness is the share of longer words that two answers have in common (Dice's coefficient over
multisets). Equal models that were told to be exact come close to 1, even if their machines round
differently; unrelated answers stay below a quarter. It says that two answers differ, not who is
wrong, and a faithful paraphrase lowers it: it counts only as a mean, beside those of others.
"""

import random
import re
from collections import Counter
from typing import Final

import msgspec

_COLOURS: Final = ("amber", "crimson", "indigo", "ochre", "scarlet", "teal", "umber", "violet")
_PLACES: Final = ("Arden", "Brisk", "Corvo", "Delmar", "Elsby", "Farrow", "Gant", "Holm")
_WORD: Final = re.compile(r"\w{4,}")
_TAIL: Final = 400
"""Characters at the end of a prompt that its instruction may fill, and the question takes over."""
UNLIKE: Final = 0.25
"""Below this likeness two answers have nothing to do with each other."""


class Canary(msgspec.Struct, frozen=True):
    """A prompt, and the number that an answer to it holds."""

    prompt: str
    number: int

    def passes(self, answer: str) -> bool:
        """Whether the answer has the number, however it is grouped."""
        plain = re.sub(r"(?<=\d)[,.\u202f\u00a0 '](?=\d{3}\b)", "", answer)
        return str(self.number) in re.findall(r"\d+", plain)


def hide(prompt: str, chance: random.Random) -> Canary | None:
    """A canary in the text of a step's prompt; None when there is too little text to hide in."""
    text = prompt[:-_TAIL]
    places = [match.end() for match in re.finditer(r"[.!?]\s+", text)]
    if not places:
        return None
    where = chance.choice(places)
    number = chance.randrange(1000, 10_000)
    name = f"the {chance.choice(_COLOURS)} ledger of {chance.choice(_PLACES)}"
    fact = f"In that year {name} listed {number} entries. "
    question = f"\n\nHow many entries did {name} list? Answer with the number alone."
    return Canary(text[:where] + fact + text[where:] + question, number)


def likeness(one: str, other: str) -> float:
    """From 0 to 1; 1 also for two answers without longer words that are equal."""
    left, right = (Counter(_WORD.findall(text.casefold())) for text in (one, other))
    if not left and not right:
        return float(one.split() == other.split())
    return 2 * (left & right).total() / (left.total() + right.total())
