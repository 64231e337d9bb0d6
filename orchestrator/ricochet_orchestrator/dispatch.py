"""Who is asked next for a step, and when trying ends.

The dispatcher knows the offers, one client for each node, and what has been tried for each step. It
makes no call itself: it hands out assignments and hears how they ended. A step that was being asked
when an earlier process ended goes to the same node first, because that node may hold its answer.

A peer that fails before its first token has cost next to nothing, so a step goes on to the next
peer until all were asked, at most `MAX_PEERS`; other failures count towards `MAX_TRIES`.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import msgspec

from ricochet_orchestrator.call_shape import form_of, needed_features, prefix_of, request_id_of
from ricochet_orchestrator.chain_language import ChainStep
from ricochet_orchestrator.checkpoint import Status, StepRecord
from ricochet_orchestrator.client import NodeClient, Served
from ricochet_orchestrator.eligible import ELIGIBLE
from ricochet_orchestrator.growth import Growth
from ricochet_orchestrator.hedge import Hedge
from ricochet_orchestrator.memory import Memory
from ricochet_orchestrator.offers import OFFER_WAIT, Offers, no_peer
from ricochet_orchestrator.plan import Step, StepId, needed_window
from ricochet_orchestrator.route import Candidate, Need, Router
from ricochet_orchestrator.setting import Setting
from ricochet_orchestrator.step_budget import StepBudgets
from ricochet_orchestrator.suppliers import Suppliers
from ricochet_protocol.advert import SignedAdvert
from ricochet_protocol.conversation import AnswerFormat, Turn
from ricochet_protocol.errors import BudgetError, RemoteCode, RemoteFault, RicochetError
from ricochet_protocol.ids import ModelId, PeerId, RequestId
from ricochet_protocol.money import Units
from ricochet_protocol.ports import Subscription
from ricochet_protocol.steps import Metered

MAX_TRIES: Final = 6
"""Calls of one step that may fail before it is given up; see above for what does not count."""
MAX_PEERS: Final = 24
"""Peers that one step may be tried at before their failures count: cheap is not free."""
MAX_BUSY: Final = 120
"""Calls of one step that may meet a full node; each costs half a second of waiting."""
REUNION: Final = 5.0
"""Seconds that a step waits at the start for the node which may hold its answer."""
_decode_advert = msgspec.msgpack.Decoder(SignedAdvert).decode


@dataclass(frozen=True)
class Assignment:
    """One call to make. `earlier` is the advert of the same ask's last try, if there was one."""

    step: Step
    client: NodeClient
    turns: tuple[Turn, ...]
    form: AnswerFormat
    worst: Units
    opening: Units
    request_id: RequestId
    earlier: SignedAdvert | None
    attempt: int
    need: Need

    @property
    def at(self) -> tuple[PeerId, ModelId]:
        """Of whom, and of which model's, opinion the call will speak."""
        return self.client.peer, self.step.model


@dataclass
class _Effort:
    """What has been done for one step."""

    tries: int = 0
    failovers: int = 0
    busy: int = 0
    conflicts: int = 0
    avoid: set[PeerId] = field(default_factory=set)
    begun: set[PeerId] = field(default_factory=set)
    asked: PeerId | None = None
    terms: SignedAdvert | None = None
    reunion: bool = False


class Dispatcher:
    """One run's assignments. Times are the event loop's, in seconds."""

    def __init__(
        self,
        setting: Setting,
        offers: Offers,
        subscription: Subscription,
        growth: Growth,
        windows: Mapping[ModelId, int],
        known: tuple[StepRecord, ...],
        budgets: StepBudgets,
    ) -> None:
        self._setting = setting
        self._offers = offers
        self._suppliers = Suppliers(setting, offers, subscription)
        self._growth = growth
        self._windows = windows
        self._router = Router(setting.seed, setting.routing.strategy, setting.routing.max_latency)
        now = asyncio.get_running_loop().time()
        self._hedge = Hedge(setting.routing.hedge)
        self._memory = Memory(setting.store, self._router, setting.clock, now)
        self._unaffordable: dict[PeerId, BudgetError] = {}
        self._efforts = {record.id: _effort(record) for record in known}
        self._budgets = budgets
        self._sizes: dict[StepId, int] = {}
        self._seen: dict[tuple[str, ModelId], list[Candidate]] = {}
        self._began = self._hopeful = now

    def look(self) -> None:
        """See who offers what now: `can_take` and `assign` hold on to it until the next look."""
        self._seen.clear()

    def can_take(self, step: ChainStep, model: ModelId, now: float) -> bool:
        """Whether anybody could take a call of the chain step now, and its budget allows one."""
        if self._budgets.exceeded(step) is not None:
            return False
        return any(self._router.ready(one, now) for one in self._seen_candidates(step, model))

    def assign(self, step: Step, now: float) -> Assignment | None:
        """A call for the step, None while nobody can take it or its budget does not hold it."""
        effort = self._efforts.setdefault(step.id, _Effort())
        candidates = self._seen_candidates(step.spec, step.model)
        if effort.reunion and now < self._began + REUNION:
            candidates = [one for one in candidates if one.peer == effort.asked]
        size = self._sizes.get(step.id, 0)
        wide = [one for one in candidates if one.offer.context >= size]
        if not any(self._router.ready(one, now) for one in wide):
            return None
        turns, counted = self._growth.turns(step, self._windows[step.model])
        size = self._sizes[step.id] = needed_window(step.model, counted, step.max_tokens)
        wide = [one for one in wide if one.offer.context >= size]
        if effort.reunion and any(one.peer == effort.asked for one in wide):
            wide = [one for one in wide if one.peer == effort.asked]
        text = "".join(turn.content for turn in turns)
        need = Need(counted, step.max_tokens, prefix_of(text))
        chosen = self._router.choose(wide, need, now, effort.avoid)
        if chosen is None:
            return None
        earlier = effort.terms if effort.asked == chosen.peer else None
        assignment = self._open(step, turns, need, chosen, earlier)
        if assignment is not None:
            self._hedge.earn(self._router.parts(chosen, need).cost)
            effort.asked, effort.terms = chosen.peer, chosen.advert
        return assignment

    def may_race(self, assignment: Assignment) -> bool:
        """Whether the call may ever have a rival."""
        # What may be replayed is paid already, and comes when the node is found.
        return self._hedge.on and assignment.earlier is None

    def late_after(self, assignment: Assignment) -> float | None:
        """Seconds after which its first token is late; None while too little is known."""
        return self._hedge.late_after(assignment.step.model)

    def rival(self, assignment: Assignment, now: float) -> Assignment | None:
        """The same call of another peer, None when nobody can take it or it would cost too much."""
        step, need = assignment.step, assignment.need
        effort = self._efforts[step.id]
        size = self._sizes[step.id]
        others = [
            one
            for one in self._candidates(step.spec, step.model)
            if one.offer.context >= size and one.peer not in {assignment.client.peer, *effort.avoid}
        ]
        chosen = self._router.choose(others, need, now)
        if chosen is None or not self._hedge.afford(self._router.parts(chosen, need).cost):
            return None
        return self._open(step, assignment.turns, need, chosen, None)

    def probe(
        self,
        step: Assignment,
        turns: tuple[Turn, ...],
        *,
        same_peer: bool,
        most: Units | None = None,
    ) -> Assignment | None:
        """A check on a step's peer or on another, None when nobody can take it within `most`.

        It is outside the step's budget and tries; one of the next three follows.
        """
        now = asyncio.get_running_loop().time()
        counted = sum(self._setting.count(turn.content) for turn in turns)
        need = Need(counted, step.need.max_tokens)
        window = needed_window(step.step.model, counted, need.max_tokens)
        candidates = [
            one
            for one in self._candidates(step.step.spec, step.step.model)
            if (one.peer == step.client.peer) == same_peer and one.offer.context >= window
        ]
        chosen = self._router.choose(candidates, need, now)
        if chosen is None:
            return None
        worst = Metered(chosen.offer, counted, need.max_tokens).worst
        if most is not None and worst > most:
            return None
        self._router.started(chosen.peer)
        content = f"{[turn.content for turn in turns]}{chosen.peer}"
        return replace(
            step,
            client=self.client(chosen.advert),
            turns=turns,
            form=AnswerFormat() if same_peer else form_of(step.step.spec, chosen.offer),
            worst=worst,
            request_id=request_id_of(StepId(content), self._setting.payer.subscriber),
            earlier=None,
            need=need,
        )

    def probe_served(self, assignment: Assignment, served: Served) -> None:
        """A check was answered."""
        now = asyncio.get_running_loop().time()
        tokens = served.receipt.receipt.tokens_out
        timing = (served.first_token, served.seconds, tokens)
        self._router.served(assignment.at, assignment.need, now, timing)
        self._memory.note(*assignment.at, urgent=False, now=now)

    def probe_failed(self, assignment: Assignment, error: RicochetError) -> None:
        """A check failed."""
        now = asyncio.get_running_loop().time()
        if isinstance(error, BudgetError):
            self._router.released(assignment.client.peer)
            return
        wait = error.wait if isinstance(error, RemoteFault) else 0
        self._router.failed(assignment.at, error.code, now, wait)
        self._memory.note(*assignment.at, urgent=wait > 0, now=now)

    def probe_dropped(self, assignment: Assignment) -> None:
        """A check was cut off here."""
        self._router.released(assignment.client.peer)

    def judged(self, assignment: Assignment, likeness: float, caught: bool) -> None:
        """What a check says of a peer."""
        self._router.probed(assignment.at, likeness, caught)
        now = asyncio.get_running_loop().time()
        self._memory.note(*assignment.at, urgent=False, now=now)

    def _open(
        self,
        step: Step,
        turns: tuple[Turn, ...],
        need: Need,
        chosen: Candidate,
        earlier: SignedAdvert | None,
    ) -> Assignment | None:
        """A call of the step to this peer, None when the step's budget does not hold it."""
        metered = Metered(chosen.offer, need.counted, need.max_tokens)
        worst = metered.worst
        if not self._budgets.open(step.spec, worst):
            return None
        effort = self._efforts[step.id]
        self._router.started(chosen.peer)
        effort.begun.discard(chosen.peer)
        return Assignment(
            step=step,
            client=self.client(chosen.advert),
            turns=turns,
            form=form_of(step.spec, chosen.offer),
            worst=worst,
            opening=metered.opening,
            request_id=request_id_of(
                step.id,
                self._setting.payer.subscriber,
                effort.conflicts,
                logged=self._setting.allow_logging,
            ),
            earlier=earlier,
            attempt=effort.tries + effort.failovers + effort.busy + 1,
            need=need,
        )

    def served(self, assignment: Assignment, served: Served, now: float) -> None:
        """The call was answered."""
        tokens = served.receipt.receipt.tokens_out
        timing = (served.first_token, served.seconds, tokens)
        self._router.served(assignment.at, assignment.need, now, timing)
        self._hedge.saw(assignment.step.model, served.first_token)
        self._memory.note(*assignment.at, urgent=False, now=now)
        self._budgets.close(assignment.step.spec, assignment.worst, served.receipt.receipt.cost)

    def outrun(self, assignment: Assignment, waited: float) -> None:
        """The call was cut off without a first token, because its rival's had come."""
        self._router.outrun(assignment.at, waited)
        # What its node keeps is settled with the account; the step's budget is for answers.
        lost = assignment.opening
        self._budgets.close(assignment.step.spec, assignment.worst, Units(0), lost)

    def close(self, now: float) -> None:
        """Keep what was learnt."""
        self._memory.keep(now)

    def begun(self, assignment: Assignment) -> None:
        """The call's first token has come."""
        self._efforts[assignment.step.id].begun.add(assignment.client.peer)

    def moved(self, assignment: Assignment) -> bool:
        """Whether a rival has taken the call over: the step is its to be asked of from now on."""
        effort = self._efforts[assignment.step.id]
        if effort.asked == assignment.client.peer:
            return False
        effort.asked, effort.terms = assignment.client.peer, assignment.client.advert
        return True

    def failed(self, assignment: Assignment, error: RicochetError, now: float) -> bool:
        """The call failed; whether the step may be tried again."""
        effort = self._efforts[assignment.step.id]
        peer = assignment.client.peer
        effort.reunion = False
        lost = _lost(assignment, error, peer in effort.begun)
        self._budgets.close(assignment.step.spec, assignment.worst, Units(0), lost)
        if isinstance(error, BudgetError):
            self._unaffordable[peer] = error
            self._router.released(peer)
            return True
        wait = error.wait if isinstance(error, RemoteFault) else 0
        self._router.failed(assignment.at, error.code, now, wait)
        self._memory.note(*assignment.at, urgent=wait > 0, now=now)
        if error.code == RemoteCode.CONFLICT:
            # The node knows this request id with other content (an answer was lost and made anew
            # here, or the period changed): another id makes it another call.
            effort.conflicts += 1
        if error.code == RemoteCode.BUSY:
            effort.busy += 1
        else:
            effort.avoid.add(peer)
            step = assignment.step
            untried = {one.peer for one in self._candidates(step.spec, step.model)} - effort.avoid
            if untried and peer not in effort.begun and effort.failovers < MAX_PEERS:
                effort.failovers += 1
            else:
                effort.tries += 1
        return effort.tries < MAX_TRIES and effort.busy < MAX_BUSY

    def hopeless(self, waiting: list[Step], now: float) -> RicochetError | None:
        """Why none of the steps will ever be served; None while there is hope.

        To be asked while no call is out: one that ends may free money for others.
        """
        affordable = [one for one in waiting if self._budgets.exceeded(one.spec) is None]
        if not affordable:
            return self._budgets.exceeded(waiting[0].spec)
        if any(
            one.offer.context >= self._windows[step.model]
            for step in affordable
            for one in self._candidates(step.spec, step.model)
        ):
            self._hopeful = now
            return None
        offered = {one.advert.peer for one in self._offers.believed()}
        broke = [error for peer, error in self._unaffordable.items() if peer in offered]
        if broke:
            return broke[0]
        if now < self._hopeful + OFFER_WAIT:
            return None
        first = affordable[0]
        needs = needed_features(first.spec)
        return self._offers.unreachable or no_peer(first.model, self._offers, needs)

    def client(self, advert: SignedAdvert) -> NodeClient:
        """The client of the node that signed the advert."""
        return self._suppliers.client(advert)

    def _seen_candidates(self, step: ChainStep, model: ModelId) -> list[Candidate]:
        """The candidates as of the last look: they are alike for all calls of a chain step."""
        key = (step.name, model)
        if key not in self._seen:
            self._seen[key] = self._candidates(step, model)
        return self._seen[key]

    def _candidates(self, step: ChainStep, model: ModelId) -> list[Candidate]:
        needs = needed_features(step)
        found = self._suppliers.candidates(model, needs, self._unaffordable)
        return [one for one in found if self._router.fit(one) == ELIGIBLE]


def _lost(assignment: Assignment, error: RicochetError, begun: bool) -> Units:
    """What a failed call's node may keep: nothing if it took no call, else what was signed."""
    if isinstance(error, BudgetError) or error.code == RemoteCode.BUSY:
        return Units(0)
    return assignment.worst if begun else assignment.opening


def _effort(record: StepRecord) -> _Effort:
    if record.status not in (Status.RUNNING, Status.PAUSED) or record.peer is None:
        return _Effort()
    terms = None if record.advert is None else _decode_advert(record.advert)
    return _Effort(asked=record.peer, terms=terms, reunion=True)
