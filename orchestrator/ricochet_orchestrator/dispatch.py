"""Who is asked next for a step, and when trying ends.

The dispatcher knows the offers, one client for each node, and what has been tried for each step. It
makes no call itself: it hands out assignments and hears how they ended. A step that was being asked
when an earlier process ended goes to the same node first, because that node may hold its answer.
"""

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec

from ricochet_orchestrator.checkpoint import Status, StepRecord
from ricochet_orchestrator.client import NodeClient
from ricochet_orchestrator.offers import Offers
from ricochet_orchestrator.plan import Plan, Step, StepId, needed_window, prompt_of
from ricochet_orchestrator.route import Candidate, Router
from ricochet_orchestrator.setting import Setting
from ricochet_orchestrator.suppliers import Suppliers
from ricochet_protocol.advert import SignedAdvert
from ricochet_protocol.errors import BudgetError, LocalFault, RemoteCode, RicochetError
from ricochet_protocol.ids import Address, ModelId, PeerId, RequestId
from ricochet_protocol.ports import Subscription

MAX_TRIES: Final = 6
"""Calls of one step that may fail before it is given up."""
MAX_BUSY: Final = 120
"""Calls of one step that may meet a full node; each costs half a second of waiting."""
OFFER_WAIT: Final = 10.0
"""Seconds to wait for a peer that offers a model: joining a network takes a few."""
REUNION: Final = 5.0
"""Seconds that a step waits at the start for the node which may hold its answer."""
_decode_advert = msgspec.msgpack.Decoder(SignedAdvert).decode


@dataclass(frozen=True)
class Assignment:
    """One call to make. `earlier` is the advert of the same ask's last try, if there was one."""

    step: Step
    client: NodeClient
    prompt: str
    request_id: RequestId
    earlier: SignedAdvert | None
    attempt: int


@dataclass
class _Effort:
    """What has been done for one step."""

    tries: int = 0
    busy: int = 0
    conflicts: int = 0
    avoid: set[PeerId] = field(default_factory=set)
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
        plan: Plan,
        windows: Mapping[ModelId, int],
        known: tuple[StepRecord, ...],
    ) -> None:
        self._setting = setting
        self._offers = offers
        self._suppliers = Suppliers(setting, offers, subscription)
        self._plan = plan
        self._windows = windows
        self._router = Router(setting.seed)
        self._unaffordable: dict[PeerId, BudgetError] = {}
        self._efforts = {record.id: _effort(record) for record in known}
        self._began = self._hopeful = asyncio.get_running_loop().time()

    def assign(self, step: Step, answers: Mapping[StepId, str], now: float) -> Assignment | None:
        """A call for the step, None while nobody can take it."""
        effort = self._efforts[step.id]
        candidates = self._candidates(step.model)
        if effort.reunion and now < self._began + REUNION:
            candidates = [one for one in candidates if one.peer == effort.asked]
        if not any(self._router.ready(one, now) for one in candidates):
            return None
        count = self._setting.count
        prompt = prompt_of(step, self._plan, answers, self._windows[step.model], count)
        counted = count(prompt)
        window = needed_window(step.model, counted, step.max_tokens)
        wide = [one for one in candidates if one.offer.context >= window]
        if effort.reunion and any(one.peer == effort.asked for one in wide):
            wide = [one for one in wide if one.peer == effort.asked]
        chosen = self._router.choose(wide, counted, step.max_tokens, now, effort.avoid)
        if chosen is None:
            return None
        self._router.started(chosen.peer)
        earlier = effort.terms if effort.asked == chosen.peer else None
        effort.asked, effort.terms = chosen.peer, chosen.advert
        return Assignment(
            step=step,
            client=self.client(chosen.advert),
            prompt=prompt,
            request_id=request_id_of(
                step.id,
                self._setting.payer.subscriber,
                effort.conflicts,
                logged=self._setting.allow_logging,
            ),
            earlier=earlier,
            attempt=effort.tries + effort.busy + 1,
        )

    def served(self, assignment: Assignment, first_token: float) -> None:
        """The call was answered."""
        self._router.served(assignment.client.peer, first_token)

    def failed(self, assignment: Assignment, error: RicochetError, now: float) -> bool:
        """The call failed; whether the step may be tried again."""
        effort = self._efforts[assignment.step.id]
        peer = assignment.client.peer
        effort.reunion = False
        if isinstance(error, BudgetError):
            self._unaffordable[peer] = error
            self._router.released(peer)
            return True
        self._router.failed(peer, error.code, now)
        if error.code == RemoteCode.CONFLICT:
            # The node knows this request id with other content (an answer was lost and made anew
            # here, or the period changed): another id makes it another call.
            effort.conflicts += 1
        if error.code == RemoteCode.BUSY:
            effort.busy += 1
        else:
            effort.tries += 1
            effort.avoid.add(peer)
        return effort.tries < MAX_TRIES and effort.busy < MAX_BUSY

    def hopeless(self, waiting: list[Step], now: float) -> RicochetError | None:
        """Why none of the steps will ever be served; None while there is hope.

        To be asked while no call is out: one that ends may free money for others.
        """
        if any(
            one.offer.context >= self._windows[step.model]
            for step in waiting
            for one in self._candidates(step.model)
        ):
            self._hopeful = now
            return None
        offered = {one.advert.peer for one in self._offers.believed()}
        broke = [error for peer, error in self._unaffordable.items() if peer in offered]
        if broke:
            return broke[0]
        if now < self._hopeful + OFFER_WAIT:
            return None
        return self._offers.unreachable or no_peer(waiting[0].model, self._offers)

    def client(self, advert: SignedAdvert) -> NodeClient:
        """The client of the node that signed the advert."""
        return self._suppliers.client(advert)

    def _candidates(self, model: ModelId) -> list[Candidate]:
        return self._suppliers.candidates(model, without=self._unaffordable)


def request_id_of(
    step: StepId, subscriber: Address, conflicts: int = 0, *, logged: bool = False
) -> RequestId:
    """The request id of a step's ask: the same in every process, so that a node can replay.

    An ask that may be `logged` is another ask than one that may not.
    """
    text = f"{step}{subscriber}" + (f"#{conflicts}" if conflicts else "")
    text += "+logged" if logged else ""
    return RequestId(hashlib.sha256(text.encode()).hexdigest()[:32])


def no_peer(model: ModelId | None, offers: Offers) -> LocalFault:
    """The error for a model that nobody offers; None stands for any model at all."""
    offered = offers.models()
    what = "a model" if model is None else f"the model {model} with the window the run needs"
    hint = (
        f"Models on offer now: {', '.join(offered)}. Choose one with --model, or try again later."
        if offered
        else "No registered node answers. Check that nodes are running and that `bootstrap` in "
        "network.json names one, then run the same command again."
    )
    return LocalFault("no_peer", f"No peer offers {what}.", hint)


def _effort(record: StepRecord) -> _Effort:
    if record.status not in (Status.RUNNING, Status.PAUSED) or record.peer is None:
        return _Effort()
    terms = None if record.advert is None else _decode_advert(record.advert)
    return _Effort(asked=record.peer, terms=terms, reunion=True)
