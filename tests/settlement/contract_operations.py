"""Random operations for the differential test: drawn as plain values, resolved where they run.

An operation names its amounts and moments by what they lie next to ("the commitment, plus one"),
so that whatever is drawn stands near an edge of the state it meets. Each operation comes from one
seed: hypothesis draws lists of seeds and shortens them, and the weights below stay what they are.
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, Protocol, TypeVar

from contract_facts import (
    DAY,
    DELEGATE_GRACE,
    PAYOUT_DELAY,
    RENEWAL_LEAD,
    UINT32,
    UINT96,
    UINT128,
    UINT256,
    WINDOW,
    ZERO,
    Entry,
)
from contract_model import Model
from contract_pair import FEES, OWNER, Pair
from contract_signatures import ACCOUNTS, POOL, SPOILED, Signed, sign

T = TypeVar("T")


class Operation(Protocol):
    """One step of a sequence."""

    def run(self, pair: Pair) -> None: ...


@dataclass(frozen=True)
class Call:
    """A function whose arguments need no resolution; who is the owner shows when it runs."""

    sender: str
    name: str
    arguments: tuple[Any, ...]

    def run(self, pair: Pair) -> None:
        roles = {"owner": pair.model.owner, "pending owner": pair.model.pending_owner}
        sender = roles.get(self.sender, self.sender)
        pair.call(OWNER if sender == ZERO else sender, self.name, *self.arguments)


@dataclass(frozen=True)
class WithPermit:
    """A subscription paid by permit."""

    sender: str
    fee: int
    delegate: str
    auto_renew: bool
    fault: str | None

    def run(self, pair: Pair) -> None:
        pair.subscribe_with_permit(
            self.sender, self.fee, self.delegate, self.auto_renew, self.fault
        )


@dataclass(frozen=True)
class Amount:
    """An amount by the edge it lies next to."""

    edge: str
    offset: int
    part: float

    def resolve(self, model: Model, subscriber: str, node: str, period: int) -> int:
        span = model.span(subscriber, period)
        edges = {"zero": 0, "most": UINT128, "part": int(FEES[1] * self.part)}
        if span is not None:
            committed = span.committed[node]
            edges |= {
                "part": int(span.budget * self.part),
                "claimed": span.claimed[node],
                "committed": committed,
                "reachable": committed + span.free,
                "budget": span.budget,
            }
        return min(max(edges.get(self.edge, 0) + self.offset, 0), UINT128)


@dataclass(frozen=True)
class Draft:
    """One entry of a batch, or the replay of an earlier one."""

    subscriber: str
    node: str
    period_back: int
    amount: Amount
    signer: str
    spoil: str | None
    replay: int | None

    def sign(self, pair: Pair, name: str) -> Signed:
        earlier = pair.signed[name]
        if self.replay is not None and earlier:
            return earlier[self.replay % len(earlier)]
        model = pair.model
        current = model.current_period(self.subscriber)
        period = max(current - self.period_back, min(current, 1))
        amount = self.amount.resolve(model, self.subscriber, self.node, period)
        signer = self._signer(model)
        return sign(name, Entry(self.subscriber, self.node, period, amount, signer), self.spoil)

    def _signer(self, model: Model) -> str:
        delegates = model.delegates[self.subscriber]
        if self.signer == "serving" and delegates.serving != ZERO:
            return delegates.serving
        if self.signer == "former" and delegates.former:
            return max(delegates.former, key=lambda d: delegates.former[d].moment)
        return self.signer if self.signer in ACCOUNTS else self.subscriber


@dataclass(frozen=True)
class Batch:
    """`reserve` or `claim`; `missing` leaves out that many signatures at the end."""

    sender: str
    name: str
    drafts: tuple[Draft, ...]
    missing: int

    def run(self, pair: Pair) -> None:
        entries = [draft.sign(pair, self.name) for draft in self.drafts]
        pair.batch(self.sender, self.name, entries, max(len(entries) - self.missing, 0))


@dataclass(frozen=True)
class Split:
    """One node's vouchers claimed in steps, with the smallest presented again at the end."""

    drafts: tuple[Draft, ...]

    def run(self, pair: Pair) -> None:
        vouchers = [draft.sign(pair, "claim") for draft in self.drafts]
        vouchers.sort(key=lambda signed: signed.entry.amount)
        pair.batch(ACCOUNTS[0], "claim", [*vouchers, vouchers[0]], len(vouchers) + 1)


@dataclass(frozen=True)
class Mint:
    """Test money for an account, or a donation to the contract."""

    to: str
    amount: int

    def run(self, pair: Pair) -> None:
        pair.mint(self.to, self.amount)


@dataclass(frozen=True)
class Approve:
    """How much the contract may take from an account."""

    owner: str
    amount: int

    def run(self, pair: Pair) -> None:
        pair.approve(self.owner, self.amount)


@dataclass(frozen=True)
class Warp:
    """Some days on, or to around one of the next moments at which a rule changes."""

    days: float | None
    which: int
    offset: int

    def run(self, pair: Pair) -> None:
        now = pair.model.now
        if self.days is not None:
            pair.warp(now + int(DAY * self.days))
            return
        ahead = sorted(m for m in _moments(pair.model) if m + self.offset > now)
        if ahead:
            pair.warp(ahead[self.which % len(ahead)] + self.offset)


def _moments(model: Model) -> set[int]:
    spans = [span for spans in model.spans.values() for span in spans]
    former = [r for delegates in model.delegates.values() for r in delegates.former.values()]
    return {
        *(moment for s in spans for moment in (s.start, s.end - RENEWAL_LEAD, s.end)),
        *(span.end + WINDOW for span in spans),
        *(replaced.moment + DELEGATE_GRACE for replaced in former),
        *(node.due for node in model.nodes.values()),
        model.now + PAYOUT_DELAY,
    }


# ---------------------------------------------------------------- drawing

PEERS = ("p", "q", "r", "x" * 64, "", "x" * 65, "\N{CYRILLIC SMALL LETTER PE}" * 32)
MULTIADDRS = ((), ("/ip4/1.2.3.4", ""), ("x" * 256,), ("a",) * 8, ("a",) * 9, ("a", "x" * 257))
EDGES = ("part",) * 6 + ("reachable", "zero", "most", "claimed", "committed", "committed", "budget")
FAULTS = (None, None, None, "nonce", "expired", "amount", "used")


def draw(seed: int) -> Operation:
    """The operation of that seed; 0, to which a failing sequence is reduced, does nothing."""
    if seed == 0:
        return Warp(0, 0, 0)
    rng = Random(seed)
    weights, makers = zip(*_MAKERS, strict=True)
    return rng.choices(makers, weights)[0](rng)


def _mostly(rng: Random, common: tuple[T, ...], seldom: tuple[T, ...]) -> T:
    return rng.choice(seldom if rng.random() < 0.05 else common)


def _subscriber(rng: Random) -> str:
    return _mostly(rng, (ACCOUNTS[0], ACCOUNTS[0], ACCOUNTS[1]), tuple(ACCOUNTS))


def _node(rng: Random) -> str:
    return _mostly(rng, (ACCOUNTS[2], ACCOUNTS[3], OWNER), (*ACCOUNTS, ZERO))


def _delegate(rng: Random) -> str:
    return _mostly(rng, (ACCOUNTS[1], ACCOUNTS[3], ACCOUNTS[5]), (*ACCOUNTS, ZERO, ZERO))


def _owner(rng: Random) -> str:
    return _mostly(rng, ("owner",), tuple(ACCOUNTS))


def _pending(rng: Random) -> str:
    return _mostly(rng, ("pending owner",), tuple(ACCOUNTS))


def _fee(rng: Random) -> int:
    edges = (FEES[0] - 1, FEES[1] + 1, 0, UINT128)
    return _mostly(rng, (*FEES, rng.randint(*FEES)), edges)


def _money(rng: Random) -> int:
    return rng.choice((0, 1, 9, 3_333_333, FEES[1], rng.randint(0, FEES[1])))


def _draft(rng: Random) -> Draft:
    return Draft(
        _subscriber(rng),
        _node(rng),
        rng.choice((0,) * 9 + (1, 1, 1, 2, -1)),
        Amount(rng.choice(EDGES), rng.choice((0, 0, -1, 1)), rng.random() * 0.4),
        rng.choice(("self", "serving", "serving", "former", "former", rng.choice(ACCOUNTS))),
        _mostly(rng, (None,), (*SPOILED, "outsider", "other kind")),
        _mostly(rng, (None,), (0, 1, 2, 3, 4)),
    )


def _batch(name: str) -> Callable[[Random], Operation]:
    def make(rng: Random) -> Operation:
        drafts = tuple(_draft(rng) for _ in range(rng.choice((1, 2, 2, 3, 4, 0))))
        return Batch(rng.choice(ACCOUNTS), name, drafts, rng.random() < 0.04)

    return make


def _split(rng: Random) -> Operation:
    return Split(tuple(_draft(rng) for _ in range(rng.choice((2, 3)))))


def _call(name: str, *draws: Callable[[Random], Any]) -> Callable[[Random], Operation]:
    """`draws` are the sender's and the arguments'."""

    def make(rng: Random) -> Operation:
        sender, *arguments = (one(rng) for one in draws)
        return Call(sender, name, tuple(arguments))

    return make


def _any(rng: Random) -> str:
    return rng.choice(ACCOUNTS)


def _flag(rng: Random) -> bool:
    return rng.random() < 0.8


def _period(rng: Random) -> int:
    return _mostly(rng, (1, 1, 1, 2, 2, 3), (0, 4, UINT32))


def _peer(rng: Random) -> str:
    return rng.choice(PEERS)


def _multiaddrs(rng: Random) -> tuple[str, ...]:
    return rng.choice(MULTIADDRS)


def _topping(rng: Random) -> int:
    return _mostly(rng, (_money(rng),), (UINT128, UINT96, UINT96 - FEES[1], 2**95))


def _permitted(rng: Random) -> Operation:
    return WithPermit(_subscriber(rng), _fee(rng), _delegate(rng), _flag(rng), rng.choice(FAULTS))


def _mint(rng: Random) -> Operation:
    return Mint(_mostly(rng, tuple(ACCOUNTS[:2]), (POOL,)), rng.choice((_money(rng), 2**129)))


def _approve(rng: Random) -> Operation:
    return Approve(_subscriber(rng), rng.choice((UINT256, UINT256, _money(rng))))


def _warp(rng: Random) -> Operation:
    days = rng.choice((None, None, None, 0.5, 1.0, rng.random() * 30))
    return Warp(days, rng.choice((0, 0, 0, 1, 2)), rng.choice((0, 0, -1, 1)))


_MAKERS: tuple[tuple[int, Callable[[Random], Operation]], ...] = (
    (12, _batch("reserve")),
    (20, _batch("claim")),
    (8, _split),
    (16, _warp),
    (8, _call("subscribe", _subscriber, _fee, _delegate, _flag)),
    (4, _permitted),
    (6, _call("renew", _any, _subscriber)),
    (2, _call("setAutoRenew", _subscriber, _flag)),
    (6, _call("setDelegate", _subscriber, _delegate)),
    (5, _call("topUp", _subscriber, _topping)),
    (8, _call("close", _any, _subscriber, _period)),
    (3, _call("refund", _subscriber)),
    (5, _call("withdraw", _any, _node)),
    (4, _call("registerNode", _node, _peer, _multiaddrs, _node)),
    (2, _call("updateNode", _node, _peer, _multiaddrs)),
    (4, _call("queuePayout", _node, _node)),
    (2, _call("cancelPayout", _node, _node)),
    (4, _call("applyPayout", _any, _node)),
    (1, _call("pause", _owner)),
    (3, _call("unpause", _owner)),
    (2, _call("transferOwnership", _owner, _any)),
    (2, _call("acceptOwnership", _pending)),
    (1, _call("renounceOwnership", _owner)),
    (2, _mint),
    (2, _approve),
)
