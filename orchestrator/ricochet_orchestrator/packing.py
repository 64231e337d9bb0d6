"""How inputs share prompts: which go into one call, and what is cut because no call can hold it.

Answers that are not there yet count with the most they may take, and groups are even, so that none
holds a lone answer. Texts that are there count with what they take; one that is too long for any
call is divided at its best boundaries, never shortened.
"""

from collections.abc import Sequence
from itertools import pairwise

import msgspec

from ricochet_orchestrator.plan import JOINT_TOKENS, Source, text_key
from ricochet_orchestrator.segment import TokenCounter, pieces


def divided(sources: Sequence[Source], space: int, count: TokenCounter) -> list[Source]:
    """The sources, texts that exceed `space` tokens in several pieces."""
    result: list[Source] = []
    for source in sources:
        if source.step is not None or source.segment is not None or source.tokens <= space:
            result.append(source)
            continue
        heading = count(source.label) + JOINT_TOKENS if source.label else 0
        for piece in pieces(source.text, space - heading, count):
            if piece.strip():
                tokens = count(piece) + heading
                result.append(
                    msgspec.structs.replace(source, text=piece, key=text_key(piece), tokens=tokens)
                )
    return result


def groups(
    sources: Sequence[Source], space: int, most: int | None
) -> list[tuple[Source, ...]] | None:
    """Sources that share a prompt, at most `most` each; None when two answers never fit in one."""
    if all(source.step is None for source in sources):
        return _filled(sources, space, most)
    fit = space // (max(source.tokens for source in sources) + JOINT_TOKENS)
    size = fit if most is None else min(fit, most)
    if size < min(2, len(sources)):
        return None
    number = -(-len(sources) // size)
    bounds = [len(sources) * index // number for index in range(number + 1)]
    return [tuple(sources[start:end]) for start, end in pairwise(bounds)]


def _filled(sources: Sequence[Source], space: int, most: int | None) -> list[tuple[Source, ...]]:
    made: list[tuple[Source, ...]] = []
    group: list[Source] = []
    used = 0
    for source in sources:
        if group and (used + source.tokens + JOINT_TOKENS > space or len(group) == most):
            made.append(tuple(group))
            group, used = [], 0
        group.append(source)
        used += source.tokens + JOINT_TOKENS
    return [*made, tuple(group)] if group else made
