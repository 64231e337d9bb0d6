"""The payer's conversation with one node: session, reservation, ask, receipt, payment.

Nothing a node says is taken on trust. Its receipt must cite the ask, the answer as it arrived and
an advert that is known here; usage is compared with our own count; what it says about the account
counts only where our own signature stands behind it. Whatever fails is a `RemoteFault`, and the
caller goes elsewhere.

Reservations and vouchers are written to the store before they are sent, so that no crash forgets
what was signed. A voucher that the node has not acknowledged is sent again at the next contact. How
much is signed, and when, is in `paying.py`.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import msgspec

from ricochet_orchestrator.account import Payer
from ricochet_orchestrator.patience import Patient
from ricochet_orchestrator.paying import OpenCall, Paying
from ricochet_orchestrator.progress import Event, Paid, PaymentDelayed, Reserved, printable
from ricochet_orchestrator.receipts import Receipts, Terms, metered_by
from ricochet_orchestrator.segment import TokenCounter
from ricochet_orchestrator.store import Store
from ricochet_protocol.advert import SignedAdvert
from ricochet_protocol.answer import AnswerParts, said, size_of
from ricochet_protocol.conversation import ToolCall
from ricochet_protocol.eip712 import Session, sign_session, sign_voucher
from ricochet_protocol.errors import BudgetError, RemoteCode, RemoteFault, garbage
from ricochet_protocol.messages import (
    AccountState,
    Answered,
    Ask,
    CallPiece,
    Chunk,
    Due,
    Hello,
    Pay,
    PaymentRequired,
    Reply,
    Request,
    Reserve,
    check_supported,
)
from ricochet_protocol.money import Units
from ricochet_protocol.ports import Peers, Settlement, Subscription
from ricochet_protocol.receipt import (
    SignedReceipt,
)

SESSION: Final = 3600
"""Seconds a session is valid for: a stolen one is worth little, a run seldom needs a second."""
SESSION_SPARE: Final = 60
"""Seconds before its end at which a session is renewed."""
STATE_WAIT: Final = 60.0
"""Seconds for an answer about the account; a reservation waits for the chain."""
CONFIRM_WAIT: Final = 1800.0
"""Seconds for a reservation's confirmation: 120 blocks of Ethereum, the most a network asks for,
take 24 minutes."""
CONFIRM_PAUSE: Final = 5.0
"""Seconds between looks whether it is."""
STALL: Final = 120.0
"""Seconds without a sign of life in an answer, the first token's wait included."""
DEMANDS: Final = 2
"""Demands of a node before a call that are met: the second for what changed meanwhile."""
SHARED_DEMANDS: Final = 8
"""Likewise, while calls of another process of this home change it too."""
GRACE: Final = 10.0
"""Seconds beyond the ask's deadline before the node is thought to have failed it."""


Heard = Callable[[Chunk | CallPiece], None]
"""Is told the pieces of an answer."""


def _unheard(_: Chunk | CallPiece) -> None:
    """For who waits for the whole answer."""


class Served(msgspec.Struct, frozen=True):
    """An answer that passed every check, and the advert on whose terms it was given.

    `counted` is what it costs by the own count.
    """

    text: str
    calls: tuple[ToolCall, ...]
    finish: str
    receipt: SignedReceipt
    counted: Units
    advert: SignedAdvert
    first_token: float
    seconds: float


class NodeClient:
    """One node in one of the subscriber's periods. Calls may run at the same time.

    `clock` tells Unix seconds; `tell` hears of reservations and payments.
    """

    def __init__(
        self,
        peers: Peers,
        settlement: Settlement,
        store: Store,
        payer: Payer,
        subscription: Subscription,
        advert: SignedAdvert,
        count: TokenCounter,
        clock: Callable[[], float],
        tell: Callable[[Event], None],
    ) -> None:
        self.peer = advert.advert.peer
        self.operator = advert.advert.operator
        self.paying = Paying(store, payer, self.operator, subscription)
        self._peers = peers
        self._settlement = settlement
        self._payer = payer
        self._count = count
        self._clock = clock
        self._tell = tell
        self.advert = advert
        self._receipts = Receipts(peers, advert, payer, count)
        self._expires = 0
        self._talk = asyncio.Lock()
        self._payment = asyncio.Lock()

    def saw(self, signed: SignedAdvert) -> None:
        """Remember terms that the node's receipts may cite; the latest are those asked for."""
        if signed is not self.advert:
            self.advert = signed
            self._receipts.saw(signed)

    async def ask(
        self,
        ask: Ask,
        earlier: SignedAdvert | None,
        first_token: Callable[[float], None],
        heard: Heard = _unheard,
    ) -> Served:
        """Make the call, with all that has to happen before; the account is not changed yet.

        `earlier` is the advert under which the same ask went out before: a replayed answer's
        receipt cites it. `heard` gets the pieces as they come, unchecked. RemoteFault when anything
        fails or does not add up, BudgetError when the budget does not cover the call.
        """
        terms = self.advert
        offer = terms.advert.offer(ask.model)
        if offer is None:
            raise RemoteFault(RemoteCode.NO_MODEL, "the peer no longer offers the model")
        check_supported(ask, offer)
        ask = msgspec.structs.replace(ask, terms=terms.advert.digest())
        metered = metered_by(self._count, ask, offer)
        # An answer that may be replayed is paid for already, as far as the node does not object.
        with self.paying.open(metered, self._count, ahead=earlier is None) as call:
            async with self._talk:
                await self._open()
                await self._cover(self.paying.needed)
                self.paying.check_affordable(call)
                self.paying.sign_ahead()
                await self._pay()
            met = 0
            while met < (SHARED_DEMANDS if self.paying.shared else DEMANDS):
                reply = await self._stream(ask, call, (terms, earlier), first_token, heard)
                if isinstance(reply, Served):
                    return reply
                await self._meet(reply)
                met += 1
            raise RemoteFault(RemoteCode.PAYMENT_REQUIRED, "peer demands more than is owed to it")

    async def settle(self) -> None:
        """Deliver the latest voucher unless the node has acknowledged it already."""
        async with self._talk:
            await self._open()
        await self._pay()

    async def _open(self) -> None:
        """Say Hello unless the session is still good; the node's state is taken up."""
        now = int(self._clock())
        if self._expires - SESSION_SPARE > now:
            return
        period = self.paying.account.period
        chain = await self._settlement.commitment(self._payer.subscriber, period, self.operator)
        self.paying.found_committed(chain.committed)
        session = Session(
            subscriber=self._payer.subscriber,
            client_peer=self._peers.peer,
            node_peer=self.peer,
            expires=now + SESSION,
        )
        signed = sign_session(self._payer.key, self._payer.domain, session)
        await self._request(Hello(session=signed))
        self._expires = session.expires
        await self._pay()

    async def _pay(self) -> None:
        # One at a time: a voucher covers all before it, so those that waited have nothing to send.
        async with self._payment:
            self.paying.refresh()
            account = self.paying.account
            voucher = account.voucher
            if voucher is None or account.acknowledged >= account.signed:
                return
            # Signed anew, to the same bytes unless the key was replaced since: a node takes no
            # voucher that its session's delegate did not sign.
            voucher = sign_voucher(self._payer.key, self._payer.domain, voucher.voucher)
            await self._request(Pay(voucher=voucher))
            if self.paying.account.acknowledged < voucher.voucher.cumulative:
                raise RemoteFault(RemoteCode.REFUSED, "peer did not keep the voucher")
            self._tell(Paid(peer=self.peer, cumulative=voucher.voucher.cumulative))

    async def _cover(self, needed: Units) -> None:
        """Have the chain commit at least `needed` to the node."""
        if needed <= self.paying.account.committed:
            return
        subscription = await self._settlement.subscription(self._payer.subscriber)
        if subscription is None or subscription.period != self.paying.account.period:
            raise BudgetError(
                "period_ended",
                "The subscription's period has changed since the run began.",
                "Nothing is lost. Run the same command again.",
            )
        self.paying.subscription = subscription
        before = self.paying.account.reserved
        signed = self.paying.reserve(needed)
        if signed.reservation.total > before:
            self._tell(Reserved(peer=self.peer, total=signed.reservation.total))
        await self._request(Reserve(reservation=signed))
        end = asyncio.get_running_loop().time() + CONFIRM_WAIT
        while self.paying.account.committed < needed:
            end = await self._confirmation(needed, end)
            await self._request(Reserve(reservation=signed))

    async def _confirmation(self, needed: Units, end: float) -> float:
        """Give the chain time to confirm a reservation that it shows, until `end` at most.

        The new end: once it is confirmed here, the node's server has only to catch up. RemoteFault
        when the chain does not show it, or time is up.
        """
        period = self.paying.account.period
        held = await self._settlement.commitment(self._payer.subscriber, period, self.operator)
        if held.committed < needed:
            raise RemoteFault(RemoteCode.REFUSED, "peer did not bring the reservation to the chain")
        now = asyncio.get_running_loop().time()
        if held.confirmed >= needed:
            end = min(end, now + STATE_WAIT)
        if now >= end:
            raise RemoteFault(RemoteCode.TIMEOUT, "peer does not count the reservation in time")
        await asyncio.sleep(CONFIRM_PAUSE)
        return end

    async def _meet(self, demand: PaymentRequired) -> None:
        """Do what the node demands, as far as it agrees with our own account."""
        async with self._talk:
            self.paying.take_untrusted(demand.account)
            await self._cover(self.paying.meet_untrusted(demand))
            self.paying.pay_due_untrusted(demand.pay)
            await self._pay()

    async def _stream(
        self,
        ask: Ask,
        call: OpenCall,
        terms: Terms,
        first_token: Callable[[float], None],
        heard: Heard,
    ) -> Served | PaymentRequired:
        """One try of the call; half an answer is never kept. Pays as the text comes."""
        loop = asyncio.get_running_loop()
        begin = loop.time()
        first: float | None = None
        parts = AnswerParts(ask)
        async with (
            self._vouchers() as send,
            self._replies(ask, STALL, ask.deadline + GRACE) as replies,
        ):
            async for reply in replies:
                if isinstance(reply, PaymentRequired):
                    if first is not None:
                        raise garbage("a demand for admission in the middle of an answer")
                    return reply
                if isinstance(reply, Answered):
                    answer = parts.whole_untrusted()
                    checked = self._receipts.check_untrusted(ask, answer, reply.receipt, terms)
                    self.paying.heard_due(reply.receipt.receipt.due)
                    elapsed = loop.time() - begin
                    return Served(
                        text=answer.text,
                        calls=answer.calls,
                        finish=reply.finish,
                        receipt=reply.receipt,
                        counted=checked.counted,
                        advert=checked.cited,
                        first_token=elapsed if first is None else first,
                        seconds=elapsed,
                    )
                if isinstance(reply, Due):
                    self.paying.pay_due_untrusted(reply.due)
                    send()
                    continue
                if not isinstance(reply, Chunk | CallPiece):
                    raise garbage("a reply that does not belong to an ask")
                parts.add_untrusted(reply)
                heard(reply)
                if first is None and size_of(reply):
                    first = loop.time() - begin
                    first_token(first)
                if call.receive(said(reply)):
                    self.paying.sign_ahead()
                    send()
        raise garbage("an answer without a receipt")

    async def _request(self, request: Request) -> None:
        """A call that is answered by the account's state, which is taken up."""
        async with self._replies(request, STATE_WAIT, STATE_WAIT) as replies:
            async for reply in replies:
                if not isinstance(reply, AccountState):
                    raise garbage("something else than the account's state")
                self.paying.take_untrusted(reply)
                return
        raise garbage("no answer about the account")

    @asynccontextmanager
    async def _vouchers(self) -> AsyncIterator[Callable[[], None]]:
        """What hands the latest voucher over beside a stream; what is under way ends with it.

        A voucher that does not arrive is not raised here: the node waits, and fails the call.
        """
        sending: set[asyncio.Task[None]] = set()

        async def pay() -> None:
            try:
                await self._pay()
            except RemoteFault as fault:
                self._tell(PaymentDelayed(self.peer, printable(fault.message)))

        try:
            yield lambda: sending.add(asyncio.create_task(pay()))
        finally:
            for task in sending:
                task.cancel()
            ended = await asyncio.gather(*sending, return_exceptions=True)
        for error in ended:
            if isinstance(error, Exception):
                raise error

    @asynccontextmanager
    async def _replies(
        self, request: Request, patience: float, longest: float
    ) -> AsyncIterator[AsyncIterator[Reply]]:
        """The replies to one call.

        RemoteFault `timeout` when none comes for `patience` seconds, or all take over `longest`.
        """
        end = asyncio.get_running_loop().time() + longest
        try:
            async with (
                asyncio.timeout(patience) as limit,
                self._peers.call(self.peer, request) as replies,
            ):
                yield Patient(replies, limit, patience, end)
        except TimeoutError:
            self._expires = 0
            raise RemoteFault(RemoteCode.TIMEOUT, "peer went silent or took too long") from None
        except RemoteFault as fault:
            if fault.code in _SESSION_LOST:
                self._expires = 0
            raise


_SESSION_LOST: Final = frozenset(
    {RemoteCode.NO_SESSION, RemoteCode.DISCONNECTED, RemoteCode.UNREACHABLE}
)
