"""What a run has to show: its text and what it took, summed from the stored answers.

Sums come from the store, not from counters of the process, so that a run that was interrupted and
resumed shows all of itself. An answer that another run paid for costs this one nothing.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import median
from typing import Final

import msgspec

from ricochet_orchestrator.answer_check import cited
from ricochet_orchestrator.chains import TEMPLATES, available, project_folder
from ricochet_orchestrator.checkpoint import (
    ENDED,
    REFUSED,
    Answer,
    Origin,
    RunRecord,
    RunStatus,
    Status,
    StepRecord,
)
from ricochet_orchestrator.plan import StepId
from ricochet_orchestrator.progress import printable
from ricochet_protocol.errors import ExitCode
from ricochet_protocol.ids import Address, PeerId
from ricochet_protocol.money import Units

_SENTENCE_END: Final = re.compile(r"[.!?…]['\"”’)\]]*(?=\s|$)|[。！？][」』]*")  # noqa: RUF001 - as written


class PeerUse(msgspec.Struct, frozen=True):
    """What one peer did for a run; `first_token` is the median delay in seconds."""

    peer: PeerId
    operator: Address
    calls: int
    tokens_in: int
    tokens_out: int
    cost: Units
    first_token: float


class Citation(msgspec.Struct, frozen=True):
    """A segment that the result cites by its number, and the passages of it that were read.

    Without `passages` the segment was read as a whole, or by way of other answers.
    """

    number: int
    origin: Origin
    passages: tuple[Origin, ...] = ()


class RunResult(msgspec.Struct, frozen=True):
    """A run as it ended; `hint` says how to go on when it is not completed."""

    run_id: str
    status: RunStatus
    output: str
    steps: int
    calls: int
    tokens_in: int
    tokens_out: int
    cost: Units
    seconds: float
    peers: tuple[PeerUse, ...]
    hint: str = ""
    citations: tuple[Citation, ...] = ()

    @property
    def exit_code(self) -> ExitCode:
        """What the command ends with."""
        return _EXIT_CODES[self.status]


class RunState(msgspec.Struct, frozen=True):
    """A run as the store knows it. `owned`: a process is working on it now."""

    run: RunRecord
    steps: tuple[StepRecord, ...]
    result: RunResult
    owned: bool = False

    @property
    def done(self) -> int:
        """Steps that have an answer."""
        return sum(step.status is Status.COMPLETED for step in self.steps)


_EXIT_CODES: Final = {
    RunStatus.COMPLETED: ExitCode.OK,
    RunStatus.PARTIAL: ExitCode.PARTIAL,
    RunStatus.PAUSED: ExitCode.INTERRUPTED,
    RunStatus.CANCELLED: ExitCode.INTERRUPTED,
    RunStatus.RUNNING: ExitCode.FAILURE,
    RunStatus.PENDING: ExitCode.FAILURE,
}


def summarize(
    run: RunRecord,
    steps: Iterable[StepRecord],
    answers: Mapping[StepId, Answer],
    hint: str = "",
) -> RunResult:
    """The result of a run with these steps, and the answers there are to them."""
    output = "\n\n".join(shown(answers[step]) for step in run.outputs if step in answers)
    paid = [answer for answer in answers.values() if answer.run == run.id]
    steps = tuple(steps)
    refused = refused_for_good(steps)
    if run.status is RunStatus.PARTIAL and refused:
        hint = raise_retries(run.chain, refused)
    silent = run.status is RunStatus.COMPLETED and not run.outputs
    return RunResult(
        run_id=run.id,
        status=run.status,
        output=output,
        steps=len(steps),
        calls=len(paid),
        tokens_in=sum(answer.tokens_in for answer in paid),
        tokens_out=sum(answer.tokens_out for answer in paid),
        cost=Units(sum(answer.cost for answer in paid)),
        seconds=run.seconds,
        peers=_by_peer(paid),
        hint=no_result() if silent else "" if run.status in ENDED else hint,
        citations=_citations(output, run) if run.cites else (),
    )


def refused_for_good(steps: Iterable[StepRecord]) -> tuple[str, ...]:
    """The chain steps whose answers were refused, where nothing else failed."""
    failed = [step for step in steps if step.status is Status.FAILED]
    if not all(step.error.startswith(REFUSED) for step in failed):
        return ()
    return tuple(sorted({step.name for step in failed}))


def no_result() -> str:
    """Why a run that is complete has none."""
    return (
        "There is no result: the chain's last step made no call, because a condition of it does "
        "not hold or there is nothing for it to read."
    )


def raise_retries(chain: str, names: Iterable[str]) -> str:
    """How to go on when answers of these steps were refused as often as the chain allows."""
    listed = ", ".join(names)
    if chain in available((TEMPLATES,)) and chain not in available((project_folder(Path.cwd()),)):
        return (
            f"Make the chain yours (ricochet chain create --name mine --from {chain}), raise "
            f"`retries` of {listed} in it, then run it over the same document: answers that passed "
            "count."
        )
    return (
        f"Raise `retries` of {listed} in the chain (ricochet chain edit {chain}), then run it "
        "over the same document: answers that passed count."
    )


def passages_of(run: RunRecord, segment: Origin) -> tuple[Origin, ...]:
    """What was quoted of a segment: a passage has the number of the one that it begins in."""
    return tuple(
        one
        for one in run.passages
        if one.part == segment.part and segment.start <= one.start < segment.end
    )


def _citations(output: str, run: RunRecord) -> tuple[Citation, ...]:
    numbers = (number for number in cited(output) if 0 < number <= len(run.sources))
    origins = ((number, run.sources[number - 1]) for number in numbers)
    return tuple(Citation(number, one, passages_of(run, one)) for number, one in origins)


def shown(answer: Answer) -> str:
    """An answer for a person: no control characters, no half sentence where it was cut off."""
    text = printable(answer.text).strip()
    return text if answer.finish == "stop" else whole_sentences(text)


def whole_sentences(text: str) -> str:
    """`text` up to its last full sentence; all of it when there is none."""
    ends = [match.end() for match in _SENTENCE_END.finditer(text)]
    return text[: ends[-1]] if ends else text


def _by_peer(answers: Iterable[Answer]) -> tuple[PeerUse, ...]:
    groups: dict[PeerId, list[Answer]] = {}
    for answer in answers:
        groups.setdefault(answer.peer, []).append(answer)
    return tuple(
        PeerUse(
            peer=peer,
            operator=group[0].operator,
            calls=len(group),
            tokens_in=sum(answer.tokens_in for answer in group),
            tokens_out=sum(answer.tokens_out for answer in group),
            cost=Units(sum(answer.cost for answer in group)),
            first_token=median(answer.first_token for answer in group),
        )
        for peer, group in sorted(groups.items())
    )
