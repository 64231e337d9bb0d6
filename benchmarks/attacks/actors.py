"""Nodes and subscribers that keep the rules, and a call between any two of them.

The node decides with `payee`, the subscriber with `payer`, `usage` bounds what he believes; the
chain decides what is committed and paid. Attackers are subclasses that override what they do
otherwise, never what the other side does. All calls are at the prices of `OFFER`.
"""

from collections import defaultdict
from dataclasses import dataclass

import msgspec

from attacks.chain import Account, Chain, Promise, account, price_of
from ricochet_protocol import payee, payer
from ricochet_protocol.advert import ModelOffer
from ricochet_protocol.ids import Address, ModelId
from ricochet_protocol.money import PricePerMillion, Units, cost
from ricochet_protocol.payee import Payee
from ricochet_protocol.payer import Payer, Refused
from ricochet_protocol.steps import STEP_TOKENS
from ricochet_protocol.usage import worst_cost

OFFER = ModelOffer(
    id=ModelId("m"),
    context=131_072,
    price_in=PricePerMillion(1_000_000),
    price_out=PricePerMillion(4_000_000),
    slots=8,
)
FEE = Units(10_000_000)


@dataclass(frozen=True)
class Call:
    """One request by its sizes in tokens; `id` tells repetitions."""

    tokens_in: int
    tokens_out: int
    id: int = 0

    @property
    def worst(self) -> Units:
        return worst_cost(OFFER, self.tokens_in, self.tokens_out)

    def worth(self, tokens_out: int) -> Units:
        """Prompt and so much of the answer."""
        return cost(self.tokens_in, tokens_out, OFFER.price_in, OFFER.price_out)

    @property
    def opening(self) -> Units:
        return self.worth(min(STEP_TOKENS, self.tokens_out))

    @property
    def cost(self) -> Units:
        return self.worth(self.tokens_out)

    def steps(self) -> list[Units]:
        """What the call is worth after each step but the first and the last."""
        return [self.worth(end) for end in range(2 * STEP_TOKENS, self.tokens_out, STEP_TOKENS)]


class Subscriber:
    """Pays as the rules say."""

    def __init__(self, chain: Chain, label: str, budget: Units = FEE) -> None:
        self.chain = chain
        self.account: Account = account(label)
        self.budget = budget
        self.period = 0
        self.nodes: dict[Address, Payer] = defaultdict(Payer)
        if budget:
            self.subscribe()

    def subscribe(self) -> None:
        """Begin the next period."""
        self.chain.subscribe(self.account, self.budget)
        self.period += 1

    def promise(self, node: Address, amount: int) -> Promise:
        """A reservation or voucher of this period."""
        return Promise(self.account, node, self.period, Units(amount))

    def reserve(self, node: Address, needed: Units) -> Promise | None:
        """What the node gets when it wants that much reserved."""
        total = payer.reserve(self.nodes[node], needed, self._left())
        if isinstance(total, Refused):
            return None
        self._change(node, reserved=total)
        return self.promise(node, total)

    def pay(self, node: Address, cumulative: Units) -> Promise | None:
        """What the node gets when it wants vouchers up to that much."""
        amount = payer.sign(self.nodes[node], cumulative, self._left())
        if isinstance(amount, Refused):
            return None
        self._change(node, signed=amount)
        return self.promise(node, amount)

    def stays(self, node: Address, delivered: Units) -> bool:
        """Whether he still listens when so much of an answer has come."""
        return True

    def accepts(self, node: Address, call: Call, due: Units) -> None:
        """The answer has come and passed."""
        self.nodes[node] = payer.accept(self.nodes[node], call.cost, due)

    def _left(self) -> payer.Purse:
        reserved = Units(sum(node.reserved for node in self.nodes.values()))
        return payer.purse(self.budget, reserved, Units(0), self.nodes.values())

    def _change(self, node: Address, **amounts: Units) -> None:
        self.nodes[node] = msgspec.structs.replace(self.nodes[node], **amounts)


class Node:
    """Serves as the rules say."""

    def __init__(self, chain: Chain, label: str) -> None:
        self.chain = chain
        self.address = account(label).address
        self.states: dict[tuple[Address, int], Payee] = defaultdict(Payee)
        self.delivered: dict[tuple[Address, int], int] = defaultdict(int)
        """The worth of what left the house, by subscriber and period."""
        self.vouchers: dict[tuple[Address, int], Promise] = {}
        self.answers: set[tuple[Address, int]] = set()
        self.relays = self.failed_relays = 0
        chain.register(self.address)
        self._registered = chain.gas[self.address]

    @property
    def gas(self) -> Units:
        """Spent on transactions since it registered."""
        return price_of(self.chain.gas[self.address] - self._registered)

    def state(self, who: Subscriber) -> Payee:
        return self.states[who.account.address, who.period]

    def take(self, who: Subscriber, event: payee.Event) -> None:
        self.states[who.account.address, who.period] = payee.after(self.state(who), event)

    def look(self, who: Subscriber) -> None:
        """Read the chain: this period's commitment, what all periods brought, what they left."""
        committed = [
            self.chain.commitment(who.account, period, self.address)
            for period in range(1, who.period + 1)
        ]
        self.take(who, payee.Committed(committed[-1][0]))
        self.take(who, payee.Earned(Units(sum(claimed for _, claimed in committed))))
        left = (
            max(0, self.states[who.account.address, period].due - claimed)
            for period, (_, claimed) in enumerate(committed[:-1], start=1)
        )
        self.take(who, payee.Owed(Units(sum(left))))

    def will_relay(self, who: Subscriber, promise: Promise) -> bool:
        """After simulating it on the chain as it is now."""
        free = self.chain.free(who.account, who.period)
        return payee.relay(self.state(who), promise.amount, free)

    def relay(self, who: Subscriber, promise: Promise) -> None:
        """Bring a reservation to the chain, which may have changed since it was simulated."""
        self.relays += 1
        (landed,) = self.chain.reserve(self.address, [promise])
        if not landed:
            self.failed_relays += 1
            self.take(who, payee.RelayFailed())
        self.look(who)

    def serve(self, who: Subscriber, call: Call) -> bool:
        """Whether the whole answer came."""
        if (who.account.address, call.id) in self.answers:
            return payee.extend(self.state(who), Units(0)) is None
        if not self._admits(who, call):
            return False
        self.take(who, payee.Opened(call.worst, call.opening))
        backed = delivered = call.opening
        for value in call.steps():
            if not who.stays(self.address, delivered) or not self._extends(who, value, backed):
                self._drop(who, call, backed, delivered)
                return False
            self.take(who, payee.Extended(Units(value - backed)))
            backed = delivered = value
        if not who.stays(self.address, delivered) or not self._finishes(who, call, backed):
            self._drop(who, call, backed, delivered)
            return False
        self.take(who, payee.Finished(call.worst, backed, call.cost))
        self.delivered[who.account.address, who.period] += call.cost
        if call.id:
            self.answers.add((who.account.address, call.id))
        who.accepts(self.address, call, self.state(who).due)
        return True

    def claim(self) -> None:
        """Have every voucher paid that the contract would pay something for."""
        worth = []
        for voucher in self.vouchers.values():
            where = voucher.payer, voucher.period
            committed, claimed = self.chain.commitment(*where, self.address)
            if min(voucher.amount, committed + self.chain.free(*where)) > claimed:
                worth.append(voucher)
        if worth:
            self.chain.claim(self.address, worth)

    def unpaid(self, who: Subscriber) -> int:
        """What left the house for him in all periods and the chain has not paid."""
        lost = 0
        for period in range(1, who.period + 1):
            _, claimed = self.chain.commitment(who.account, period, self.address)
            lost += max(0, self.delivered[who.account.address, period] - claimed)
        return lost

    def _admits(self, who: Subscriber, call: Call) -> bool:
        short = payee.admit(self.state(who), call.worst, call.opening)
        if short is not None and short.commit > self.state(who).committed:
            promise = who.reserve(self.address, short.commit)
            if promise is not None and self.will_relay(who, promise):
                self.relay(who, promise)
        if short is not None:
            self._ask_to_pay(who, short.pay)
        return payee.admit(self.state(who), call.worst, call.opening) is None

    def _extends(self, who: Subscriber, value: Units, backed: Units) -> bool:
        step = Units(value - backed)
        short = payee.extend(self.state(who), step)
        if short is not None:
            self._ask_to_pay(who, short.pay)
        return payee.extend(self.state(who), step) is None

    def _finishes(self, who: Subscriber, call: Call, backed: Units) -> bool:
        short = payee.finish(self.state(who), backed, call.cost)
        if short is not None:
            self._ask_to_pay(who, short.pay)
        return payee.finish(self.state(who), backed, call.cost) is None

    def _ask_to_pay(self, who: Subscriber, cumulative: Units) -> None:
        voucher = who.pay(self.address, cumulative)
        if voucher is not None:
            self.take(who, payee.Vouchered(voucher.amount))
            key = who.account.address, who.period
            held = self.vouchers.get(key)
            if held is None or voucher.amount > held.amount:
                self.vouchers[key] = voucher

    def _drop(self, who: Subscriber, call: Call, backed: Units, delivered: Units) -> None:
        self.take(who, payee.Dropped(call.worst, backed, delivered))
        self.delivered[who.account.address, who.period] += delivered
