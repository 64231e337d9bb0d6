"""One node's receipts, held against the ask, the answer as it arrived, and terms that were seen.

A receipt is worth something only when it cites exactly what was asked and answered, an advert that
is known here and is no dearer than what was agreed on, and usage that our own count bears out.
"""

from typing import NamedTuple

from ricochet_orchestrator.account import Payer
from ricochet_orchestrator.segment import TokenCounter
from ricochet_protocol.advert import ModelOffer, SignedAdvert
from ricochet_protocol.answer import Answer
from ricochet_protocol.errors import RemoteCode, RemoteFault
from ricochet_protocol.ids import Hash32
from ricochet_protocol.messages import Ask
from ricochet_protocol.money import Units
from ricochet_protocol.ports import Peers
from ricochet_protocol.receipt import Receipt, SignedReceipt, check_receipt_untrusted
from ricochet_protocol.steps import Metered
from ricochet_protocol.usage import check_usage, most_tokens

Terms = tuple[SignedAdvert, SignedAdvert | None]
"""The advert that an ask names, and that of the same ask's last try, if there was one."""


class Checked(NamedTuple):
    """The advert that a receipt cites, and what the answer costs by the own count."""

    cited: SignedAdvert
    counted: Units


class Receipts:
    """What is known of one node's terms; `count` counts tokens."""

    def __init__(
        self, peers: Peers, advert: SignedAdvert, payer: Payer, count: TokenCounter
    ) -> None:
        self._peers = peers
        self._peer = advert.advert.peer
        self._operator = advert.advert.operator
        self._payer = payer
        self._count = count
        self._seen: dict[Hash32, SignedAdvert] = {advert.advert.digest(): advert}

    def saw(self, signed: SignedAdvert) -> None:
        """Remember terms that receipts may cite."""
        self._seen[signed.advert.digest()] = signed

    def check_untrusted(
        self,
        ask: Ask,
        answer: Answer,
        signed: SignedReceipt,
        terms: Terms,
    ) -> Checked:
        """What the receipt of this answer is worth; RemoteFault when anything does not add up."""
        cited, offer = self._cited(ask, signed.receipt, terms)
        expected = Receipt(
            network=self._payer.domain.network,
            subscriber=self._payer.subscriber,
            operator=self._operator,
            period=ask.period,
            request_id=ask.request_id,
            ask=ask.digest(),
            advert=cited.advert.digest(),
            answer=answer.digest(),
            tokens_in=0,
            tokens_out=0,
            exact=False,
            cost=Units(0),
            due=Units(0),
        )
        receipt = check_receipt_untrusted(signed, self._peer, expected)
        counted_out = sum(map(self._count, answer.texts()))
        if answer.blank or counted_out > most_tokens(ask.max_tokens):
            raise RemoteFault(RemoteCode.REFUSED, "peer's answer is blank or longer than asked for")
        metered = metered_by(self._count, ask, offer)
        tokens_in, tools = metered.counted_in, metered.tools
        check_usage(receipt, offer, tokens_in, counted_out, ask.max_tokens, tools=tools)
        return Checked(cited, metered.counted(counted_out))

    def _cited(self, ask: Ask, receipt: Receipt, terms: Terms) -> tuple[SignedAdvert, ModelOffer]:
        """Which advert the receipt means; it may be newer than the ask, but not dearer."""
        heard = (one for one in self._peers.directory() if one.advert.peer == self._peer)
        for signed in (*terms, *heard, *self._seen.values()):
            if signed is None or signed.advert.digest() != receipt.advert:
                continue
            offer = signed.advert.offer(ask.model)
            if offer is None or signed.advert.operator != self._operator:
                break
            if signed not in terms and _dearer(offer, terms[0].advert.offer(ask.model)):
                raise RemoteFault(RemoteCode.REFUSED, "peer raised its price during the call")
            return signed, offer
        # A node that replays an answer which this home has lost cites terms that are lost too:
        # asked under another id, as after any conflict, it serves anew.
        raise RemoteFault(RemoteCode.CONFLICT, "peer's receipt cites an advert nobody has seen")


def metered_by(count: TokenCounter, ask: Ask, offer: ModelOffer) -> Metered:
    """What the ask costs on the terms of an offer."""
    counted_in = sum(map(count, ask.texts()))
    return Metered(offer, counted_in, ask.max_tokens, bool(ask.tools))


def _dearer(offer: ModelOffer, agreed: ModelOffer | None) -> bool:
    return agreed is not None and (
        offer.price_in > agreed.price_in or offer.price_out > agreed.price_out
    )
