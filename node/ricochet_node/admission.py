"""The rules by which a node lets someone in, as functions of values: no clock, disk or network.

A session ties a subscriber to the two peers of a connection; an ask is admitted while the rules
of `payee` hold: the chain has committed what it may cost at worst, and its prompt and first step
are paid. Refusals say what the client can do; a missing payment is not a fault but a demand.
"""

import msgspec

from ricochet_protocol.advert import ModelOffer
from ricochet_protocol.eip712 import Domain, SignedReservation, SignedSession, SignedVoucher
from ricochet_protocol.errors import RemoteCode, RemoteFault
from ricochet_protocol.ids import Address, PeerId, Period
from ricochet_protocol.messages import Ask
from ricochet_protocol.ports import Subscription
from ricochet_protocol.steps import Metered
from ricochet_protocol.usage import most_prompt, most_tokens


class OpenSession(msgspec.Struct, frozen=True):
    """Whom a peer speaks for, until when, and the subscription as it was at Hello."""

    subscriber: Address
    delegate: Address
    expires: int
    period: Period
    period_end: int


def check_session_untrusted(
    signed: SignedSession, client: PeerId, own: PeerId, domain: Domain, now: float
) -> Address:
    """Who signed the session of this connection; RemoteFault when it is another's or over."""
    session = signed.session
    if (session.client_peer, session.node_peer) != (client, own):
        raise RemoteFault(RemoteCode.NO_SESSION, "the session is for another connection")
    if session.expires <= now:
        raise RemoteFault(
            RemoteCode.NO_SESSION, "the session has expired", "sign a new one (check both clocks)"
        )
    return signed.signer(domain)


def open_session(
    signed: SignedSession, signer: Address, subscription: Subscription | None, now: float
) -> OpenSession:
    """The session, when its signer may speak for a subscriber who has paid."""
    if subscription is None or subscription.end <= now:
        raise RemoteFault(
            RemoteCode.REFUSED, "no subscription is running", "subscribe: `ricochet subscribe`"
        )
    if signer not in (subscription.subscriber, subscription.delegate):
        raise RemoteFault(
            RemoteCode.NO_SESSION,
            "the session is signed neither by the subscriber nor by his delegate",
            "sign with the key that `ricochet subscribe` named as delegate",
        )
    return OpenSession(
        subscriber=subscription.subscriber,
        delegate=subscription.delegate,
        expires=signed.session.expires,
        period=subscription.period,
        period_end=subscription.end,
    )


def check_ask(ask: Ask, session: OpenSession, now: float) -> None:
    """RemoteFault unless the ask lies within the session and its period."""
    if session.expires <= now:
        raise RemoteFault(RemoteCode.NO_SESSION, "the session has expired", "say Hello again")
    if ask.period != session.period:
        raise RemoteFault(
            RemoteCode.NO_SESSION,
            f"the session is for period {session.period}, the ask for {ask.period}",
            "say Hello again",
        )
    if now + ask.deadline >= session.period_end:
        raise RemoteFault(
            RemoteCode.REFUSED,
            "the period ends before the ask's deadline",
            "ask with a shorter deadline, or subscribe for the next period",
        )


def meter_ask(ask: Ask, offer: ModelOffer, counted_in: int) -> Metered:
    """What the ask is worth, step by step; RemoteFault `too_long` when it cannot fit the model.

    `counted_in` is the node's own count of the prompt. A prompt's worst case is reserved, but only
    its plain count must fit the window: the provider has the last word on that.
    """
    check_window(ask, offer.context, counted_in)
    return Metered(offer, counted_in, ask.max_tokens, bool(ask.tools))


def check_window(ask: Ask, context: int, counted_in: int) -> None:
    """RemoteFault `too_long` when prompt and answer do not fit a window of `context` tokens."""
    if counted_in + ask.max_tokens > context:
        raise RemoteFault(
            RemoteCode.TOO_LONG,
            f"{counted_in} tokens and {ask.max_tokens} for the answer exceed {context}",
            "send a shorter prompt or ask for fewer tokens",
        )


def check_voucher_untrusted(
    signed: SignedVoucher, session: OpenSession, operator: Address, domain: Domain
) -> None:
    """RemoteFault unless the voucher pays this operator and its payer signed it."""
    voucher = signed.voucher
    if (voucher.subscriber, voucher.node) != (session.subscriber, operator):
        raise RemoteFault(RemoteCode.REFUSED, "the voucher is between other parties")
    _check_signer_untrusted(signed.signer(domain), session, "voucher")


def check_reservation_untrusted(
    signed: SignedReservation, session: OpenSession, operator: Address, domain: Domain
) -> None:
    """RemoteFault unless relaying the reservation would be paid for by this subscriber's budget."""
    value = signed.reservation
    if (value.subscriber, value.node) != (session.subscriber, operator):
        raise RemoteFault(RemoteCode.REFUSED, "the reservation is between other parties")
    if value.period != session.period:
        raise RemoteFault(RemoteCode.REFUSED, f"the reservation is not for {session.period}")
    _check_signer_untrusted(signed.signer(domain), session, "reservation")


def most_billable(ask: Ask, counted_in: int, counted_out: int) -> tuple[int, int]:
    """The most tokens in and out that a client will believe; see `usage.py`."""
    most_in = most_prompt(counted_in, tools=bool(ask.tools))
    return most_in, min(ask.max_tokens, most_tokens(counted_out))


def _check_signer_untrusted(signer: Address, session: OpenSession, what: str) -> None:
    if signer not in (session.subscriber, session.delegate):
        raise RemoteFault(
            RemoteCode.REFUSED, f"the {what} is signed neither by the subscriber nor his delegate"
        )
