"""The door for peers: who says what, and which part of the node answers.

Every request comes from an authenticated peer, but only a Hello with a session signed by a paying
subscriber's side lets that peer ask, pay and reserve, and only for this subscriber. What goes wrong
inside is logged here and told outside as `internal`, without paths, amounts or names.
"""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Final

import msgspec

from ricochet_node import admission
from ricochet_node.admission import OpenSession
from ricochet_node.deadline import ending_within
from ricochet_node.guests import Guests
from ricochet_node.ledger import MAX_AMOUNT, Ledger
from ricochet_node.log import EventLog
from ricochet_node.serve import Server
from ricochet_node.standings import Standings
from ricochet_protocol import payee
from ricochet_protocol.eip712 import Domain, SignedReservation
from ricochet_protocol.errors import RemoteCode, RemoteFault, RicochetError
from ricochet_protocol.ids import Address, PeerId
from ricochet_protocol.messages import (
    AccountState,
    Ask,
    Hello,
    Pay,
    Reply,
    Request,
    Reserve,
)
from ricochet_protocol.money import Units, dollars
from ricochet_protocol.payee import Payee
from ricochet_protocol.ports import Outcome, Settlement

MAX_SESSIONS: Final = 4096
"""Peers with a session at once; the one that was used longest ago has to say Hello again."""
LAST_SECONDS: Final = 5.0
"""After an ask's deadline, in which what was ready in time can still reach its client."""


class Door:
    """Implements `ports.Handler`."""

    def __init__(
        self,
        peer: PeerId,
        operator: Address,
        settlement: Settlement,
        ledger: Ledger,
        standings: Standings,
        server: Server,
        clock: Callable[[], float],
        log: EventLog,
        guests: Guests,
    ) -> None:
        self._peer = peer
        self._operator = operator
        self._settlement = settlement
        self._domain: Domain = settlement.domain
        self._ledger = ledger
        self._standings = standings
        self._server = server
        self._clock = clock
        self._log = log
        self._guests = guests
        self._sessions: dict[PeerId, OpenSession] = {}

    def change_guests(self, guests: Guests) -> None:
        """Let in whom these lists name; sessions of others end, their open calls go on."""
        self._guests = guests
        self._sessions = {
            peer: session
            for peer, session in self._sessions.items()
            if guests.welcome(session.subscriber)
        }

    async def __call__(self, peer: PeerId, request: Request) -> AsyncGenerator[Reply, None]:
        """Serve one request of an authenticated peer."""
        try:
            async with aclosing(self._answer(peer, request)) as replies:
                async for reply in replies:
                    yield reply
        except RemoteFault as fault:
            self._log.event("refused", peer=peer, code=fault.code, message=fault.message)
            raise
        except RicochetError as error:
            self._log.event(
                "failed", peer=peer, code=error.code, message=error.message, hint=error.hint
            )
            raise RemoteFault(
                RemoteCode.INTERNAL, "the node cannot serve now", "use another node"
            ) from None

    async def _answer(self, peer: PeerId, request: Request) -> AsyncGenerator[Reply, None]:
        match request:
            case Hello():
                yield await self._hello_untrusted(peer, request)
            case Ask():
                replies = self._server.serve(request, self._session(peer))
                # A peer that takes nothing more would else hold a slot for as long as it likes.
                with ending_within(request.deadline + LAST_SECONDS):
                    async with aclosing(replies):
                        async for reply in replies:
                            yield reply
            case Pay():
                yield self._pay_untrusted(request, self._session(peer))
            case Reserve():
                yield await self._reserve_untrusted(request, self._session(peer))
            case _:
                raise RemoteFault(RemoteCode.REFUSED, "this node does not answer that")

    async def _hello_untrusted(self, peer: PeerId, hello: Hello) -> AccountState:
        signer = admission.check_session_untrusted(
            hello.session, peer, self._peer, self._domain, self._clock()
        )
        subscription = await self._settlement.subscription(hello.session.session.subscriber)
        session = self._guests.admit(hello.session, signer, subscription, self._clock())
        await self._standings.refresh(session.subscriber, session.period)
        self._sessions[peer] = session
        if len(self._sessions) > MAX_SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        return self._standings.account(session.subscriber, session.period)

    def _session(self, peer: PeerId) -> OpenSession:
        session = self._sessions.pop(peer, None)
        if session is None or session.expires <= self._clock():
            raise RemoteFault(RemoteCode.NO_SESSION, "there is no session", "say Hello first")
        self._sessions[peer] = session  # the last one is the one used last
        return session

    def _pay_untrusted(self, pay: Pay, session: OpenSession) -> AccountState:
        admission.check_voucher_untrusted(pay.voucher, session, self._operator, self._domain)
        voucher = pay.voucher.voucher
        if voucher.cumulative > MAX_AMOUNT:
            raise RemoteFault(RemoteCode.REFUSED, "the voucher is above any budget")
        past = self._ledger.account(session.subscriber, voucher.period)
        if voucher.period != session.period and not past.due:
            raise RemoteFault(RemoteCode.REFUSED, f"nothing was served in period {voucher.period}")
        if self._ledger.accept(pay.voucher):
            standing = self._standings.of(session.subscriber, voucher.period)
            standing.take(payee.Vouchered(voucher.cumulative))
            self._log.event(
                "paid",
                subscriber=voucher.subscriber,
                period=voucher.period,
                units=voucher.cumulative,
            )
        return self._standings.account(session.subscriber, voucher.period)

    async def _reserve_untrusted(self, request: Reserve, session: OpenSession) -> AccountState:
        signed = request.reservation
        admission.check_reservation_untrusted(signed, session, self._operator, self._domain)
        who, period = session.subscriber, session.period
        standing = self._standings.of(who, period)
        async with standing.relaying:
            if standing.state.committed >= signed.reservation.total:
                return self._standings.account(who, period)
            if standing.state.relay_failed:
                raise RemoteFault(
                    RemoteCode.REFUSED,
                    f"an earlier reservation of yours failed ({standing.relay_error})",
                    "relay it yourself, or use another node in this period",
                )
            held = await self._standings.refresh(who, period)
            if held.committed >= signed.reservation.total:
                return self._standings.account(who, period)  # relayed, and not confirmed yet
            await self._check_worth(signed, standing.state, held.committed)
            (outcome,) = await self._settlement.reserve([signed])
            held = await self._standings.refresh(who, period)
            if held.committed >= signed.reservation.total:
                # It counts only once it is confirmed, which the state says; nothing has failed.
                if outcome.accepted:
                    self._log.event("reserved", subscriber=who, period=period, units=held.committed)
                return self._standings.account(who, period)
            standing.relay_error = _reason(outcome)
            standing.take(payee.RelayFailed())
        raise RemoteFault(
            RemoteCode.REFUSED,
            f"the chain refuses the reservation ({standing.relay_error})",
            "check the budget with `ricochet wallet show`",
        )

    async def _check_worth(self, signed: SignedReservation, state: Payee, committed: Units) -> None:
        """RemoteFault unless the raise is worth the gas that relaying it costs this node."""
        value = signed.reservation
        period = await self._settlement.period(value.subscriber, value.period)
        free = Units(0 if period is None else period.budget - period.committed)
        latest = msgspec.structs.replace(state, committed=committed)
        if not payee.relay(latest, value.total, free):
            raise RemoteFault(
                RemoteCode.REFUSED,
                f"the budget leaves {dollars(free)}, and a raise is {dollars(payee.MIN_RAISE)} "
                "at least or all that is left",
                "reserve more, or check the budget with `ricochet wallet show`",
            )


def _reason(outcome: Outcome) -> str:
    return outcome.reason or "not committed"
