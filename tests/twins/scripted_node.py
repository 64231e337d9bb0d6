"""A node in memory: it speaks the real messages and signs real receipts, and fails when told to.

It keeps what a real node keeps (sessions, what is due, the highest voucher, answers for replay) and
counts the calls that would have gone to its provider. `faults` are used up one an ask; `always` is
the node's nature. The answer to a prompt depends on the prompt alone, so that runs can be compared.
"""

import asyncio
import hashlib
from collections import deque
from collections.abc import AsyncIterator, Callable
from enum import Enum, auto

import msgspec

from ricochet_network.memory_transport import MemoryNetwork
from ricochet_network.peers import PeerNetwork
from ricochet_protocol.advert import Advert, ModelOffer
from ricochet_protocol.eip712 import SignedVoucher, Voucher, sign_voucher
from ricochet_protocol.errors import RemoteCode, RemoteFault
from ricochet_protocol.ids import Address, ModelId, PeerId, Period, RequestId
from ricochet_protocol.messages import (
    AccountState,
    Answered,
    Ask,
    Chunk,
    Due,
    Hello,
    Pay,
    PaymentRequired,
    Reply,
    Request,
    Reserve,
)
from ricochet_protocol.money import PricePerMillion, Units, cost
from ricochet_protocol.receipt import Receipt, SignedReceipt, answer_digest, sign_receipt
from ricochet_protocol.steps import Metered
from ricochet_protocol.tokens import count_texts, count_tokens
from twins.settlement import MemorySettlement

MODEL = ModelId("small")
OFFER = ModelOffer(
    id=MODEL,
    context=2304,
    price_in=PricePerMillion(100_000),
    price_out=PricePerMillion(300_000),
    slots=2,
)


WAIT = 40
"""Seconds a node asks for that wants to be left alone."""


class Fault(Enum):
    """What can be wrong with a node."""

    DIES_BEFORE_FIRST_TOKEN = auto()
    DIES_AFTER_FIRST_TOKEN = auto()
    GOES_SILENT = auto()
    BUSY = auto()
    ASKS_TO_WAIT = auto()
    PROVIDER_FAILS = auto()
    KEY_REFUSED = auto()
    ENDS_WITHOUT_RECEIPT = auto()
    WRONG_REPLY = auto()
    BLANK = auto()
    ENDLESS = auto()
    DRIPS = auto()
    SENDS_EMPTY_PIECES = auto()
    LONGER_THAN_ASKED = auto()
    BILLS_MORE_TOKENS = auto()
    BILLS_ANOTHER_PRICE = auto()
    RAISES_ITS_PRICE = auto()
    FALSE_SIGNATURE = auto()
    RECEIPT_OF_ANOTHER_CALL = auto()
    CITES_UNSEEN_ADVERT = auto()
    DEMANDS_TOO_MUCH = auto()
    WANTS_MORE_THAN_IT_GAVE = auto()
    TAKES_THE_ADVANCE = auto()
    GOES_SILENT_AT_THE_END = auto()
    KEEPS_NO_VOUCHER = auto()
    SHOWS_FOREIGN_VOUCHER = auto()
    LANDS_NO_RESERVATION = auto()


class Crash(Exception):
    """The scripted node stops existing in mid-answer."""


def echo(ask: Ask) -> str:
    """Two sentences that depend on the prompt alone."""
    digest = hashlib.sha256(ask.turns[-1].content.encode()).hexdigest()
    return (
        f"The text has the number {digest[:12]}. It is about {len(ask.turns[-1].content)} things."
    )


class ScriptedNode:
    """One node of a test network; `start` and `stop` it on a running loop."""

    def __init__(
        self,
        seed: bytes,
        settlement: MemorySettlement,
        network: MemoryNetwork,
        *,
        offers: tuple[ModelOffer, ...] = (OFFER,),
        answer: Callable[[Ask], str] = echo,
        begins: Callable[[Ask], object] = lambda ask: None,
        think: float = 0.0,
        pieces: int = 2,
        wordier: int = 100,
        region: str = "",
    ) -> None:
        self.operator = Address("0x" + hashlib.sha256(seed).hexdigest()[:40])
        self.settlement = settlement
        self.offers = offers
        self.think = think
        """Seconds before the first token."""
        self.pieces = pieces
        """In how many an answer comes; a tenth of a second lies between more than two."""
        self.wordier = wordier
        """What its provider's tokenizer counts, in percent of the common one."""
        self.region = region
        self.faults: deque[Fault | None] = deque()
        self.always: Fault | None = None
        self.calls: list[Ask] = []
        """What went to the provider."""
        self.asks = 0
        self.waits: list[float] = []
        """Until when it wanted no ask, on the loop's clock."""
        self.early = 0
        """Asks that came before that."""
        self.open = self.most_open = 0
        self.due = 0
        self.backed = 0
        """Secured for open calls."""
        self.credit = 0
        self.demands: list[int] = []
        """What was asked for in the middle of answers."""
        self.voucher: SignedVoucher | None = None
        self.paid: list[SignedVoucher] = []
        self.sessions: set[PeerId] = set()
        self._answer = answer
        self._begins = begins
        self._seed = seed
        self._network = network
        self._stored: dict[RequestId, tuple[bytes, tuple[Reply, ...]]] = {}
        self._seq = 0
        self._paid = asyncio.Event()
        self.peers: PeerNetwork
        self.peer: PeerId
        self._reset()

    def _reset(self) -> None:
        self.peers = PeerNetwork(
            # The same place each time, as of a real node: who knew it finds it again.
            self._network.transport(self._seed, f"/memory/{self.operator}"),
            self._seed,
            self.settlement.domain.network,
            handler=self.handle,
            clock=lambda: self.settlement.now,
        )
        self.peer = self.peers.peer

    def register(self) -> None:
        """Enter the operator into the registry."""
        self.settlement.register_node(self.operator, self.peer, (), self.operator)

    async def start(self) -> None:
        """Listen and advertise."""
        await self.peers.start()
        await self.advertise(self.offers)

    async def advertise(self, offers: tuple[ModelOffer, ...]) -> None:
        """Publish a new advert."""
        self._seq += 1
        self.offers = offers
        self.advert = Advert(
            peer=self.peer,
            addresses=self.peers.addresses,
            operator=self.operator,
            network=self.settlement.domain.network,
            models=offers,
            region=self.region,
            version="test",
            seq=self._seq,
            issued_at=self.settlement.now,
            ttl=600,
        )
        await self.peers.publish(self.advert)

    async def stop(self) -> None:
        """Close; `restart` brings it back with what a real node has on its disk."""
        await self.peers.stop()

    async def restart(self) -> None:
        """Come back as the same peer, without sessions."""
        self.sessions.clear()
        self._reset()
        await self.start()

    async def handle(self, peer: PeerId, request: Request) -> AsyncIterator[Reply]:
        """Implements `ports.Handler`."""
        match request:
            case Hello():
                self.sessions.add(peer)
                self.subscriber = request.session.session.subscriber
                yield await self._state()
            case Reserve():
                if self.always is not Fault.LANDS_NO_RESERVATION:
                    await self.settlement.reserve([request.reservation])
                yield await self._state()
            case Pay():
                self.paid.append(request.voucher)
                known = self.voucher.voucher.cumulative if self.voucher else 0
                if (
                    request.voucher.voucher.cumulative > known
                    and self.always is not Fault.KEEPS_NO_VOUCHER
                ):
                    self.voucher = request.voucher
                    self._paid.set()
                    self._paid = asyncio.Event()
                yield await self._state()
            case Ask():
                if peer not in self.sessions:
                    raise RemoteFault(RemoteCode.NO_SESSION, "say Hello first")
                async for reply in self._ask(request):
                    yield reply

    async def _ask(self, ask: Ask) -> AsyncIterator[Reply]:
        self.asks += 1
        if self.waits and asyncio.get_running_loop().time() < max(self.waits):
            self.early += 1
        fault = self.faults.popleft() if self.faults else self.always
        stored = self._stored.get(ask.request_id)
        if stored is not None:
            if stored[0] != ask.digest():
                raise RemoteFault(RemoteCode.CONFLICT, "another ask had this id")
            for reply in stored[1]:
                yield reply
            return
        offer = next(offer for offer in self.offers if offer.id == ask.model)
        metered = Metered(offer, count_texts(ask.texts()), ask.max_tokens, bool(ask.tools))
        state = await self._state()
        commit = self.due + metered.worst
        pay = max(0, self.due + self.backed + metered.opening - self.credit)
        if commit > state.committed or pay > self.vouchered or fault is Fault.DEMANDS_TOO_MUCH:
            more = 10**9 if fault is Fault.DEMANDS_TOO_MUCH else 0
            yield PaymentRequired(commit=Units(commit + more), pay=Units(pay), account=state)
            return
        if fault is Fault.TAKES_THE_ADVANCE:
            self.due = self.vouchered
            raise RemoteFault(RemoteCode.UPSTREAM, "the provider failed, alas")
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        self.backed += metered.opening
        try:
            async for reply in self._generate(ask, offer, fault, metered.opening):
                yield reply
        finally:
            self.open -= 1
            self.backed -= metered.opening

    @property
    def vouchered(self) -> int:
        """What the voucher held is worth."""
        return self.voucher.voucher.cumulative if self.voucher else 0

    async def _generate(
        self, ask: Ask, offer: ModelOffer, fault: Fault | None, backing: int
    ) -> AsyncIterator[Reply]:
        self._begins(ask)
        await asyncio.sleep(self.think)
        match fault:
            case Fault.DIES_BEFORE_FIRST_TOKEN:
                await self._die()
            case Fault.BUSY:
                raise RemoteFault(RemoteCode.BUSY, "all slots are taken")
            case Fault.ASKS_TO_WAIT:
                self.waits.append(asyncio.get_running_loop().time() + WAIT)
                raise RemoteFault(RemoteCode.BUSY, "the rate is used up", wait=WAIT)
            case Fault.PROVIDER_FAILS:
                raise RemoteFault(RemoteCode.UPSTREAM, "the provider failed (500)")
            case Fault.KEY_REFUSED:
                raise RemoteFault(RemoteCode.UPSTREAM_AUTH, "the provider \x1b[31mrefuses")
            case Fault.GOES_SILENT:
                await asyncio.Event().wait()
            case Fault.WRONG_REPLY:
                yield await self._state()
            case Fault.ENDLESS:
                while True:
                    yield Chunk(text="more and more " * 1000)
            case Fault.DRIPS:
                while True:
                    await asyncio.sleep(60)
                    yield Chunk(text="drop ")
            case Fault.SENDS_EMPTY_PIECES:
                while True:
                    await asyncio.sleep(0)
                    yield Chunk(text="")
            case Fault.RAISES_ITS_PRICE:
                offer = msgspec.structs.replace(
                    offer, price_out=PricePerMillion(2 * offer.price_out)
                )
                await self.advertise((offer,))
        self.calls.append(ask)
        text = self._answer(ask)
        if fault is Fault.BLANK:
            text = " \n"
        if fault is Fault.LONGER_THAN_ASKED:
            text = "word " * (3 * ask.max_tokens + 200)
        answered = self._receipt(ask, offer, text, fault)
        size = max(1, len(text) // self.pieces)
        *pieces, last = [
            Chunk(text=text[at : at + size] if at < size * (self.pieces - 1) else text[at:])
            for at in range(0, size * self.pieces, size)
        ]
        for piece in pieces:
            yield piece
            await asyncio.sleep(0.1 if self.pieces > 2 else 0)
        if fault is Fault.DIES_AFTER_FIRST_TOKEN:
            await asyncio.sleep(1)
            await self._die()
        bill = answered.receipt.receipt.cost
        if fault is Fault.WANTS_MORE_THAN_IT_GAVE:
            yield Due(due=Units(10**6))
        while (wanted := self.due + self.backed - backing + bill - self.credit) > self.vouchered:
            if wanted not in self.demands:
                self.demands.append(wanted)
                yield Due(due=Units(wanted))
                continue
            await self._paid.wait()
        if fault in (None, Fault.GOES_SILENT_AT_THE_END):
            # Made anew: another answer may have become due in the meantime.
            answered = self._receipt(ask, offer, text, fault)
            self.due += bill
            self._stored[ask.request_id] = (ask.digest(), (*pieces, last, answered))
        yield last
        if fault is Fault.GOES_SILENT_AT_THE_END:
            await asyncio.Event().wait()
        if fault is not Fault.ENDS_WITHOUT_RECEIPT:
            yield answered

    def _receipt(self, ask: Ask, offer: ModelOffer, text: str, fault: Fault | None) -> Answered:
        tokens_in = count_texts(ask.texts()) * self.wordier // 100
        tokens_out = min(count_tokens(text) * self.wordier // 100, ask.max_tokens)
        if fault is Fault.BILLS_MORE_TOKENS:
            tokens_in *= 3
        price = offer.price_in * (2 if fault is Fault.BILLS_ANOTHER_PRICE else 1)
        advert = self.advert
        if fault is Fault.CITES_UNSEEN_ADVERT:
            advert = msgspec.structs.replace(advert, seq=advert.seq + 1)
        bill = cost(tokens_in, tokens_out, PricePerMillion(price), offer.price_out)
        receipt = Receipt(
            network=self.settlement.domain.network,
            subscriber=self.subscriber,
            operator=self.operator,
            period=ask.period,
            request_id=ask.request_id,
            ask=ask.digest(),
            advert=advert.digest(),
            answer=answer_digest(text + ("!" if fault is Fault.RECEIPT_OF_ANOTHER_CALL else "")),
            tokens_in=tokens_in,
            tokens_out=tokens_out,
            exact=True,
            cost=bill,
            due=Units(self.due + bill),
        )
        signed = sign_receipt(self._seed, receipt)
        if fault is Fault.FALSE_SIGNATURE:
            signed = SignedReceipt(receipt=receipt, signature=bytes(64))
        finish = "length" if count_tokens(text) >= ask.max_tokens else "stop"
        return Answered(receipt=signed, finish=finish)

    async def _die(self) -> None:
        self._network.kill(self.peer)
        await asyncio.Event().wait()

    async def _state(self) -> AccountState:
        subscription = await self.settlement.subscription(self.subscriber)
        assert subscription is not None
        period = subscription.period
        on_chain = await self.settlement.commitment(self.subscriber, period, self.operator)
        voucher = self.voucher
        if self.always is Fault.SHOWS_FOREIGN_VOUCHER:
            voucher = self._foreign(period)
        return AccountState(
            period=period,
            committed=on_chain.confirmed,
            due=Units(self.due),
            credit=Units(self.credit),
            voucher=voucher,
        )

    def _foreign(self, period: Period) -> SignedVoucher:
        """A voucher that would pay us well, signed by ourselves."""
        value = Voucher(
            subscriber=self.subscriber,
            node=self.operator,
            period=period,
            cumulative=Units(10**6),
        )
        return sign_voucher(self._seed, self.settlement.domain, value)
