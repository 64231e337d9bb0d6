"""Attacks by subscribers: on nodes, and on the split.

Each function plays one attack with `size` actors on `chain` and says what it came to. `rng` decides
what an attacker may choose; the other side never uses it. Promises are written in numbers here, not
read from the rules, so that a rule which is loosened breaks them.
"""

from dataclasses import dataclass
from random import Random

from attacks.actors import FEE, Call, Node, Subscriber
from attacks.chain import PERIOD, WINDOW, Chain, Promise, account
from attacks.outcome import Outcome
from ricochet_protocol.ids import Address
from ricochet_protocol.money import Units
from ricochet_protocol.payee import MIN_RAISE

SMALL, LARGE = Call(2_000, 512), Call(20_000, 4_096)
AFTER = PERIOD + WINDOW
"""When the first period can be closed."""


class Reckless(Subscriber):
    """Reserves and signs whatever is asked, up to his bounds, and may leave at any moment."""

    def __init__(self, chain: Chain, label: str, budget: Units = FEE) -> None:
        super().__init__(chain, label, budget)
        self.will_reserve: int = budget
        self.will_sign: int = 2**100
        self.leaves_at: int = 2**100

    def reserve(self, node: Address, needed: Units) -> Promise | None:
        most = self.will_reserve
        return self.promise(node, most) if needed <= most else None

    def pay(self, node: Address, cumulative: Units) -> Promise | None:
        return self.promise(node, cumulative) if cumulative <= self.will_sign else None

    def stays(self, node: Address, delivered: Units) -> bool:
        return delivered < self.leaves_at

    def accepts(self, node: Address, call: Call, due: Units) -> None:
        """He keeps no account of anybody."""

    def put_in(self, refunded: int) -> int:
        """What his periods cost him in the end, gas included."""
        return self.budget * self.period - refunded + self.chain.gas_cost(self.account.address)


def self_dealing(chain: Chain, size: int, rng: Random) -> Outcome:
    """A subscriber pays his own nodes his whole fee, in as many pieces as he likes."""
    who = Reckless(chain, "self-dealer")
    nodes = [account(f"own node {n}").address for n in range(size)]
    for node in nodes:
        chain.register(node)
    cuts = sorted(rng.randint(0, FEE) for _ in range(size - 1))
    parts = [end - start for start, end in zip([0, *cuts], [*cuts, FEE], strict=True)]
    promises = [who.promise(node, part) for node, part in zip(nodes, parts, strict=True)]
    chain.reserve(nodes[0], promises)
    halves = [who.promise(p.node, rng.randint(0, p.amount)) for p in promises]
    for vouchers in (halves, promises):
        chain.claim(nodes[0], vouchers)
    got = sum(chain.withdraw(node) for node in nodes)
    chain.warp(AFTER)
    refunded = chain.close_and_refund(who.account, 1)
    put_in = who.put_in(refunded) + chain.gas_cost(*nodes)
    outcome = Outcome("self-dealing", size, put_in, got)
    kept = {"30 % are gone, gas apart": got * 10 <= 7 * (FEE - refunded)}
    return _with(outcome, kept | {"return <= -30 %": got * 10 <= 7 * put_in})


def over_issue(chain: Chain, size: int, rng: Random) -> Outcome:
    """Vouchers for the whole budget to everybody; his Sybil nodes claim before honest ones do."""
    who = Reckless(chain, "over-issuer")
    who.will_reserve = 1_000_000
    honest = [Node(chain, f"honest {n}") for n in range(3)]
    for node in honest:
        while node.serve(who, LARGE):
            pass
    sybils = [account(f"sybil {n}").address for n in range(size)]
    for sybil in sybils:
        chain.register(sybil)
    rng.shuffle(sybils)
    chain.claim(sybils[0], [who.promise(sybil, FEE) for sybil in sybils])
    for node in honest:
        node.vouchers = {(who.account.address, 1): who.promise(node.address, FEE)}
        node.claim()
    income = sum(chain.withdraw(sybil) for sybil in sybils)
    served = sum(sum(node.delivered.values()) for node in honest)
    put_in = who.put_in(0) + chain.gas_cost(*sybils)
    lost = sum(node.unpaid(who) for node in honest)
    outcome = Outcome("over-issue", size, put_in, served + income, lost)
    return _with(outcome, {"nothing gained": outcome.got <= put_in})


def one_budget(chain: Chain, size: int, rng: Random) -> Outcome:
    """One free budget shown to every node at once; all relay in the same block, twice."""
    who = Reckless(chain, "one budget for all")
    nodes = [Node(chain, f"honest {n}") for n in range(size)]
    rng.shuffle(nodes)
    for _ in range(2):
        willing = [node for node in nodes if node.will_relay(who, who.promise(node.address, FEE))]
        for node in willing:
            node.relay(who, who.promise(node.address, FEE))
    for node in nodes:
        for _ in range(3):
            node.serve(who, SMALL)
        node.claim()
    served = sum(sum(node.delivered.values()) for node in nodes)
    chain.warp(AFTER)
    put_in = who.put_in(chain.close_and_refund(who.account, 1))
    lost = sum(node.unpaid(who) for node in nodes)
    # The one that landed is an ordinary customer's, and its node is paid.
    gas = sum(node.gas for node in nodes if node.failed_relays)
    outcome = Outcome("one-budget", size, put_in, served, lost, gas)
    once = all(node.failed_relays <= 1 and node.relays <= 1 for node in nodes)
    return _with(outcome, {"a node relays once in vain": once, "nothing gained": served <= put_in})


def credit_farming(chain: Chain, size: int, rng: Random) -> Outcome:
    """Pays until there is a credit line, then takes it in each following period and never pays."""
    who = Reckless(chain, "farmer")
    node = Node(chain, "honest")
    calls = 20 if size < 100 else 270
    for _ in range(calls):
        node.serve(who, LARGE)
    node.claim()
    earned = chain.commitment(who.account, 1, node.address)[1]
    refunded = 0
    for period in range(1, 4):
        chain.warp(period * AFTER)
        refunded += chain.close_and_refund(who.account, period)
        who.subscribe()
        node.look(who)
        who.will_sign = 0
        while node.serve(who, SMALL):
            pass
    chain.warp(4 * AFTER)
    refunded += chain.close_and_refund(who.account, 4)
    line = min(1_000_000, earned // 10)
    lost, served = node.unpaid(who), sum(node.delivered.values())
    facts = {"credit_line": line, "periods": who.period}
    outcome = Outcome("credit-farming", 1, who.put_in(refunded), served, lost, facts=facts)
    return _with(outcome, {"return <= 10 %": outcome.got * 100 <= 110 * outcome.put_in}, line)


def freeloading(chain: Chain, size: int, rng: Random) -> Outcome:
    """Strangers who reserve nothing, sign nothing, sign uncovered amounts, or pay nobody at all."""
    node = Node(chain, "honest")
    put_in = served = lost = 0
    for n in range(size):
        who = Reckless(chain, f"stranger {n}", Units(FEE if n % 4 == 0 else 0))
        who.period = 1
        who.will_reserve = rng.choice((0, 0, rng.randint(0, FEE)))
        who.will_sign = 2**100 if who.will_reserve == 0 else 0
        for _ in range(rng.randint(1, 3)):
            node.serve(who, rng.choice((SMALL, LARGE, Call(1, 1))))
        put_in += chain.gas_cost(who.account.address)
        served += node.delivered[who.account.address, 1]
        lost += node.unpaid(who)
    outcome = Outcome("freeloading", size, put_in, served, lost, node.gas)
    return _with(outcome, {"strangers get nothing": served == 0})


@dataclass(frozen=True)
class _Leaver:
    """How often one customer asks again, and whether with the same request id."""

    name: str
    repeats: int
    keeps_id: bool


def withholding(chain: Chain, size: int, rng: Random) -> Outcome:
    """Takes part of an answer and signs nothing more, at node after node."""
    return _leaving(chain, size, rng, _Leaver("withholding", 2, keeps_id=False))


def disconnect_and_replay(chain: Chain, size: int, rng: Random) -> Outcome:
    """Leaves in mid-answer and asks again under the same request id, again and again."""
    return _leaving(chain, size, rng, _Leaver("replay", 8, keeps_id=True))


def _leaving(chain: Chain, size: int, rng: Random, how: _Leaver) -> Outcome:
    who = Reckless(chain, how.name)
    who.will_reserve = MIN_RAISE
    nodes = [Node(chain, f"honest {n}") for n in range(min(size, FEE // MIN_RAISE))]
    for number, node in enumerate(nodes, start=1):
        for _ in range(how.repeats):
            call = Call(2_000, 2_048, number if how.keeps_id else 0)
            due = node.state(who).due
            bound = due + rng.randint(0, call.cost)
            if how.keeps_id:
                who.leaves_at = rng.randint(0, call.cost)
            else:
                who.will_sign = bound
            node.serve(who, call)
        node.claim()
        who.will_sign = who.leaves_at = 2**100
    served = sum(sum(node.delivered.values()) for node in nodes)
    lost = sum(node.unpaid(who) for node in nodes)
    chain.warp(AFTER)
    put_in = who.put_in(chain.close_and_refund(who.account, 1))
    outcome = Outcome(how.name, len(nodes), put_in, served, lost)
    return _with(outcome, {"nothing gained": served <= put_in})


def late_claim(chain: Chain, size: int, rng: Random) -> Outcome:
    """Sybil nodes empty what is free, and the honest nodes claim in the window's last second."""
    who = Reckless(chain, "waits for the end")
    who.will_reserve = MIN_RAISE
    nodes = [Node(chain, f"honest {n}") for n in range(min(size, FEE // MIN_RAISE // 2))]
    for node in nodes:
        for _ in range(rng.randint(1, 5)):
            node.serve(who, SMALL)
    chain.warp(PERIOD)
    sybil = account("sybil").address
    chain.register(sybil)
    chain.claim(sybil, [who.promise(sybil, FEE)])
    *timely, late = nodes
    chain.warp(AFTER - 1)
    for node in timely:
        node.claim()
    chain.warp(AFTER)
    late.claim()
    income = chain.withdraw(sybil)
    refunded = chain.close_and_refund(who.account, 1)
    served = sum(sum(node.delivered.values()) for node in nodes)
    put_in = who.put_in(refunded) + chain.gas_cost(sybil)
    lost = sum(node.unpaid(who) for node in timely)
    facts = {"a_node_that_missed_the_window_loses": late.unpaid(who)}
    return _with(Outcome("late-claim", len(nodes), put_in, served + income, lost, facts=facts), {})


def griefing(chain: Chain, size: int, rng: Random) -> Outcome:
    """Makes nodes pay for reservations that he never uses, in pieces as small as they relay."""
    who = Reckless(chain, "griefer")
    nodes = [Node(chain, f"honest {n}") for n in range(size)]
    rng.shuffle(nodes)
    for raise_by in (MIN_RAISE, 1):
        for _ in range(min(size, -(-FEE // MIN_RAISE // size))):
            for node in nodes:
                promise = who.promise(node.address, node.state(who).committed + raise_by)
                if node.will_relay(who, promise):
                    node.relay(who, promise)
    chain.warp(AFTER)
    put_in = who.put_in(chain.close_and_refund(who.account, 1))
    relays = sum(node.relays for node in nodes)
    facts = {"relays": relays, "locked_days": AFTER // 86_400}
    gas = sum(node.gas for node in nodes)
    outcome = Outcome("griefing", size, put_in, 0, 0, gas, facts=facts)
    return _with(outcome, {"a budget buys budget / $0.05 relays": relays <= FEE // 50_000})


def _with(outcome: Outcome, promises: dict[str, bool], credit: int = 0) -> Outcome:
    """Adds the promise to every node: nothing lost beyond the credit line."""
    kept = "a node loses nothing" if not credit else "a node loses its credit line at most"
    outcome.promises.update({kept: outcome.node_lost <= credit} | promises)
    return outcome
