"""Single calls on record: what each may cost and has cost, who answered, and with what proof.

A call is entered before its ask goes out, with its worst case *held*; once it has ended, it is
*charged* with what it cost, in the transaction that stores answer, receipt, voucher and account.
Per API key and window of time

    charged + held <= budget

holds at every moment, for any number of calls and processes at once: both are added up in the
transaction that holds more. A call that a crash cut off stays held until it is asked again.
"""

import msgspec
from sqlalchemy import func
from sqlmodel import Session, col, select, update

from ricochet_orchestrator.call_record import DAY, Allowance, Call, CallAnswer, CallStatus, Known
from ricochet_orchestrator.placement import over_budget
from ricochet_orchestrator.store import Change, Store
from ricochet_orchestrator.tables import CallRow
from ricochet_protocol.advert import SignedAdvert
from ricochet_protocol.errors import UsageError
from ricochet_protocol.ids import Address, PeerId, Period
from ricochet_protocol.money import Units
from ricochet_protocol.receipt import SignedReceipt

_encode = msgspec.msgpack.Encoder().encode
_decode_advert = msgspec.msgpack.Decoder(SignedAdvert).decode
_decode_answer = msgspec.msgpack.Decoder(CallAnswer).decode


class Calls:
    """The calls of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def known(self, call: Call) -> Known | None:
        """What is on record under the call's id; UsageError when that was another request."""
        with self._store.transaction() as session:
            row = session.get(CallRow, call.id)
        if row is None:
            return None
        if (row.key, row.request) != (call.allowance.key, call.request):
            raise UsageError(
                "idempotency_key_reused",
                "This idempotency key was used for another request.",
                "Use a new one for each request; repeat it only with the same content.",
            )
        entered = msgspec.structs.replace(
            call,
            period=Period(row.period),
            created_at=row.created_at,
            max_tokens=row.max_tokens,
            conflicts=row.conflicts,
        )
        return Known(
            call=entered,
            status=CallStatus(row.status),
            peer=None if row.peer is None else PeerId(row.peer),
            advert=None if row.advert is None else _decode_advert(row.advert),
            answer=None if row.answer is None else _decode_answer(row.answer),
        )

    def left(self, call: Call) -> Units | None:
        """What the key may still spend on this call; None without a budget."""
        budget = call.allowance.budget
        if budget is None:
            return None
        with self._store.transaction() as session:
            return Units(max(0, budget - _others(session, call)))

    def hold(self, call: Call, worst: Units, peer: PeerId | None, advert: bytes | None) -> None:
        """Enter that the call is being asked of `peer` and may cost `worst`; before it goes out.

        BudgetError `key_budget` when the key's budget does not hold that.
        """
        with self._store.transaction() as session:
            budget = call.allowance.budget
            if budget is not None and (spent := _others(session, call)) + worst > budget:
                raise over_budget(worst, Units(max(0, budget - spent)))
            row = session.get(CallRow, call.id) or CallRow(
                id=call.id,
                key=call.allowance.key,
                model=call.model,
                request=call.request,
                period=call.period,
                created_at=call.created_at,
                status=CallStatus.OPEN,
            )
            row.status, row.held, row.period = CallStatus.OPEN, worst, call.period
            row.max_tokens, row.conflicts = call.max_tokens, call.conflicts
            row.peer, row.advert = peer, advert
            session.add(row)

    def complete(
        self,
        call: Call,
        answer: CallAnswer,
        operator: Address,
        receipt: SignedReceipt,
        pay: Change,
        now: float,
    ) -> None:
        """Write answer, receipt, voucher and account, and charge the key, in one transaction."""
        with self._store.changing(operator, call.period, pay) as (session, account):
            row = session.get_one(CallRow, call.id)
            row.status, row.completed_at = CallStatus.COMPLETED, now
            row.held, row.charged, row.cost = 0, row.charged + answer.cost, answer.cost
            row.operator, row.answer = operator, _encode(answer)
            row.receipt, row.voucher = _encode(receipt), _encode(account.voucher)

    def end(self, call: Call, charged: Units, status: CallStatus) -> None:
        """Enter that an attempt has ended without an answer; nothing for one never entered."""
        with self._store.transaction() as session:
            row = session.get(CallRow, call.id)
            if row is not None and row.status == CallStatus.OPEN:
                row.status, row.held, row.charged = status, 0, row.charged + charged

    def cut(self) -> None:
        """Mark calls that are open as cut off: to be called when no process works on any."""
        with self._store.transaction() as session:
            still_open = col(CallRow.status) == CallStatus.OPEN
            session.exec(update(CallRow).where(still_open).values(status=CallStatus.CUT))

    def latest_period(self) -> Period:
        """The latest period in which a call was made; 0 without any."""
        with self._store.transaction() as session:
            return Period(session.exec(select(func.max(CallRow.period))).one() or 0)

    def spent(self, allowance: Allowance, period: Period, now: float) -> Units:
        """What a key has spent and holds in the window of `period` or of the day of `now`."""
        with self._store.transaction() as session:
            return Units(_spent(session, allowance, period, now))


def _others(session: Session, call: Call) -> int:
    return _spent(session, call.allowance, call.period, call.created_at, call.id)


def _spent(session: Session, allowance: Allowance, period: Period, at: float, but: str = "") -> int:
    """What the key has spent and holds; the call `but` only with what it was charged already."""
    if allowance.per == "period":
        window = [col(CallRow.period) == period]
    else:
        today = at // DAY * DAY
        window = [col(CallRow.created_at) >= today, col(CallRow.created_at) < today + DAY]
    where = [col(CallRow.key) == allowance.key, *window]
    charged = session.exec(select(func.sum(CallRow.charged)).where(*where)).one()
    held = session.exec(select(func.sum(CallRow.held)).where(*where, col(CallRow.id) != but)).one()
    return int(charged or 0) + int(held or 0)
