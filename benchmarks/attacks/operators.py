"""Attacks by nodes on subscribers who keep the rules; as in `customers.py` otherwise."""

from collections.abc import Callable
from random import Random

from attacks.actors import FEE, OFFER, Call, Subscriber
from attacks.chain import Chain, Promise, account
from attacks.outcome import Outcome
from ricochet_protocol import payer
from ricochet_protocol.advert import ModelOffer
from ricochet_protocol.errors import RemoteFault
from ricochet_protocol.ids import Address, Hash32, ModelId, NetworkId, Period, RequestId
from ricochet_protocol.money import PricePerMillion, Units, cost
from ricochet_protocol.payer import FIRST_RESERVATION, PROVEN_ANSWERS
from ricochet_protocol.receipt import Receipt
from ricochet_protocol.usage import check_usage, most_tokens

DEAREST_FIRST = Call((FIRST_RESERVATION - 128 - 4 * 128) // 2, 128)
"""The prompt whose worst case just fits a stranger's first reservation: the largest advance."""
CHEAP = ModelOffer(
    id=ModelId("cheap"),
    context=131_072,
    price_in=PricePerMillion(100_000),
    price_out=PricePerMillion(400_000),
    slots=8,
)
"""A tenth of what the sold model costs."""


class Rogue:
    """A node that takes reservations and vouchers, and answers when it suits it."""

    def __init__(self, chain: Chain, label: str) -> None:
        self.chain = chain
        self.address = account(label).address
        self.vouchers: dict[Address, Promise] = {}
        chain.register(self.address)

    def advance(self, who: Subscriber, call: Call) -> bool:
        """Whether the subscriber paid for prompt and first step of `call`, which never come."""
        held = who.nodes[self.address].signed
        due = payer.believed_due(who.nodes[self.address], Units(2**100))
        return self._reserved(who, Units(due + call.worst)) and (
            self._paid(who, Units(due + call.opening)) and who.nodes[self.address].signed > held
        )

    def answer(self, who: Subscriber, call: Call) -> bool:
        """Serve one call honestly."""
        due = payer.believed_due(who.nodes[self.address], Units(0))
        total = Units(due + call.cost)
        if not (self._reserved(who, Units(due + call.worst)) and self._paid(who, total)):
            return False
        who.accepts(self.address, call, total)
        return True

    def _reserved(self, who: Subscriber, needed: Units) -> bool:
        promise = who.reserve(self.address, needed)
        committed, _ = self.chain.commitment(who.account, who.period, self.address)
        if promise is not None and promise.amount > committed:
            self.chain.reserve(self.address, [promise])
        return promise is not None

    def _paid(self, who: Subscriber, cumulative: Units) -> bool:
        voucher = who.pay(self.address, cumulative)
        if voucher is None:
            return False
        self.vouchers[who.account.address] = voucher
        return True

    def income(self) -> Units:
        """Of all vouchers, claimed in one batch."""
        if self.vouchers:
            self.chain.claim(self.address, list(self.vouchers.values()))
        return self.chain.withdraw(self.address)


def advance_taking(chain: Chain, size: int, rng: Random) -> Outcome:
    """Fresh identities take the dearest first step that a stranger is paid, and vanish."""
    rogues = [Rogue(chain, f"fresh {n}") for n in range(size)]
    victims = [Subscriber(chain, f"victim {n}") for n in range(max(1, size // 10))]
    for who in victims:
        for rogue in rng.sample(rogues, size):
            if not rogue.advance(who, DEAREST_FIRST):
                break  # strangers have had all that he risks on them
    return _robbed("advance-taking", chain, rogues, victims, 2)


def turning(chain: Chain, size: int, rng: Random) -> Outcome:
    """One identity answers until it is proven, then takes whatever it can and vanishes."""
    rogue = Rogue(chain, "turncoat")
    victims = [Subscriber(chain, f"victim {n}") for n in range(max(1, size // 50))]
    spent = 0
    for who in victims:
        for _ in range(PROVEN_ANSWERS):
            if rogue.answer(who, Call(200, 100)):
                spent += Call(200, 100).cost
        for call in (Call(100_000, 4_096), DEAREST_FIRST, Call(2_000, 512)):
            while rogue.advance(who, call):
                pass
    return _robbed("turning", chain, [rogue], victims, 10, spent)


def cheap_model(chain: Chain, size: int, rng: Random) -> Outcome:
    """Sells a model at ten times its price, and bills the most tokens that are believed."""
    rogue, who = Rogue(chain, "cheat"), Subscriber(chain, "victim")
    for _ in range(PROVEN_ANSWERS):
        rogue.answer(who, Call(200, 100))
    before = who.nodes[rogue.address].accepted
    paid = worth = upstream = 0
    believed = True
    while True:
        tokens_in, tokens_out = rng.randint(5_000, 20_000), rng.randint(100, 500)
        billed = _largest_believed(who, rogue.address, tokens_in, tokens_out)
        believed &= billed == (most_tokens(tokens_in), min(1_024, most_tokens(tokens_out)))
        call = Call(*billed)
        if not rogue.answer(who, call):
            break
        paid += call.cost
        worth += Call(tokens_in, tokens_out).cost
        upstream += cost(tokens_in, tokens_out, CHEAP.price_in, CHEAP.price_out)
    got = rogue.income()
    facts = {"paid": paid, "by_overcounting": paid - worth, "the_cheap_model_costs": upstream}
    put_in = upstream + before + chain.gas_cost(rogue.address)
    promises = {"no count beyond the tolerance is believed": believed}
    return Outcome("cheap-model", 1, put_in, got, 0, 0, paid - upstream, facts, promises)


def locking(chain: Chain, size: int, rng: Random) -> Outcome:
    """Strangers have as much reserved as they can get, and never serve."""
    who = Subscriber(chain, "victim")
    rogues: list[Rogue] = []
    while len(rogues) < size and all(rogue.vouchers for rogue in rogues):
        rogues.append(Rogue(chain, f"fresh {len(rogues)}"))
        rogues[-1].advance(who, Call(1, 1))
    locked = FEE - chain.free(who.account, 1)
    income = sum(rogue.income() for rogue in rogues)
    put_in = chain.gas_cost(*(rogue.address for rogue in rogues))
    facts = {"locked": locked}
    lost = sum(node.signed for node in who.nodes.values())
    promises = {"locked <= 20 %": locked * 100 <= 20 * FEE, "lost <= 2 %": lost * 100 <= 2 * FEE}
    return Outcome("locking", len(rogues), put_in, income, 0, 0, lost, facts, promises)


def _largest_believed(
    who: Subscriber, node: Address, tokens_in: int, tokens_out: int
) -> tuple[int, int]:
    """The most that the rule lets a bill say, found by asking it."""

    def most(start: int, passes: Callable[[int], bool]) -> int:
        low, high = start, 8 * start + 1_024
        while low + 1 < high:
            middle = (low + high) // 2
            low, high = (middle, high) if passes(middle) else (low, middle)
        return low

    def passes(bill_in: int, bill_out: int) -> bool:
        receipt = _receipt(who, node, bill_in, bill_out)
        try:
            check_usage(receipt, OFFER, tokens_in, tokens_out, 1_024)
        except RemoteFault:
            return False
        return True

    return (
        most(tokens_in, lambda bill: passes(bill, tokens_out)),
        most(tokens_out, lambda bill: passes(tokens_in, bill)),
    )


def _receipt(who: Subscriber, node: Address, tokens_in: int, tokens_out: int) -> Receipt:
    bill = cost(tokens_in, tokens_out, OFFER.price_in, OFFER.price_out)
    nothing = Hash32(bytes(32))
    return Receipt(
        network=NetworkId("simulated"),
        subscriber=who.account.address,
        operator=node,
        period=Period(1),
        request_id=RequestId("0" * 32),
        ask=nothing,
        advert=nothing,
        answer=nothing,
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        exact=True,
        cost=bill,
        due=bill,
    )


def _robbed(
    attack: str,
    chain: Chain,
    rogues: list[Rogue],
    victims: list[Subscriber],
    percent: int,
    spent: int = 0,
) -> Outcome:
    got = sum(rogue.income() for rogue in rogues)
    lost = [sum(node.advanced for node in who.nodes.values()) for who in victims]
    put_in = spent + chain.gas_cost(*(rogue.address for rogue in rogues))
    facts = {"victims": len(victims), "most_lost_by_one": max(lost)}
    kept = {f"a subscriber loses {percent} % at most": max(lost) * 100 <= percent * FEE}
    return Outcome(attack, len(rogues), put_in, got, 0, 0, sum(lost), facts, kept)
