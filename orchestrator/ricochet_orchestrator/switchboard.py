"""Puts single conversations through to the network: who is asked, and when trying ends.

A call goes the way of a run's step (route → ask → answer, receipt and voucher in one transaction →
pay), but its text is passed on as it comes. Until the first piece has been passed on, a failed call
goes to another node; from then on it cannot, and the failure is the caller's to tell.

The switchboard lives as long as its program: it follows the directory and the subscription, shares
one router and one client a node among all calls, and hands vouchers over in tasks that it owns.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final

import msgspec

from ricochet_orchestrator.call_record import Call, CallAnswer, CallStatus
from ricochet_orchestrator.call_shape import prefix_of
from ricochet_orchestrator.calls import Calls
from ricochet_orchestrator.client import NodeClient
from ricochet_orchestrator.memory import Memory
from ricochet_orchestrator.offers import OFFER_WAIT, Offers, no_peer
from ricochet_orchestrator.placement import DEFAULT_TOKENS, Wanted, fitting
from ricochet_orchestrator.progress import PaymentDelayed, printable
from ricochet_orchestrator.receipts import metered_by
from ricochet_orchestrator.route import Candidate, Need, Router
from ricochet_orchestrator.setting import Setting, SharedClients
from ricochet_orchestrator.suppliers import Suppliers
from ricochet_orchestrator.terms import KNOWN_WAIT, paid_period
from ricochet_protocol.advert import SignedAdvert
from ricochet_protocol.answer import said
from ricochet_protocol.chat_request import ChatRequest
from ricochet_protocol.errors import (
    BudgetError,
    ChainError,
    RemoteCode,
    RemoteFault,
    RicochetError,
    UsageError,
)
from ricochet_protocol.ids import ModelId, PeerId
from ricochet_protocol.messages import Ask, CallPiece, Chunk
from ricochet_protocol.money import Units

TICK: Final = 0.25
"""Seconds between looks at the directory."""
LOOK: Final = 0.05
"""Seconds between looks whether a node is free."""
PATIENCE: Final = 60.0
"""Seconds that a call waits for a node that is free; clients give up after minutes."""
SUBSCRIPTION_LOOK: Final = 10.0
"""Seconds for which what the chain said of the subscription is taken to hold."""
DEADLINE: Final = 300
"""Seconds a node may take for one call."""
MAX_TRIES: Final = 4
"""Nodes that may fail one call: somebody waits for it."""
SETTLE_WAIT: Final = 15.0
"""Seconds that the end waits for vouchers to be acknowledged; unsent ones are kept."""
_encode = msgspec.msgpack.Encoder().encode

Piece = Chunk | CallPiece


@dataclass
class _Trying:
    """What has been done for one call.

    `asked` and `terms` are of the ask that went out last: that node may hold its answer, which has
    to be told when it is asked again. `reunion`: it is to be asked first.
    """

    call: Call
    ask: Ask
    wanted: Wanted
    need: Need
    tries: int = 0
    avoid: set[PeerId] = field(default_factory=set)
    unaffordable: dict[PeerId, BudgetError] = field(default_factory=dict)
    asked: PeerId | None = None
    terms: SignedAdvert | None = None
    reunion: bool = False
    failure: RemoteFault | None = None


@dataclass(frozen=True)
class _Attempt:
    """One ask of one node; `worst` is the most it can cost."""

    call: Call
    ask: Ask
    client: NodeClient
    earlier: SignedAdvert | None
    worst: Units
    need: Need

    @property
    def at(self) -> tuple[PeerId, ModelId]:
        """Of whom, and of which model's, opinion it will speak."""
        return self.client.peer, self.ask.model


class Switchboard:
    """Answers calls while `open`; who works beside it uses its `setting`, and so its clients."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting = replace(setting, clients=SharedClients(setting.tell))
        self.calls = Calls(setting.store)
        own = {setting.payer.subscriber, *setting.private_nodes}
        self.offers = Offers(setting.peers, setting.settlement, setting.clock, own, setting.routing)
        self._router = Router(setting.seed, setting.routing.strategy, setting.routing.max_latency)
        self._suppliers: Suppliers | None = None
        self._looking = asyncio.Lock()
        self._began = asyncio.get_running_loop().time()
        self._memory = Memory(setting.store, self._router, setting.clock, self._began)
        self._looked_at = 0.0
        self._payments: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Follow the network while the context lasts; its end hands over what is owed."""
        self.calls.cut()
        await self.offers.refresh()
        watcher = asyncio.create_task(self._watch())
        try:
            yield
            await self._settle()
        finally:
            owned: list[asyncio.Task[Any]] = [watcher, *self._payments]
            for task in owned:
                task.cancel()
            await asyncio.gather(*owned, return_exceptions=True)
            self._memory.keep(asyncio.get_running_loop().time())

    async def dealing(self) -> Suppliers:
        """The suppliers of the period that is running; errors as `paid_period` has them."""
        async with self._looking:
            now = asyncio.get_running_loop().time()
            known = self._suppliers
            if known is not None and now < self._looked_at + SUBSCRIPTION_LOOK:
                return known
            found = await paid_period(self.setting)
            if known is None or known.subscription.period != found.period:
                known = self._suppliers = Suppliers(self.setting, self.offers, found)
            else:
                known.topped_up(found)
            self._looked_at = now
            return known

    async def converse(
        self, request: ChatRequest, call: Call, whole: bool
    ) -> AsyncGenerator[Piece | CallAnswer, None]:
        """The pieces of the answer as they come, then the answer; closing it ends the call.

        `whole`: nothing is shown before the end, so only the answer is yielded, and a failure in
        the middle is routed around too. Any RicochetError.
        """
        trying = await self._begun(request, call)
        if isinstance(trying, CallAnswer):
            for piece in () if whole else _pieces(trying):
                yield piece
            yield trying
            return
        while True:
            attempt = await self._choose(trying)
            shown = False
            try:
                async for part in self._asked(attempt):
                    if isinstance(part, CallAnswer) or not whole:
                        shown = True
                        yield part
                return
            except (RemoteFault, BudgetError) as error:
                if shown or not _goes_on(trying, attempt.client.peer, error):
                    raise

    async def _begun(self, request: ChatRequest, call: Call) -> _Trying | CallAnswer:
        """What is to be tried; or the answer, when the call was made and answered before."""
        period = (await self.dealing()).subscription.period
        known = self.calls.known(call)
        if known is not None and known.answer is not None:
            return known.answer
        if known is not None and known.status is CallStatus.OPEN:
            raise UsageError(
                "call_open", "This call is being answered already.", "Wait for its answer."
            )
        if known is not None:
            call = known.call
        reunion = known is not None and call.period == period
        call = msgspec.structs.replace(call, period=period)
        ask = _ask(request, call, self.setting.allow_logging)
        counted = sum(map(self.setting.count, ask.texts()))
        limit = request.max_tokens or call.max_tokens or None
        wanted = Wanted(request.model, ask.features(), counted, limit)
        need = Need(counted, limit or DEFAULT_TOKENS, prefix_of("\n".join(ask.texts())))
        trying = _Trying(call, ask, wanted, need)
        if known is not None and reunion:
            trying.asked, trying.terms, trying.reunion = known.peer, known.advert, True
        return trying

    async def _choose(self, trying: _Trying) -> _Attempt:
        """The node to ask, entered as such; waits, bounded, until one is free."""
        loop = asyncio.get_running_loop()
        give_up = loop.time() + PATIENCE
        while True:
            suppliers = await self.dealing()
            candidates = self._candidates(trying, suppliers)
            now = loop.time()
            chosen = self._router.choose(candidates, trying.need, now, trying.avoid)
            if chosen is not None:
                return self._attempt(trying, chosen, suppliers)
            if now >= give_up:
                raise trying.failure or RemoteFault(
                    RemoteCode.BUSY, "every node that offers the model is busy", "try again later"
                )
            await asyncio.sleep(LOOK)

    def _candidates(self, trying: _Trying, suppliers: Suppliers) -> list[Candidate]:
        """Who can serve the call now or later; the error when nobody ever will."""
        offering = suppliers.candidates(trying.wanted.model)
        if not offering:
            if self._joining():
                return []
            raise trying.failure or self._nobody(trying.wanted.model)
        found = fitting(trying.wanted, offering, trying.unaffordable, self.calls.left(trying.call))
        same = [one for one in found if trying.reunion and one.peer == trying.asked]
        return same or found

    def _attempt(self, trying: _Trying, chosen: Candidate, suppliers: Suppliers) -> _Attempt:
        limit = trying.wanted.tokens(chosen.offer)
        call = msgspec.structs.replace(trying.call, max_tokens=limit)
        worst = trying.wanted.worst(chosen.offer)
        self.calls.hold(call, worst, chosen.peer, _encode(chosen.advert))
        self._router.started(chosen.peer)
        earlier = trying.terms if trying.asked == chosen.peer else None
        trying.asked, trying.terms, trying.reunion = chosen.peer, chosen.advert, False
        ask = msgspec.structs.replace(
            trying.ask, request_id=call.request_id, period=call.period, max_tokens=limit
        )
        client = suppliers.client(chosen.advert)
        return _Attempt(call, ask, client, earlier, worst, trying.need)

    async def _asked(self, attempt: _Attempt) -> AsyncGenerator[Piece | CallAnswer, None]:
        """What comes of one attempt."""
        coming: asyncio.Queue[Piece | None] = asyncio.Queue()
        task = asyncio.create_task(self._call(attempt, coming.put_nowait))
        task.add_done_callback(lambda _: coming.put_nowait(None))
        try:
            while (piece := await coming.get()) is not None:
                yield piece
            yield task.result()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _call(self, attempt: _Attempt, heard: Callable[[Piece], None]) -> CallAnswer:
        """One attempt, from ask to what is stored of it; cancelled, the key pays what came."""
        call, client = attempt.call, attempt.client
        got: list[str] = []

        def hear(piece: Piece) -> None:
            got.append(said(piece))
            heard(piece)

        try:
            served = await client.ask(attempt.ask, attempt.earlier, _unused, hear)
        except BaseException as error:
            left = isinstance(error, asyncio.CancelledError)
            charged = self._charge(attempt, "".join(got)) if left or got else Units(0)
            self.calls.end(call, charged, CallStatus.FAILED)
            self._failed(attempt, error)
            raise
        receipt = served.receipt.receipt
        answer = CallAnswer(
            text=served.text,
            calls=served.calls,
            finish=served.finish,
            tokens_in=receipt.tokens_in,
            tokens_out=receipt.tokens_out,
            cost=receipt.cost,
        )
        pay = client.paying.acceptance(receipt.cost, served.counted)
        done = self.setting.clock()
        self.calls.complete(call, answer, client.operator, served.receipt, pay, done)
        client.paying.refresh()
        timing = (served.first_token, served.seconds, receipt.tokens_out)
        now = asyncio.get_running_loop().time()
        self._router.served(attempt.at, attempt.need, now, timing)
        self._memory.note(*attempt.at, urgent=False, now=now)
        self._pay(client)
        return answer

    def _failed(self, attempt: _Attempt, error: BaseException) -> None:
        if not isinstance(error, RemoteFault):
            self._router.released(attempt.client.peer)
            return
        now = asyncio.get_running_loop().time()
        self._router.failed(attempt.at, error.code, now, error.wait)
        self._memory.note(*attempt.at, urgent=error.wait > 0, now=now)

    def _charge(self, attempt: _Attempt, got: str) -> Units:
        """What a node keeps that was left after so much text; never more than is held for it."""
        offer = attempt.client.advert.advert.offer(attempt.ask.model)
        if offer is None:
            return attempt.worst
        metered = metered_by(self.setting.count, attempt.ask, offer)
        surplus = attempt.client.paying.account.surplus
        return min(attempt.worst, metered.likely(self.setting.count(got), surplus))

    def _joining(self) -> bool:
        """Whether the directory may not be whole yet."""
        wait = KNOWN_WAIT if self.offers.found else OFFER_WAIT
        return asyncio.get_running_loop().time() < self._began + wait

    def _nobody(self, model: ModelId) -> RicochetError:
        if not self.offers.models():
            return self.offers.unreachable or no_peer(model, self.offers)
        return RemoteFault(
            RemoteCode.NO_MODEL,
            f"nobody offers the model {model!r}",
            f"on offer now: {', '.join(self.offers.models())}",
        )

    # Payments.

    def _pay(self, client: NodeClient) -> None:
        task = asyncio.create_task(self._deliver(client))
        self._payments.add(task)
        task.add_done_callback(self._payments.discard)

    async def _deliver(self, client: NodeClient) -> None:
        try:
            await client.settle()
        except (RemoteFault, ChainError) as error:
            self.setting.tell(PaymentDelayed(client.peer, printable(error.message)))

    async def _settle(self) -> None:
        """Wait, bounded, for payments, those that earlier processes could not deliver included."""
        if self._suppliers is None:
            return
        period = self._suppliers.subscription.period
        owed = {
            account.node
            for account in self.setting.store.accounts(period)
            if account.acknowledged < account.signed
        }
        for signed in self.offers.believed():
            if signed.advert.operator in owed:
                self._pay(self._suppliers.client(signed))
        if self._payments:
            await asyncio.wait(set(self._payments), timeout=SETTLE_WAIT)

    async def _watch(self) -> None:
        while True:
            await self.offers.refresh()
            await asyncio.sleep(TICK)


def _goes_on(trying: _Trying, peer: PeerId, error: RemoteFault | BudgetError) -> bool:
    """Take up why an attempt failed; whether another one makes sense."""
    if isinstance(error, BudgetError):
        trying.unaffordable[peer] = error
        return True
    trying.failure = error
    if error.code == RemoteCode.BUSY:
        return True
    if error.code == RemoteCode.CONFLICT:
        # The node knows this request id with other content: another id is another call.
        conflicts = trying.call.conflicts + 1
        trying.call = msgspec.structs.replace(trying.call, conflicts=conflicts)
    trying.tries += 1
    trying.avoid.add(peer)
    return trying.tries < MAX_TRIES


def _ask(request: ChatRequest, call: Call, allow_logging: bool) -> Ask:
    """The ask without its limit, which depends on who is asked; UsageError out of range."""
    try:
        return Ask(
            request_id=call.request_id,
            period=call.period,
            model=request.model,
            turns=request.turns,
            max_tokens=request.max_tokens or 1,
            deadline=DEADLINE,
            temperature=request.temperature,
            top_p=request.top_p,
            stop=request.stop,
            seed=request.seed,
            response_format=request.response_format,
            tools=request.tools,
            tool_choice=request.tool_choice,
            allow_logging=allow_logging,
        )
    except ValueError as error:
        raise UsageError("invalid_request", str(error)) from None


def _pieces(answer: CallAnswer) -> list[Piece]:
    """A stored answer as it would have come."""
    calls = enumerate(answer.calls)
    text: list[Piece] = [Chunk(answer.text)] if answer.text else []
    return text + [CallPiece(n, call.id, call.name, call.arguments) for n, call in calls]


def _unused(_: float) -> None:
    """The first piece tells as much as the seconds until it."""
