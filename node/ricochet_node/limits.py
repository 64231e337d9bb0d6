"""Whether a call may be sent now, and what it counts for: the owner's limits, enforced.

A call is counted at its worst before it is sent: every byte of the prompt as a token, plus all the
tokens it may generate, at the provider's prices. What the provider reports afterwards takes the
worst's place; without a report the worst stays. So a cap holds even if this process is killed at
any moment, and a day's spending is never more than the cap, except by what a provider charges
beyond `max_tokens`.

Refusals name what ran out, so that a pool can use another key: `disabled`, `hours`, `concurrency`,
`rate`, `cap_day`, `cap_month`, and `counters` when the count cannot be written.
"""

import math
import sqlite3
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import Final

import msgspec

from ricochet_node.counters import WINDOW, Counters, Debit
from ricochet_node.key_rules import KeyRules, next_day, next_month, next_opening
from ricochet_node.turn_commit import Turn
from ricochet_node.vault_request import Call, Refusal
from ricochet_protocol.money import Units, cost

_FEWEST_BYTES: Final = 3
"""A token is rarely shorter; tpm counts by it until the provider reports, money never does."""


class Outcome(msgspec.Struct, frozen=True):
    """How a call ended: `tokens` (in, out) as the provider reported them, or certainly unbilled."""

    tokens: tuple[int, int] | None = None
    unbilled: bool = False


class Ticket(msgspec.Struct, frozen=True):
    """A call that may be sent once `turn`, which has its debit, is written; None: it is."""

    debit: Debit
    call: Call
    rules: KeyRules
    turn: Turn | None = None


class Limits:
    """The judge of all calls of one vault; `clock` is the time of day in seconds."""

    def __init__(self, counters: Counters, clock: Callable[[], float]) -> None:
        self._counters = counters
        self._clock = clock
        self._open: Counter[str] = Counter()

    def admit(self, key: str, rules: KeyRules, call: Call) -> Ticket:
        """Count a call at its worst; Refusal when a limit stands against it."""
        now = self._clock()
        local = rules.local(now)
        try:
            with self._counters.change() as turn:
                if self._counters.is_disabled(key):
                    raise Refusal(503, "disabled")
                self._check_hours(rules, local)
                if rules.concurrency and self._open[key] >= rules.concurrency:
                    raise Refusal(429, "concurrency")
                tokens = _estimate(call, rules)
                self._check_rate(key, rules, tokens, now)
                amount = _worst(call, rules)
                periods = _periods(local)
                self._check_caps(key, rules, amount, local, periods)
                debit = self._counters.debit(key, now, tokens, amount, periods)
        except (sqlite3.Error, OSError):
            raise Refusal(503, "counters") from None
        self._open[key] += 1
        return Ticket(debit, call, rules, turn)

    async def secure(self, ticket: Ticket) -> None:
        """Before an admitted call is sent: its debit is written, and on disk if there is a cap.

        Refusal `counters` when it is not known to be; the call is then not to be sent.
        """
        try:
            if ticket.turn is not None:
                await ticket.turn.written()
            if ticket.rules.is_capped:
                await self._counters.synced()
        except (sqlite3.Error, OSError):
            raise Refusal(503, "counters") from None

    def finish(self, ticket: Ticket, outcome: Outcome) -> Units:
        """Settle an admitted call; what it counts for from now on."""
        self._open[ticket.debit.key] -= 1
        debit = ticket.debit
        if ticket.turn is not None and ticket.turn.lost:
            return Units(0)  # the debit was not written after all: there is none to settle
        if outcome.unbilled:
            tokens, amount = 0, Units(0)
        elif outcome.tokens is not None:
            tokens, amount = sum(outcome.tokens), _price(ticket, *outcome.tokens)
        else:
            return debit.amount
        try:
            with self._counters.change():
                self._counters.settle(debit, tokens, amount)
        except (sqlite3.Error, OSError):
            return debit.amount  # the worst stands on disk: too much is counted, never too little
        return amount

    def _check_hours(self, rules: KeyRules, local: datetime) -> None:
        if rules.hours is not None and not rules.hours.hold(local):
            raise Refusal(503, "hours", _seconds(local, next_opening(local, rules.hours)))

    def _check_rate(self, key: str, rules: KeyRules, tokens: int, now: float) -> None:
        recent = self._counters.window(key, now) if rules.rpm or rules.tpm else []
        if rules.rpm and len(recent) >= rules.rpm:
            raise Refusal(429, "rate", _until(recent[-rules.rpm][0], now))
        if not rules.tpm:
            return
        if tokens > rules.tpm:
            raise Refusal(429, "rate")  # it never fits: there is nothing to wait for
        used = sum(each for _, each in recent)
        if used + tokens <= rules.tpm:
            return
        for at, each in recent:
            used -= each
            if used + tokens <= rules.tpm:
                raise Refusal(429, "rate", _until(at, now))

    def _check_caps(
        self, key: str, rules: KeyRules, amount: Units, local: datetime, periods: tuple[str, str]
    ) -> None:
        if not rules.is_capped:
            return
        day, month = periods
        for cap, period, code, renewal in (
            (rules.per_month, month, "cap_month", next_month),
            (rules.per_day, day, "cap_day", next_day),
        ):
            if cap is not None and self._counters.spent(key, period).amount + amount > cap:
                raise Refusal(429, code, _seconds(local, renewal(local)))


def _estimate(call: Call, rules: KeyRules) -> int:
    if call.model is None:
        return 0
    if call.max_tokens is None:
        if rules.tpm:
            raise Refusal(400, "max_tokens")
        return 0
    return -(-call.prompt // _FEWEST_BYTES) + call.max_tokens


def _worst(call: Call, rules: KeyRules) -> Units:
    """The most that the provider can charge; a list of models is free."""
    if call.model is None:
        return Units(0)
    price = rules.prices.get(call.model)
    if price is None:
        if rules.is_capped:
            raise Refusal(403, "price")
        return Units(0)
    if call.max_tokens is None:
        if rules.is_capped:
            raise Refusal(400, "max_tokens")
        return Units(0)
    return cost(call.prompt, call.max_tokens, price.tokens_in, price.tokens_out)


def _price(ticket: Ticket, tokens_in: int, tokens_out: int) -> Units:
    price = ticket.rules.prices.get(ticket.call.model or "")
    if price is None:
        return Units(0)
    return cost(tokens_in, tokens_out, price.tokens_in, price.tokens_out)


def _periods(local: datetime) -> tuple[str, str]:
    day = local.date().isoformat()
    return day, day[:7]


def _until(at: float, now: float) -> int:
    return max(1, math.ceil(at + WINDOW - now))


def _seconds(local: datetime, later: datetime) -> int:
    # As instants, not as wall clocks: a day may have 23 or 25 hours.
    return max(1, math.ceil(later.timestamp() - local.timestamp()))
