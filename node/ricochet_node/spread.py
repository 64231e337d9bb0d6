"""Which source serves the next call of an offer: smooth weighted round-robin, or the least loaded.

Each choice gives every candidate its weight and takes the sum from the one that is chosen, the one
that has most. So the calls of a source never differ from its share by a whole call or more, and
heavy ones do not come in a row; equal weights are round-robin. A source that was away is given
nothing for that time: it does not catch up.
"""

from collections.abc import Callable, Sequence

from ricochet_node.offer import Balance, Source


class Spread:
    """The choices of one offer."""

    def __init__(self) -> None:
        self._given: dict[tuple[str, str], int] = {}

    def choose(
        self, candidates: Sequence[Source], balance: Balance, load: Callable[[Source], int]
    ) -> Source:
        """One of the candidates, at least one; `load` gives the open calls of each."""
        if balance == "least-loaded":
            fewest = min(map(load, candidates))
            candidates = [one for one in candidates if load(one) == fewest]
        weights = [one.weight if balance == "weighted" else 1 for one in candidates]
        for source, weight in zip(candidates, weights, strict=True):
            self._given[_place(source)] = self._given.get(_place(source), 0) + weight
        chosen = max(candidates, key=lambda source: self._given[_place(source)])
        self._given[_place(chosen)] -= sum(weights)
        return chosen


def _place(source: Source) -> tuple[str, str]:
    return source.key, source.upstream_model
