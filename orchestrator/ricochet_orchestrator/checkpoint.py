"""What the store keeps of a run, as values: where runs and steps stand, and what answers cost.

Kept apart from the tables so that code which only shows or passes these values does not load the
database library. Times are Unix seconds, durations seconds, amounts units of the token.
"""

from enum import StrEnum
from typing import Final

import msgspec

from ricochet_orchestrator.plan import StepId
from ricochet_protocol.ids import Address, ModelId, PeerId, Period
from ricochet_protocol.money import Units

STORE_FILE: Final = "runs.db"
"""In a home, where it keeps its runs."""


class Status(StrEnum):
    """Where a step stands (DESIGN §7)."""

    PENDING = "pending"
    READY = "ready"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    PAUSED = "paused"
    CANCELLED = "cancelled"


class RunStatus(StrEnum):
    """Where a run stands: `pending` waits for a process, in `partial` some steps were given up."""

    PENDING = "pending"
    RUNNING = "running"
    PAUSED = "paused"
    PARTIAL = "partial"
    COMPLETED = "completed"
    CANCELLED = "cancelled"


ENDED: Final = frozenset({RunStatus.COMPLETED, RunStatus.CANCELLED})
"""Runs that nobody goes on with."""


REFUSED: Final = "answer refused"
"""How the error of a step begins whose last answer did not pass; asking for it again is up to its
chain step's `retries`."""


class Wish(StrEnum):
    """What somebody wants of a run, whoever works on it."""

    RUN = "run"
    PAUSE = "pause"
    CANCEL = "cancel"


class Origin(msgspec.Struct, frozen=True, array_like=True):
    """Where a segment or passage is: file, offsets in its text in characters, pages or chapters."""

    part: str
    start: int
    end: int
    places: tuple[str, ...] = ()


class RunRecord(msgspec.Struct, frozen=True):
    """One run. `key` tells document, chain and models: an unfinished run with it is resumed.

    `model` answers the steps that name none; `windows` are what the plan was made for, so that a
    resumed run plans the same steps whoever offers the models by then. The answers of `outputs` are
    the run's text; `sources` are the document's segments, which it `cites` by number, or does not;
    `passages` are what was quoted of them, in the document's order.
    Before there is a plan, these are empty. `digest` names the document. `wish` is what was last
    asked of the run, `worker` names the process that worked on it last, `error` says why it
    stopped. `lost` is what failed calls may have cost, of all processes that worked on it.
    """

    id: str
    key: str
    document: str
    chain: str
    model: ModelId
    windows: dict[ModelId, int]
    status: RunStatus
    created_at: float
    outputs: tuple[StepId, ...]
    seconds: float = 0.0
    sources: tuple[Origin, ...] = ()
    passages: tuple[Origin, ...] = ()
    cites: bool = False
    digest: str = ""
    wish: Wish = Wish.RUN
    worker: str = ""
    error: str = ""
    lost: Units = Units(0)


class StepRecord(msgspec.Struct, frozen=True):
    """A step of a run. `peer` and `advert` tell whom it was asked of last, and on what terms.

    It reads the answers of `inputs` and the `segments`; a later `attempt` asks again for an answer
    to `slot` that was refused.
    """

    id: StepId
    name: str
    role: str
    model: ModelId
    status: Status
    peer: PeerId | None
    advert: bytes | None
    attempts: int
    error: str
    started_at: float | None
    completed_at: float | None
    inputs: tuple[StepId, ...] = ()
    segments: tuple[int, ...] = ()
    slot: StepId = StepId("")
    attempt: int = 0
    max_tokens: int = 0


class Answer(msgspec.Struct, frozen=True):
    """A completed step: the answer and who gave it for what; `receipt` and `advert` are proof.

    `run` is the run that paid for it: other runs that meet the same step use it for nothing.
    """

    step: StepId
    run: str
    text: str
    finish: str
    peer: PeerId
    operator: Address
    period: Period
    tokens_in: int
    tokens_out: int
    exact: bool
    cost: Units
    first_token: float
    seconds: float
    receipt: bytes
    advert: bytes
    completed_at: float


class Check(msgspec.Struct, frozen=True):
    """An answered check on a peer: a canary, or a second answer to a step of the run.

    Its text is not kept; what it cost is, beside the calls of API keys.
    """

    id: str
    kind: str
    run: str
    model: ModelId
    peer: PeerId
    operator: Address
    period: Period
    max_tokens: int
    cost: Units
    receipt: bytes
    advert: bytes
    completed_at: float


class Seen(msgspec.Struct, frozen=True):
    """What answers of one chain step by one model were like, in tokens and seconds."""

    mean: float
    least: int
    seconds: float


class Kind(msgspec.Struct, frozen=True):
    """What makes calls alike: their chain step's name, model and limit."""

    name: str
    model: ModelId
    max_tokens: int
