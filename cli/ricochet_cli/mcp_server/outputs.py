"""What tools return, as structured content: the schemas that clients see are made from these.

Amounts are in millionths of a dollar, times in Unix seconds, durations in seconds.
"""

from typing import Any

from typing_extensions import TypedDict


class Part(TypedDict):
    """One thing that Ricochet needs; `mend` is what to do, "" when it is there."""

    about: str
    ready: bool
    detail: str
    mend: str


class StatusOut(TypedDict):
    """What is here, and the terminal commands that are still to be given."""

    version: str
    project: str
    home: str
    parts: list[Part]
    tasks: dict[str, int]
    runs: int
    at_work: list[str]
    next: list[str]


class InitOut(TypedDict):
    """What was made now, and what is still to be done in a terminal."""

    project: str
    home: str
    made: list[str]
    network: str | None
    next: list[str]


class ChainStepOut(TypedDict):
    """One step of a chain."""

    name: str
    role: str
    mode: str
    model: str | None


class ChainOut(TypedDict):
    """A chain; `parameters` are texts it takes, with what each is."""

    name: str
    description: str
    steps: list[ChainStepOut]
    parameters: dict[str, str]


class ChainsOut(TypedDict):
    """Chains that can be run here."""

    chains: list[ChainOut]


class ChainMadeOut(TypedDict):
    """A chain file that was written; `models` by step."""

    name: str
    path: str
    models: dict[str, str | None]


class RunOut(TypedDict):
    """A run in short."""

    id: str
    status: str
    chain: str
    document: str
    model: str | None
    seconds: float
    created_at: float
    error: str | None


class StartedOut(TypedDict):
    """A run that was started, or what it would take."""

    run: RunOut | None
    estimate: dict[str, Any] | None
    skipped: list[str]


class StageOut(TypedDict):
    """A step of the chain, with how many of its calls stand where."""

    name: str
    role: str
    calls: dict[str, int]


class TroubleOut(TypedDict):
    """A call that was given up."""

    step: str
    name: str
    error: str


class RunStatusOut(TypedDict):
    """Where a run stands."""

    run: RunOut
    done: int
    steps: int
    calls: int
    tokens_in: int
    tokens_out: int
    cost: int
    stages: list[StageOut]
    troubles: list[TroubleOut]
    hint: str


class ViewOut(TypedDict):
    """A moment of a run, a step or a task; `left` is the time that remains by the pace so far."""

    run: str | None
    step: str | None
    task: str | None
    title: str
    status: str
    models: list[str]
    roles: list[str]
    done: int
    total: int
    percent: int
    seconds: float
    left: float | None
    tokens_in: int
    tokens_out: int
    cost: int
    error: str | None


class PassageOut(TypedDict):
    """A passage that was quoted for the result: characters of its segment's file."""

    start: int
    end: int
    places: list[str]


class CitationOut(TypedDict):
    """A segment that the result cites by its number, and what was quoted of it.

    Without passages, the segment was read as a whole.
    """

    number: int
    file: str
    start: int
    end: int
    places: list[str]
    passages: list[PassageOut]


class ResultOut(TypedDict):
    """What a run has come to; `output` is "" when it has nothing yet."""

    run: RunOut
    output: str
    citations: list[CitationOut]
    calls: int
    tokens_in: int
    tokens_out: int
    cost: int
    hint: str


class RoleOut(TypedDict):
    """The model of a role and which file says so; None: what most peers offer."""

    role: str
    model: str | None
    origin: str


class OfferOut(TypedDict):
    """A model on offer: lowest prices in millionths of a dollar per million tokens."""

    model: str
    peers: int
    price_in: int
    price_out: int
    context: int
    first_token: float | None


class ModelsOut(TypedDict):
    """Models by role, and what peers offer now where that was asked for."""

    roles: list[RoleOut]
    available: list[OfferOut] | None


class TaskOut(TypedDict):
    """A task in a list. `7.2` is subtask 2 of task 7."""

    id: str
    title: str
    status: str
    priority: str
    complexity: int | None
    dependencies: list[str]
    waits_for: list[str]
    subtasks: int
    subtasks_completed: int


class TasksOut(TypedDict):
    """Tasks of a tag; `total` counts those that the filters let through."""

    tag: str
    total: int
    tasks: list[TaskOut]


class TaskDetailsOut(TaskOut):
    """A task with its texts."""

    description: str
    details: str
    test_strategy: str


class NextTaskOut(TypedDict):
    """The task to work on next; None when nothing can be begun."""

    tag: str
    task: TaskDetailsOut | None


class TaskAddedOut(TypedDict):
    """The new task's id."""

    added: str


class TasksChangedOut(TypedDict):
    """Tasks whose status changed."""

    changed: list[str]


class SeenOfferOut(TypedDict):
    """An offer of one peer."""

    model: str
    price_in: int
    price_out: int
    context: int
    slots: int
    free: int


class SeenPeerOut(TypedDict):
    """A peer; `ping` in seconds, None when it did not answer."""

    peer: str
    operator: str
    region: str
    connected: bool
    ping: float | None
    offers: list[SeenOfferOut]


class NetworkOut(TypedDict):
    """The network as seen from this machine."""

    known: int
    connected: int
    peers: list[SeenPeerOut]


class PeriodOut(TypedDict):
    """A paid period."""

    number: int
    delegate: str
    budget: int
    committed: int
    paid: int
    start: int
    end: int


class NodePaidOut(TypedDict):
    """What a period commits to a node, and what that has claimed."""

    period: int
    node: str
    committed: int
    claimed: int


class SubscriptionOut(TypedDict):
    """The subscription as the contract has it."""

    running: bool
    auto_renew: bool
    refundable: int
    closable: list[int]
    period: PeriodOut | None
    nodes: list[NodePaidOut]
