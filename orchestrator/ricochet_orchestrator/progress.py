"""What a run tells about itself while it goes on: events, and the sum of them.

Events are frozen values that say what happened; `Progress` folds them into what a person wants to
know, and is pure, so that any view (a terminal, a log, a test) shows the same. Text that came from
a peer passes through `printable` before it leaves the orchestrator, because a terminal obeys
control characters.
"""

import re

import msgspec

from ricochet_orchestrator.checkpoint import RunStatus
from ricochet_orchestrator.plan import StepId
from ricochet_orchestrator.printing import printable as printable
from ricochet_protocol.ids import ModelId, PeerId
from ricochet_protocol.money import Units


def _tag(name: str) -> str:
    """`StepStarted` as `step_started`, which is how it is written down."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


class Happening(msgspec.Struct, frozen=True, tag_field="event", tag=_tag):
    """Base of all events."""


class RunStarted(Happening, frozen=True):
    """The plan is made; `done` of its `steps` have answers already."""

    run: str
    document: str
    chain: str
    segments: int
    steps: int
    done: int
    resumed: bool


class OffersAwaited(Happening, frozen=True):
    """Nobody offers the model yet (None: any); the run waits for it, so many seconds at most."""

    model: ModelId | None
    seconds: float


class ModelReplaced(Happening, frozen=True):
    """Nobody offers the model that `steps` name, so the role `fallback` answers them."""

    model: ModelId
    by: ModelId
    steps: tuple[str, ...]


class PlanGrew(Happening, frozen=True):
    """Answers made more steps known; `steps` are all."""

    steps: int


class StepStarted(Happening, frozen=True):
    """A call goes out, for the `attempt`-th time in this process."""

    step: StepId
    name: str
    role: str
    model: ModelId
    peer: PeerId
    attempt: int


class FirstToken(Happening, frozen=True):
    """The answer begins, `seconds` after the ask."""

    step: StepId
    peer: PeerId
    seconds: float


class StepFinished(Happening, frozen=True):
    """An answer is stored. `cached`: it was there already and cost nothing now."""

    step: StepId
    name: str
    peer: PeerId
    tokens_in: int
    tokens_out: int
    cost: Units
    seconds: float
    cached: bool


class StepRetried(Happening, frozen=True):
    """A call failed and will be made again, elsewhere if possible."""

    step: StepId
    name: str
    peer: PeerId
    code: str
    reason: str


class StepRefused(Happening, frozen=True):
    """An answer did not pass its check: it is asked for again, or something stands in for it."""

    step: StepId
    name: str
    peer: PeerId
    reason: str


class StepFailed(Happening, frozen=True):
    """A step has used up its attempts."""

    step: StepId
    name: str
    code: str
    reason: str


class Reserved(Happening, frozen=True):
    """A reservation was signed: `total` units of the budget are the node's to earn."""

    peer: PeerId
    total: Units


class Paid(Happening, frozen=True):
    """The node has acknowledged a voucher for `cumulative` units in this period."""

    peer: PeerId
    cumulative: Units


class Probed(Happening, frozen=True):
    """A check on a peer came back: `likeness` to what was expected, from 0 to 1, and its cost."""

    peer: PeerId
    check: str
    likeness: float
    cost: Units


class PaymentDelayed(Happening, frozen=True):
    """A voucher could not be delivered; it goes out at the next contact."""

    peer: PeerId
    reason: str


class NoticeUndelivered(Happening, frozen=True):
    """A notice of the run's end did not get there."""

    channel: str
    reason: str


class RunFinished(Happening, frozen=True):
    """The run has ended for now."""

    run: str
    status: RunStatus
    seconds: float


Event = (
    RunStarted
    | OffersAwaited
    | ModelReplaced
    | PlanGrew
    | StepStarted
    | FirstToken
    | StepFinished
    | StepRetried
    | StepRefused
    | StepFailed
    | Reserved
    | Paid
    | PaymentDelayed
    | Probed
    | NoticeUndelivered
    | RunFinished
)


class Progress(msgspec.Struct, frozen=True):
    """Where a run stands. Tokens and cost are of this process's calls; `running` are calls."""

    total: int = 0
    done: int = 0
    failed: int = 0
    retries: int = 0
    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost: Units = Units(0)
    running: frozenset[StepId] = frozenset()

    def after(self, event: Event) -> "Progress":
        """The progress once `event` has happened."""
        change = msgspec.structs.replace
        match event:
            case RunStarted() | PlanGrew():
                return change(self, total=event.steps)
            case StepStarted():
                return change(self, running=self.running | {event.step})
            case StepFinished(cached=True):
                return change(self, done=self.done + 1)
            case StepFinished():
                return change(
                    self,
                    done=self.done + 1,
                    calls=self.calls + 1,
                    tokens_in=self.tokens_in + event.tokens_in,
                    tokens_out=self.tokens_out + event.tokens_out,
                    cost=Units(self.cost + event.cost),
                    running=self.running - {event.step},
                )
            case StepRetried():
                return change(self, retries=self.retries + 1, running=self.running - {event.step})
            case StepRefused():
                return change(self, retries=self.retries + 1)
            case StepFailed():
                return change(self, failed=self.failed + 1, running=self.running - {event.step})
            case _:
                return self

    def seconds_left(self, elapsed: float) -> float | None:
        """An estimate from the pace of this process's calls so far; None before the first.

        Calls under way count as half done: without them the pace of the first answers, which come
        together after a common wait, would look many times too slow.
        """
        if not self.calls:
            return None
        half_done = len(self.running) / 2
        left = max(0.0, self.total - self.done - self.failed - half_done)
        return elapsed / (self.calls + half_done) * left
