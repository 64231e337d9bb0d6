"""One paid call from ask to receipt; the owner's own calls are in `own_calls.py`.

    replay? → admit → upstream through pool and vault → release → Chunk* → meter → paid? → ledger
    → last Chunk → Answered

The answer, its receipt and the rise of what is due are on disk before the end of it is sent.
Whoever repeats a request id gets the stored answer, never a second upstream call, and while the
first call of an id is still open, its repetition waits for it. Closing the iterator (the client has
vanished) ends the upstream call and frees what is held for it; the client is charged the prompt and
what it was sent. A failure of the provider or of this node costs nobody anything.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from typing import Final

import msgspec

from ricochet_node import admission
from ricochet_node.admission import OpenSession
from ricochet_node.counting import count
from ricochet_node.faults import broken
from ricochet_node.ledger import Ledger, StoredAnswer
from ricochet_node.log import EventLog
from ricochet_node.offer import Offer
from ricochet_node.offers import OfferBook
from ricochet_node.pool import Pool
from ricochet_node.recording import Note, Records, recorded
from ricochet_node.release import Release, Till, Unpaid
from ricochet_node.standings import Standings, Tab
from ricochet_node.upstream import Usage
from ricochet_protocol import payee
from ricochet_protocol.advert import Advert
from ricochet_protocol.answer import Answer, AnswerParts
from ricochet_protocol.errors import LocalFault, RemoteCode, RemoteFault
from ricochet_protocol.ids import Address, Hash32, ModelId, NetworkId, RequestId
from ricochet_protocol.messages import (
    Answered,
    Ask,
    CallPiece,
    Chunk,
    PaymentRequired,
    Reply,
    check_supported,
)
from ricochet_protocol.money import Units, cost
from ricochet_protocol.receipt import Receipt, sign_receipt
from ricochet_protocol.steps import Metered, Surplus
from ricochet_protocol.usage import most_tokens

REPLAY_PIECE: Final = 64 * 1024
"""Characters of a replayed answer in one Chunk."""


class Terms(msgspec.Struct, frozen=True):
    """In whose name receipts are signed."""

    network: NetworkId
    operator: Address


class Sale(msgspec.Struct, frozen=True):
    """What is sold to an ask: the offer at the prices of `advert`, which the receipt cites."""

    offer: Offer
    advert: Advert
    metered: Metered


class Bill(msgspec.Struct, frozen=True):
    """What one answer used and costs."""

    tokens_in: int
    tokens_out: int
    exact: bool
    cost: Units


class Server:
    """Serves asks; `terms_of` gives the advert of a digest, None when it holds no more."""

    def __init__(
        self,
        terms: Terms,
        seed: bytes,
        book: OfferBook,
        ledger: Ledger,
        standings: Standings,
        pool: Pool,
        terms_of: Callable[[bytes], Advert | None],
        records: Records,
        clock: Callable[[], float],
        log: EventLog,
    ) -> None:
        self._terms = terms
        self._seed = seed
        self._book = book
        self._ledger = ledger
        self._standings = standings
        self._pool = pool
        self._terms_of = terms_of
        self._clock = clock
        self._log = log
        self._records = records
        self._running: dict[tuple[Address, RequestId], asyncio.Event] = {}
        self._surplus: dict[ModelId, Surplus] = {}

    def serve(self, ask: Ask, session: OpenSession) -> AsyncGenerator[Reply, None]:
        """Chunks and an Answered, or PaymentRequired; RemoteFault otherwise."""
        note = Note()
        watch = self._records.watch(ask, session.subscriber, "peer", note, self._clock())
        return recorded(self._serve(ask, session, note), watch)

    async def _serve(
        self, ask: Ask, session: OpenSession, note: Note
    ) -> AsyncGenerator[Reply, None]:
        async with self._alone(ask, session):
            stored = self._ledger.answer(session.subscriber, ask.request_id)
            if stored is not None:
                note.model, note.replayed = ask.model, True
                async for reply in self._replay(stored, ask, session):
                    yield reply
                return
            offer, advert = self._on_terms(ask)
            note.model = ask.model
            check_supported(ask, offer.shown)
            self._pool.check(offer)
            admission.check_ask(ask, session, self._clock())
            counted_in = await count(ask.texts())
            metered = admission.meter_ask(ask, offer.shown, counted_in)
            sale = Sale(offer, advert, metered)
            if demand := self._demand(session, metered):
                yield demand
                return
            who, period = session.subscriber, session.period
            with (
                self._book.slot(offer),
                self._standings.open_tab(who, period, metered.worst, metered.opening) as tab,
            ):
                call = self._call(ask, session, sale, tab, note)
                async with aclosing(call) as replies:
                    async for reply in replies:
                        yield reply

    def _on_terms(self, ask: Ask) -> tuple[Offer, Advert]:
        """The offer at the prices of the advert that the ask names, and that advert.

        RemoteFault `busy` when the node does not keep to that advert: its client has not heard of
        the prices that hold now, and nobody is billed a price that he has not seen.
        """
        offer = self._book.find(ask.model)
        advert = self._terms_of(ask.terms)
        if advert is None:
            raise _new_terms()
        if ask.terms:
            agreed = advert.offer(ask.model)
            if agreed is None:
                raise _new_terms()
            offer = offer.priced(agreed.price_in, agreed.price_out)
        return offer, advert

    def _demand(self, session: OpenSession, metered: Metered) -> PaymentRequired | None:
        who, period = session.subscriber, session.period
        standing = self._standings.of(who, period)
        short = payee.admit(standing.state, metered.worst, metered.opening, standing.cap)
        if short is None:
            return None
        account = self._standings.account(who, period)
        return PaymentRequired(commit=short.commit, pay=short.pay, account=account)

    async def _call(
        self,
        ask: Ask,
        session: OpenSession,
        sale: Sale,
        tab: Tab,
        note: Note,
    ) -> AsyncGenerator[Reply, None]:
        start = asyncio.get_running_loop().time()
        surplus = self._surplus.get(ask.model, Surplus())
        release = Release(tab, sale.metered, surplus, start + ask.deadline)
        with self._charging(ask, session, release, tab, note):
            if due := release.foresee():
                yield due
            replies = self._answer(ask, session, sale, tab, release, note)
            async with aclosing(replies):
                async for reply in replies:
                    yield reply

    async def _answer(
        self,
        ask: Ask,
        session: OpenSession,
        sale: Sale,
        tab: Tab,
        release: Release,
        note: Note,
    ) -> AsyncGenerator[Reply, None]:
        offer, metered = sale.offer, sale.metered
        start = asyncio.get_running_loop().time()
        first: float | None = None
        parts = AnswerParts(ask)
        usage: Usage | None = None
        stream = self._pool.stream(offer, ask, start + ask.deadline, note.tried)
        async with aclosing(stream):
            async for piece in stream:
                if isinstance(piece, Usage):
                    usage = piece
                else:
                    first = first or asyncio.get_running_loop().time()
                    with _blaming_provider():
                        parts.add_untrusted(piece)
                    release.take(piece)
                    while (reply := await release.next()) is not None:
                        yield reply
        assert usage is not None  # a stream ends with it, or with a fault
        with _blaming_provider():
            answer = parts.whole_untrusted()
        counted_out = await count(answer.texts())
        used = usage.tokens or (metered.counted_in, counted_out)
        note.used = used
        if answer.blank or counted_out > most_tokens(ask.max_tokens):
            # No client pays for it, so nobody is billed.
            raise broken("an answer that is blank or longer than asked for")
        bill = meter(offer, ask, metered.counted_in, counted_out, usage)
        while (due := await release.before_end(bill.cost)) is not None:
            yield due
        answered, written = self._promise(ask, session, sale.advert, answer, usage, bill)
        # Before it is on disk: else another call could spend what secures this bill, and a client
        # who leaves now would be charged beside it.
        tab.bill(bill.cost)
        try:
            await written
        except LocalFault:
            tab.unbill(bill.cost)
            raise
        self._learn(ask.model, bill, metered.counted(counted_out))
        self._log.event(
            "served",
            model=ask.model,
            subscriber=session.subscriber,
            tokens_in=bill.tokens_in,
            tokens_out=bill.tokens_out,
            units=bill.cost,
            first_token_ms=round(1000 * ((first or start) - start)),
            ms=round(1000 * (asyncio.get_running_loop().time() - start)),
        )
        for chunk in release.end():
            yield chunk
        yield answered

    @contextmanager
    def _charging(
        self, ask: Ask, session: OpenSession, release: Release, tab: Tab, note: Note
    ) -> Iterator[None]:
        """Charge what was delivered to a client that leaves or does not pay, unless we stop."""
        try:
            yield
        except (GeneratorExit, asyncio.CancelledError, Unpaid):
            if tab.open and self._book.admitting:
                cost = release.worth
                self._ledger.charge(
                    session.subscriber, session.period, ask.model, release.delivered, cost
                )
                tab.charge(cost)
                note.charged = (*release.delivered, cost)
                self._log.event("left", model=ask.model, subscriber=session.subscriber, units=cost)
            raise

    def _learn(self, model: ModelId, bill: Bill, counted: Units) -> None:
        self._surplus[model] = self._surplus.get(model, Surplus()).after(bill.cost, counted)

    async def _replay(
        self, stored: StoredAnswer, ask: Ask, session: OpenSession
    ) -> AsyncGenerator[Reply, None]:
        """The stored answer, once all that was served is paid: a reorganisation can undo that."""
        if stored.ask != ask.digest():
            raise RemoteFault(
                RemoteCode.CONFLICT,
                "this request id belongs to another ask",
                "use a new request id for new content",
            )
        standing = self._standings.of(session.subscriber, session.period)
        till = Till(standing, asyncio.get_running_loop().time() + ask.deadline)
        while (due := await till.demand(standing.owing, standing.owing)) is not None:
            yield due
        text = stored.answer.text
        for start in range(0, len(text), REPLAY_PIECE):
            yield Chunk(text=text[start : start + REPLAY_PIECE])
        for index, call in enumerate(stored.answer.calls):
            yield CallPiece(index=index, id=call.id, name=call.name, arguments=call.arguments)
        yield stored.answered

    def _promise(
        self,
        ask: Ask,
        session: OpenSession,
        advert: Advert,
        answer: Answer,
        usage: Usage,
        bill: Bill,
    ) -> tuple[Answered, Awaitable[None]]:
        """The signed receipt, and what ends when it is on disk.

        Nothing pauses between reading and raising what is due.
        """
        before = self._ledger.account(session.subscriber, session.period)
        receipt = Receipt(
            network=self._terms.network,
            subscriber=session.subscriber,
            operator=self._terms.operator,
            period=session.period,
            request_id=ask.request_id,
            ask=ask.digest(),
            advert=advert.digest(),
            answer=answer.digest(),
            tokens_in=bill.tokens_in,
            tokens_out=bill.tokens_out,
            exact=bill.exact,
            cost=bill.cost,
            due=Units(before.due + bill.cost),
        )
        answered = Answered(receipt=sign_receipt(self._seed, receipt), finish=usage.finish)
        stored = StoredAnswer(ask=Hash32(receipt.ask), answer=answer, answered=answered)
        return answered, self._ledger.record_together(ask.model, stored, self._clock())

    @asynccontextmanager
    async def _alone(self, ask: Ask, session: OpenSession) -> AsyncIterator[None]:
        """Be the only call of this request id; RemoteFault `timeout` when the other goes on."""
        key = (session.subscriber, ask.request_id)
        try:
            async with asyncio.timeout(ask.deadline):
                while (other := self._running.get(key)) is not None:
                    await other.wait()
        except TimeoutError:
            raise RemoteFault(
                RemoteCode.TIMEOUT, "the same request is still being answered", "ask again later"
            ) from None
        done = self._running[key] = asyncio.Event()
        try:
            yield
        finally:
            del self._running[key]
            done.set()


def _new_terms() -> RemoteFault:
    return RemoteFault(
        RemoteCode.BUSY,
        "the node has new terms",
        "ask again once its new advert is there",
        wait=1,
    )


@contextmanager
def _blaming_provider() -> Iterator[None]:
    try:
        yield
    except RemoteFault:
        raise broken("an answer that nobody asked for") from None


def meter(offer: Offer, ask: Ask, counted_in: int, counted_out: int, usage: Usage) -> Bill:
    """What the call used: the provider's count within what a client believes, else our own."""
    most_in, most_out = admission.most_billable(ask, counted_in, counted_out)
    tokens_in, tokens_out = usage.tokens or (counted_in, counted_out)
    tokens_in, tokens_out = min(tokens_in, most_in), min(tokens_out, most_out)
    return Bill(
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        exact=usage.tokens == (tokens_in, tokens_out),
        cost=cost(tokens_in, tokens_out, offer.shown.price_in, offer.shown.price_out),
    )
