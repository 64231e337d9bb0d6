"""Chooses the peer for a call, by one of the strategies, from what is believed of each.

    balanced     two are drawn from the good ones, the better score wins (the default)
    cheapest     least expected cost, failures counted in
    fastest      least expected time, failures counted in
    round-robin  each in turn
    random       any; a baseline for the benchmark, no setting names it

The score is expected cost times expected time, divided by the square of the chances that the call
succeeds and that the answer is honest; lower is better. Good ones are those within `SHORTLIST` of
the best, idle ones first, then those whose adverts show room for the call, so that load spreads
between near equals and the best is not trampled. A share of the calls explores. A prompt whose
beginning a peer has read stays with it (providers cache prefixes) while its score is at most
`STICKY` times that of the choice.

The generator is seeded and time is an argument: equal observations give equal choices.
"""

import random
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final, Literal

import msgspec

from ricochet_orchestrator.breaker import BUSY, Breaker, State
from ricochet_orchestrator.eligible import ELIGIBLE
from ricochet_orchestrator.opinion import USUAL_FIRST_TOKEN, USUAL_PACE, Mean, Opinion
from ricochet_orchestrator.routing import Strategy
from ricochet_protocol.advert import ModelOffer, SignedAdvert
from ricochet_protocol.errors import RemoteCode
from ricochet_protocol.ids import ModelId, PeerId
from ricochet_protocol.money import cost

SHORTLIST: Final = 1.3
"""Scores within this factor of the best count as good. Set by `benchmarks/routing.py`."""
EXPLORE: Final = 0.02
"""Share of calls that go to a peer whatever its score, those never tried first."""
STICKY: Final = 1.5
"""A cached prefix saves up to nine tenths of a prompt's price and time at providers, but whether
there is a cache is not known; so a peer may be this much worse, not more."""
STICKY_CHARACTERS: Final = 4096
"""About 1,024 tokens: the shortest prefix that hosted providers cache."""
MAX_STICKY: Final = 4096
"""Prefixes remembered."""
ANSWER_PERCENT: Final = 60
"""Of `max_tokens` that an answer is expected to take."""
DISTRUST: Final = 0.5
"""A peer whose honesty falls below this, beside that of all who offer the model, is not asked."""
TELLING: Final = 0.3
"""Where the usual answer passes less often than this, probes say nothing about anybody."""
DISTRUST_PROBES: Final = 3
"""Probes before that: one can fail by chance."""
_LIES: Final = frozenset(
    {
        RemoteCode.GARBAGE,
        RemoteCode.REFUSED,
        RemoteCode.NO_MODEL,
        RemoteCode.TOO_LONG,
        RemoteCode.UPSTREAM_AUTH,
        RemoteCode.PAYMENT_REQUIRED,
    }
)
"""Failures that trying again soon will not mend."""


class Need(msgspec.Struct, frozen=True):
    """What a call needs: tokens in by our count and at most out; `prefix` names how it begins."""

    counted: int
    max_tokens: int
    prefix: str = ""

    @property
    def likely_out(self) -> int:
        """Tokens an answer is expected to have."""
        return self.max_tokens * ANSWER_PERCENT // 100


class Candidate(msgspec.Struct, frozen=True):
    """A peer that could serve a call; `limit` is how many it may serve at the same time.

    `surplus` is the factor by which its bills have exceeded the own count.
    """

    advert: SignedAdvert
    offer: ModelOffer
    limit: int
    surplus: float = 1.0

    @property
    def peer(self) -> PeerId:
        """Who it is."""
        return self.advert.advert.peer


class Parts(msgspec.Struct, frozen=True):
    """What a score is made of: units of money, seconds, shares. `honest` is relative to others."""

    cost: float
    first_token: float
    pace: float
    seconds: float
    success: float
    honest: float
    score: float


class Verdict(msgspec.Struct, frozen=True):
    """What would be thought of a peer for a call now; `reason` is why it is out, empty if it is in.

    `out_of` is how many calls may be open there, `opinion` what was learnt.
    """

    candidate: Candidate
    reason: str
    parts: Parts
    in_flight: int
    breaker: State
    opinion: Opinion


_Estimate = tuple[float, float, float, float]


class _Peer(msgspec.Struct):
    in_flight: int = 0
    breaker: Breaker = Breaker()


class Router:
    """What is known of peers, and how one is chosen. Times are the caller's, in seconds.

    `max_latency` leaves out peers whose first token is known to come later.
    """

    def __init__(
        self,
        seed: int,
        strategy: Strategy | Literal["random"] = "balanced",
        max_latency: float | None = None,
        shortlist: float = SHORTLIST,
        explore: float = EXPLORE,
    ) -> None:
        # Chance here spreads load; nobody gains by foreseeing it.
        self._chance = random.Random(seed)  # noqa: S311
        self._strategy = strategy
        self._max_latency = max_latency
        self._shortlist = shortlist
        self._explore = explore
        self._peers: dict[PeerId, _Peer] = {}
        self._opinions: dict[tuple[PeerId, ModelId], Opinion] = {}
        self._usual: dict[ModelId, Opinion] = {}
        self._sticky: OrderedDict[tuple[ModelId, str], PeerId] = OrderedDict()
        self._last: dict[ModelId, PeerId] = {}

    # What is known.

    def learn(
        self,
        opinions: Mapping[tuple[PeerId, ModelId], Opinion],
        breakers: Mapping[PeerId, Breaker],
    ) -> None:
        """Take up what earlier runs have learnt."""
        for peer, breaker in breakers.items():
            self._peer(peer).breaker = breaker
        for (peer, model), opinion in opinions.items():
            self._opinions[peer, model] = opinion
            for name in ("first_token", "pace", "honest"):
                self._make_usual(model, name, getattr(opinion, name))

    def opinion(self, peer: PeerId, model: ModelId) -> Opinion:
        """What is believed of a peer."""
        return self._opinions.get((peer, model), Opinion())

    def breaker(self, peer: PeerId) -> Breaker:
        """Where the peer's breaker stands."""
        return self._peer(peer).breaker

    # The choice.

    def choose(
        self,
        candidates: Sequence[Candidate],
        need: Need,
        now: float,
        avoid: Collection[PeerId] = (),
    ) -> Candidate | None:
        """The peer to ask, None when all are full, waiting, cooling down or out.

        Peers in `avoid` are taken only when no other could ever serve the call.
        """
        fit = [one for one in candidates if self.fit(one) == ELIGIBLE]
        others = [one for one in fit if one.peer not in avoid] if avoid else fit
        free = [one for one in others or fit if self.ready(one, now)]
        if not free:
            return None
        # Sorted, so that the order in which peers were heard of changes nothing.
        free.sort(key=lambda one: one.peer)
        chosen = self._pick(free, need)
        self._last[chosen.offer.id] = chosen.peer
        return chosen

    def fit(self, candidate: Candidate) -> str:
        """Why what was learnt speaks against asking the peer at all; `ELIGIBLE` if nothing does."""
        known = self._opinions.get((candidate.peer, candidate.offer.id))
        if known is None:
            return ELIGIBLE
        first = known.first_token
        if self._max_latency is not None and first.weight and first.value > self._max_latency:
            return "latency"
        if known.probes >= DISTRUST_PROBES and self._honest(known, candidate.offer.id) < DISTRUST:
            return "distrusted"
        return ELIGIBLE

    def ready(self, candidate: Candidate, now: float) -> bool:
        """Whether the peer has a free slot, asks for no pause, and is not cooling down."""
        known = self._peers.get(candidate.peer)
        if known is None:
            return candidate.limit > 0
        return known.in_flight < candidate.limit and known.breaker.admits(now, known.in_flight)

    def score(self, candidate: Candidate, need: Need) -> float:
        """Lower is better."""
        return self.parts(candidate, need).score

    def parts(self, candidate: Candidate, need: Need) -> Parts:
        """The score of a peer for a call, and what it is made of."""
        model = candidate.offer.id
        estimate = self._estimate(self.opinion(candidate.peer, model), model)
        return Parts(*self._judge(candidate, need, estimate))

    def _scores(self, candidates: Iterable[Candidate], need: Need) -> dict[PeerId, float]:
        """The scores of many; nearly all of a large network are strangers, who are alike."""
        strangers: dict[ModelId, _Estimate] = {}
        scores = {}
        for one in candidates:
            model = one.offer.id
            known = self._opinions.get((one.peer, model))
            if known is not None:
                estimate = self._estimate(known, model)
            else:
                if model not in strangers:
                    strangers[model] = self._estimate(Opinion(), model)
                estimate = strangers[model]
            scores[one.peer] = self._judge(one, need, estimate)[-1]
        return scores

    def _estimate(self, known: Opinion, model: ModelId) -> _Estimate:
        """First token, pace, success and honesty to expect."""
        usual = self._usual.get(model, Opinion())
        return (
            known.first_token.estimate(usual.first_token.estimate(USUAL_FIRST_TOKEN)),
            max(0.1, known.pace.estimate(usual.pace.estimate(USUAL_PACE))),
            max(0.01, known.success.estimate(1.0)),
            self._honest(known, model),
        )

    def _judge(
        self, candidate: Candidate, need: Need, estimate: _Estimate
    ) -> tuple[float, float, float, float, float, float, float]:
        """The fields of `Parts`."""
        first, pace, success, honest = estimate
        offer, out = candidate.offer, need.likely_out
        money = cost(need.counted, out, offer.price_in, offer.price_out) * candidate.surplus
        seconds = 0.1 + first + out / pace
        match self._strategy:
            case "cheapest":
                score = (1 + money) / (success * honest)
            case "fastest":
                score = seconds / (success * honest)
            case _:
                score = (1 + money) * seconds / (success * honest) ** 2
        return money, first, pace, seconds, success, honest, score

    def explain(
        self, candidates: Iterable[Candidate], need: Need, now: float
    ) -> tuple[Verdict, ...]:
        """What is thought of each for a call now, best first, those that are out last."""
        found = [self._verdict(one, need, now) for one in candidates]
        return tuple(sorted(found, key=lambda one: (one.reason != "", one.parts.score)))

    def _verdict(self, candidate: Candidate, need: Need, now: float) -> Verdict:
        known = self._peer(candidate.peer)
        breaker = known.breaker.at(now)
        reason = self.fit(candidate)
        if reason == ELIGIBLE and now < breaker.wait:
            reason = "waits"
        if reason == ELIGIBLE and breaker.state is State.OPEN:
            reason = "open"
        if reason == ELIGIBLE and not self.ready(candidate, now):
            reason = "full"
        return Verdict(
            candidate=candidate,
            reason=reason,
            parts=self.parts(candidate, need),
            in_flight=known.in_flight,
            breaker=breaker.state,
            opinion=self.opinion(candidate.peer, candidate.offer.id),
        )

    def _pick(self, free: list[Candidate], need: Need) -> Candidate:
        match self._strategy:
            case "round-robin":
                last = self._last.get(free[0].offer.id, PeerId(""))
                return next((one for one in free if one.peer > last), free[0])
            case "random":
                return self._chance.choice(free)
            case "cheapest" | "fastest":
                scores = self._scores(free, need)
                return min(free, key=lambda one: (scores[one.peer], one.peer))
        if self._chance.random() < self._explore:
            untried = [one for one in free if not self.opinion(one.peer, one.offer.id).calls]
            return self._chance.choice(untried or free)
        scores = self._scores(free, need)
        limit = min(scores.values()) * self._shortlist
        good = [one for one in free if scores[one.peer] <= limit]
        idle = [one for one in good if not self._peer(one.peer).in_flight]
        pool = idle or good
        # Only a preference: our own calls may be what an advert shows as taken.
        pool = [one for one in pool if _has_room(one.offer, need)] or pool
        # Of equals the first drawn wins, not the first by name.
        pool = self._chance.sample(pool, min(2, len(pool)))
        best = min(pool, key=lambda one: scores[one.peer])
        keeper = self._sticky.get((best.offer.id, need.prefix)) if need.prefix else None
        if keeper in scores and scores[keeper] <= scores[best.peer] * STICKY:
            return next(one for one in free if one.peer == keeper)
        return best

    # What happens.

    def started(self, peer: PeerId) -> None:
        """A call has gone to the peer; exactly one of the next four follows."""
        self._peer(peer).in_flight += 1

    def served(
        self,
        candidate: tuple[PeerId, ModelId],
        need: Need,
        now: float,
        timing: tuple[float, float, int],
    ) -> None:
        """The call was served; `timing` is seconds to the first token and in all, and tokens."""
        peer, model = candidate
        known = self._peer(peer)
        known.in_flight -= 1
        known.breaker = known.breaker.succeeded(now)
        before = self.opinion(peer, model)
        after = self._opinions[candidate] = before.served(*timing)
        self._make_usual(model, "first_token", Mean(timing[0], 1.0))
        if after.pace is not before.pace:
            self._make_usual(model, "pace", Mean(timing[2] / (timing[1] - timing[0]), 1.0))
        if need.prefix:
            self._sticky[model, need.prefix] = peer
            self._sticky.move_to_end((model, need.prefix))
            if len(self._sticky) > MAX_STICKY:
                self._sticky.popitem(last=False)

    def failed(
        self, candidate: tuple[PeerId, ModelId], code: str, now: float, wait: float = 0.0
    ) -> None:
        """The call failed with a `RemoteCode`; the peer asks for `wait` seconds of pause."""
        known = self._peer(candidate[0])
        known.in_flight -= 1
        if wait > 0 or code == RemoteCode.BUSY:
            known.breaker = known.breaker.asked_to_wait(now + (wait or BUSY))
        if code == RemoteCode.BUSY:
            return
        known.breaker = known.breaker.failed(now, lie=code in _LIES)
        self._opinions[candidate] = self.opinion(*candidate).failed()

    def released(self, peer: PeerId) -> None:
        """The call ended for a reason that tells nothing about the peer."""
        self._peer(peer).in_flight -= 1

    def outrun(self, candidate: tuple[PeerId, ModelId], waited: float) -> None:
        """The call was given up after so many seconds without a first token: a rival was faster."""
        self._peer(candidate[0]).in_flight -= 1
        self._opinions[candidate] = self.opinion(*candidate).kept_waiting(waited)

    def probed(self, candidate: tuple[PeerId, ModelId], likeness: float, caught: bool) -> None:
        """A canary came back, or an answer was compared; `likeness` from 0 to 1."""
        self._opinions[candidate] = self.opinion(*candidate).probed(likeness, caught)
        self._make_usual(candidate[1], "honest", Mean(likeness, 1.0))

    def _honest(self, known: Opinion, model: ModelId) -> float:
        """Relative to all who offer the model, so that a weak model is no lie."""
        usual = self._usual.get(model, Opinion()).honest.estimate(1.0)
        if usual < TELLING:
            return 1.0
        return max(0.01, min(1.0, known.honest.estimate(usual) / usual))

    def _make_usual(self, model: ModelId, name: str, seen: Mean) -> None:
        """Take an observation into what is usual for a model, with a long memory."""
        if seen.weight:
            usual = self._usual.get(model, Opinion())
            mean: Mean = getattr(usual, name)
            self._usual[model] = msgspec.structs.replace(
                usual, **{name: mean.after(seen.value, 50)}
            )

    def _peer(self, peer: PeerId) -> _Peer:
        return self._peers.setdefault(peer, _Peer())


def _has_room(offer: ModelOffer, need: Need) -> bool:
    """Whether the advert shows a free slot, and enough tokens left of this minute."""
    left = offer.tokens_left
    return offer.free > 0 and (left is None or left >= need.counted + need.max_tokens)
