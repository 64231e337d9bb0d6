"""How close a summary is to the reference, and how sure a difference between two ways is.

ROUGE-L is the F-measure of the longest common subsequence of words (Lin, 2004), stemmed, from the
`rouge-score` package. Coverage is the mean over the three aspects of the share of the reference's
words, stemmed and without stop words, that the summary has. Differences are paired by paper; their
95 % confidence interval is a percentile bootstrap with a fixed seed.
"""

import random
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any, Final

import msgspec
from rouge_score.rouge_scorer import RougeScorer
from rouge_score.tokenizers import DefaultTokenizer

RESAMPLES: Final = 10_000
_WORDS: Final = """
a an and are as at be been but by can could do does for from had has have how in into is it its
may more most not of on or our out s such than that the their them then there these they this
those to up use used using was we were what when where which while who will with would
"""
_STOP: Final = frozenset(_WORDS.split())


class Scores(msgspec.Struct, frozen=True):
    """Of one summary; both from 0 to 1."""

    rouge_l: float
    coverage: float


class Scorer:
    """Scores summaries against references."""

    def __init__(self) -> None:
        self._rouge = RougeScorer(["rougeL"], use_stemmer=True)
        self._words = DefaultTokenizer(use_stemmer=True)

    def score(self, summary: str, reference: str, aspects: Mapping[str, str]) -> Scores:
        """Both measures of a summary."""
        said = set(self._words.tokenize(summary))
        shares = []
        for text in aspects.values():
            kept = " ".join(word for word in text.lower().split() if word not in _STOP)
            wanted = set(self._words.tokenize(kept)) - _STOP
            shares.append(len(wanted & said) / len(wanted))
        rouge: Any = self._rouge.score(reference, summary)["rougeL"]
        return Scores(rouge_l=rouge.fmeasure, coverage=fmean(shares))


class Difference(msgspec.Struct, frozen=True):
    """The mean of paired differences, and the interval that holds it with 95 % confidence."""

    mean: float
    low: float
    high: float
    pairs: int

    @property
    def verdict(self) -> str:
        """What the interval allows to say."""
        if self.low > 0:
            return "better"
        return "worse" if self.high < 0 else "not shown"


def difference(ones: Sequence[float], others: Sequence[float], seed: int = 1) -> Difference:
    """How much higher `ones` are than `others`, paired in order."""
    pairs = [one - other for one, other in zip(ones, others, strict=True)]
    chance = random.Random(seed)
    means = sorted(fmean(chance.choices(pairs, k=len(pairs))) for _ in range(RESAMPLES))
    low, high = means[RESAMPLES * 25 // 1000], means[RESAMPLES * 975 // 1000 - 1]
    return Difference(fmean(pairs), low, high, len(pairs))
