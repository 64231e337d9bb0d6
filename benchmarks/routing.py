"""How well calls find their peer: a network of 1,000 peers in virtual time, JSON on stdout.

    python benchmarks/routing.py [--peers 1000] [--calls 2000] [--seeds 5]

The choice is the product's own (`route.Router`, `hedge.Hedge`); everything around it is simulated.
Prices, first tokens and paces of peers are log-normal and independent of each other. A tenth of the
peers straggle (three calls in ten take ten times as long), a twentieth lie (half of their answers
do not pass), and all come and go: up for 10 minutes in the mean, then down for 2. The directory
hears of it after 8 seconds; until then a call there fails after 2. One ask in twenty meets a peer
that others have filled. Calls arrive at random, 4 a second; a stranger gets one at a time, as the
rules of payment want it, and a call that fails goes on to the next peer.

A call's latency runs from its arrival to the last token of an answer that passed, its cost is what
that answer costs, and the prompt of a call that was cut off or lied. `oracle` knows every peer's
true speed, who is up, who lies, and how this very call will go; it is a bound, not a rival. Figures
are medians over the seeds, with the smallest and largest beside them; every strategy meets the same
network and the same arrivals.
"""

import argparse
import heapq
import itertools
import json
import math
import os
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ricochet_orchestrator.hedge import Hedge
from ricochet_orchestrator.route import EXPLORE, SHORTLIST, Candidate, Need, Router
from ricochet_protocol.advert import Advert, ModelOffer, SignedAdvert
from ricochet_protocol.errors import RemoteCode
from ricochet_protocol.ids import Address, ModelId, NetworkId, PeerId
from ricochet_protocol.money import PricePerMillion, cost
from ricochet_protocol.payer import PROVEN_ANSWERS

MODEL = ModelId("m")
NEED = Need(1000, 100)
ANSWER = 60
"""Tokens of an answer, as `Need.likely_out` expects."""
RATE = 4.0
"""Calls a second."""
UP, DOWN, NOTICE, DEAD = 600.0, 120.0, 8.0, 2.0
STRAGGLERS, STRAGGLE, SLOWER = 0.10, 0.3, 10.0
LIARS, LIE = 0.05, 0.5
FULL = 0.05
TRIES = 12


@dataclass
class Peer:
    """One simulated peer; `ups` are the moments at which it goes down and comes back, in turn."""

    candidate: Candidate
    first: float
    pace: float
    straggles: bool
    lies: bool
    ups: list[float]
    limit: int
    answers: int = 0

    def up(self, now: float) -> bool:
        return sum(1 for moment in self.ups if moment <= now) % 2 == 0

    def listed(self, now: float) -> bool:
        """Whether the directory still shows it: a death is noticed late, a return at once."""
        return self.up(now) or self.up(now - NOTICE)


@dataclass
class Call:
    """One step: `fate` seeds what happens to its tries, the same for every strategy."""

    arrived: float
    fate: int
    tries: int = 0
    tried: set[PeerId] = field(default_factory=set)
    running: dict[int, "Try"] = field(default_factory=dict)
    led: bool = False
    done: bool = False


@dataclass
class Try:
    """One ask of one peer."""

    call: Call
    peer: Peer
    began: float
    first: float
    seconds: float
    ends_well: bool


def network(seed: int, peers: int, horizon: float) -> list[Peer]:
    chance = random.Random(f"network {seed}")
    made = []
    for number in range(peers):
        name = PeerId(f"peer-{number:05}")
        price = int(400_000 * math.exp(chance.gauss(0, 0.5)))
        offer = ModelOffer(MODEL, 32_768, PricePerMillion(price), PricePerMillion(2 * price), 4)
        account = Address(f"0x{number:040x}")
        advert = Advert(name, ("/m",), account, NetworkId("n"), (offer,), "", "", 1, 0, 60)
        ups, moment = [], chance.expovariate(1 / UP)
        while moment < horizon:
            back = moment + chance.expovariate(1 / DOWN)
            ups += [moment, back]
            moment = back + chance.expovariate(1 / UP)
        made.append(
            Peer(
                candidate=Candidate(SignedAdvert(advert, b""), offer, 1),
                first=0.8 * math.exp(chance.gauss(0, 0.6)),
                pace=40 * math.exp(chance.gauss(0, 0.5)),
                straggles=chance.random() < STRAGGLERS,
                lies=chance.random() < LIARS,
                ups=ups,
                limit=chance.randint(1, 4),
            )
        )
    return made


def fate(call: Call, peer: Peer) -> tuple[float, float, bool]:
    """First token, seconds in all, and whether the answer passes: of this call at this peer."""
    chance = random.Random(f"{call.fate} {peer.candidate.peer}")
    slower = SLOWER if peer.straggles and chance.random() < STRAGGLE else 1.0
    first = peer.first * math.exp(chance.gauss(0, 0.2)) * slower
    seconds = first + ANSWER / peer.pace * math.exp(chance.gauss(0, 0.1)) * slower
    return first, seconds, not (peer.lies and chance.random() < LIE)


class Oracle:
    """Chooses what turns out best."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._open: dict[PeerId, int] = {}

    def choose(self, call: Call, candidates: list[Candidate], now: float) -> Candidate | None:
        best, least = None, math.inf
        for one in candidates:
            peer = self._world.peers[one.peer]
            if not peer.up(now) or self._open.get(one.peer, 0) >= one.limit:
                continue
            _, seconds, passes = fate(call, peer)
            price = cost(NEED.counted, ANSWER, one.offer.price_in, one.offer.price_out)
            if passes and price * seconds < least:
                best, least = one, price * seconds
        return best

    def started(self, peer: PeerId) -> None:
        self._open[peer] = self._open.get(peer, 0) + 1

    def ended(self, peer: PeerId) -> None:
        self._open[peer] -= 1


class World:
    """One run of one strategy over one network."""

    def __init__(self, seed: int, peers: int, calls: int, strategy: str, **settings: float) -> None:
        chance = random.Random(f"arrivals {seed}")
        self.calls = []
        moment = 0.0
        for _ in range(calls):
            moment += chance.expovariate(RATE)
            self.calls.append(Call(moment, chance.getrandbits(62)))
        made = network(seed, peers, moment + 600)
        self.peers = {peer.candidate.peer: peer for peer in made}
        self.chance = random.Random(f"luck {seed}")
        hedge = settings.pop("hedge", 0.0)
        self.hedge = Hedge(hedge)
        self.oracle = Oracle(self) if strategy == "oracle" else None
        router_strategy: Any = "balanced" if strategy == "oracle" else strategy
        self.router = Router(seed, router_strategy, **settings)
        self.waiting: list[Call] = []
        self.events: list[tuple[float, int, Callable[[float], None]]] = []
        self.numbers = itertools.count()
        self.latencies: list[float] = []
        self.spent = 0.0
        self.asked = self.rivals = self.failed = 0
        self.listing: tuple[float, list[Peer]] = (-1.0, [])

    def at(self, moment: float, action: Callable[[float], None]) -> None:
        heapq.heappush(self.events, (moment, next(self.numbers), action))

    def run(self) -> dict[str, float]:
        for call in self.calls:
            self.at(call.arrived, lambda now, call=call: self.start(call, now))
        while self.events and len(self.latencies) + self.failed < len(self.calls):
            now, _, action = heapq.heappop(self.events)
            action(now)
        ordered = sorted(self.latencies)
        return {
            "p50": ordered[len(ordered) // 2],
            "p99": ordered[len(ordered) * 99 // 100],
            "mean": statistics.fmean(ordered),
            "cost": self.spent / len(ordered) / 1e6,
            "asks_per_call": self.asked / len(ordered),
            "rivals": self.rivals / len(ordered),
            "failed": self.failed,
        }

    def listed(self, now: float) -> list[Peer]:
        """Whom the directory shows, looked at once a second."""
        if now >= self.listing[0] + 1.0:
            self.listing = (now, [peer for peer in self.peers.values() if peer.listed(now)])
        return self.listing[1]

    def candidates(self, now: float, without: set[PeerId]) -> list[Candidate]:
        return [peer.candidate for peer in self.listed(now) if peer.candidate.peer not in without]

    def start(self, call: Call, now: float) -> None:
        found = self.candidates(now, call.tried)
        chosen = (
            self.oracle.choose(call, found, now)
            if self.oracle
            else self.router.choose(found, NEED, now)
        )
        if chosen is None:
            self.at(now + 0.1, lambda later: self.start(call, later))
            return
        if not self.oracle:
            self.hedge.earn(self.router.parts(chosen, NEED).cost)
        number = self.ask(call, chosen, now)
        if self.hedge.on:
            self.at(now + 0.05, lambda later: self.look(call, number, now, later))

    def ask(self, call: Call, chosen: Candidate, now: float) -> int:
        peer = self.peers[chosen.peer]
        self.asked += 1
        call.tries += 1
        number = next(self.numbers)
        (self.oracle or self.router).started(chosen.peer)
        if not peer.up(now):
            self.at(now + DEAD, lambda later: self.fail(call, number, later, "unreachable"))
            call.running[number] = Try(call, peer, now, math.inf, math.inf, False)
            return number
        first, seconds, passes = fate(call, peer)
        call.running[number] = Try(call, peer, now, first, seconds, passes)
        if not self.oracle and self.chance.random() < FULL:
            self.at(now + 0.05, lambda later: self.fail(call, number, later, RemoteCode.BUSY))
            return number
        self.at(now + first, lambda later: self.lead(call, number, later))
        self.at(now + seconds, lambda later: self.end(call, number, later))
        return number

    def look(self, call: Call, number: int, began: float, now: float) -> None:
        """Start a rival when the first token is late, as `race` does."""
        if call.led or call.done or number not in call.running or len(call.running) > 1:
            return
        late = self.hedge.late_after(MODEL)
        if late is None or now < began + late:
            wait = now + 1.0 if late is None else began + late
            self.at(wait, lambda later: self.look(call, number, began, later))
            return
        tried = call.tried | {call.running[number].peer.candidate.peer}
        rival = self.router.choose(self.candidates(now, tried), NEED, now)
        if rival and self.hedge.afford(self.router.parts(rival, NEED).cost):
            self.rivals += 1
            self.ask(call, rival, now)
            return
        self.at(now + 1.0, lambda later: self.look(call, number, began, later))

    def lead(self, call: Call, number: int, now: float) -> None:
        """The first token of a call: its rival is cut off, and is owed the prompt."""
        if number not in call.running or call.led:
            return
        call.led = True
        for other, one in tuple(call.running.items()):
            if other != number:
                del call.running[other]
                self.spent += self.price(one.peer, 0)
                self.router.outrun((one.peer.candidate.peer, MODEL), now - one.began)

    def end(self, call: Call, number: int, now: float) -> None:
        one = call.running.get(number)
        if one is None:
            return
        if not one.ends_well:
            self.spent += self.price(one.peer, 0)
            self.fail(call, number, now, RemoteCode.GARBAGE)
            return
        del call.running[number]
        peer = one.peer
        self.spent += self.price(peer, ANSWER)
        if self.oracle:
            self.oracle.ended(peer.candidate.peer)
        else:
            timing = (one.first, one.seconds, ANSWER)
            self.router.served((peer.candidate.peer, MODEL), NEED, now, timing)
            self.hedge.saw(MODEL, one.first)
        peer.answers += 1
        if peer.answers == PROVEN_ANSWERS:
            peer.candidate = msgspec.structs.replace(peer.candidate, limit=peer.limit)
        call.done = True
        self.latencies.append(now - call.arrived)

    def fail(self, call: Call, number: int, now: float, code: str) -> None:
        one = call.running.pop(number, None)
        if one is None:
            return
        name = one.peer.candidate.peer
        if self.oracle:
            self.oracle.ended(name)
        else:
            self.router.failed((name, MODEL), code, now)
        if code != RemoteCode.BUSY:
            call.tried.add(name)
        if call.running:
            return
        call.led = False
        if call.tries >= TRIES:
            self.failed += 1
            return
        self.start(call, now)

    def price(self, peer: Peer, tokens: int) -> int:
        offer = peer.candidate.offer
        return cost(NEED.counted, tokens, offer.price_in, offer.price_out)


STRATEGIES: dict[str, tuple[str, dict[str, float]]] = {
    "round-robin": ("round-robin", {}),
    "random": ("random", {}),
    "cheapest": ("cheapest", {}),
    "fastest": ("fastest", {}),
    "balanced": ("balanced", {}),
    "balanced, hedged 5 %": ("balanced", {"hedge": 0.05}),
    "oracle": ("oracle", {}),
}


def measured(name: str, strategy: str, settings: dict[str, float], args: Any) -> dict[str, Any]:
    began = time.process_time()
    runs = [
        World(seed, args.peers, args.calls, strategy, **settings).run()
        for seed in range(args.seeds)
    ]
    figures: dict[str, Any] = {"strategy": name}
    for key in runs[0]:
        values = sorted(run[key] for run in runs)
        figures[key] = {
            "median": round(statistics.median(values), 6),
            "least": round(values[0], 6),
            "most": round(values[-1], 6),
        }
    figures["cpu_ms_per_ask"] = round(
        (time.process_time() - began)
        * 1000
        / sum(run["asks_per_call"] * args.calls for run in runs),
        2,
    )
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--peers", type=int, default=1000)
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", help="one strategy of the table")
    parser.add_argument("--shortlist", type=float, default=SHORTLIST)
    parser.add_argument("--explore", type=float, default=EXPLORE)
    args = parser.parse_args()
    chosen = {args.only: STRATEGIES[args.only]} if args.only else STRATEGIES
    tuned = {"shortlist": args.shortlist, "explore": args.explore}
    table = [
        measured(name, strategy, {**tuned, **settings}, args)
        for name, (strategy, settings) in chosen.items()
    ]
    by_name = {row["strategy"]: row for row in table}
    document: dict[str, Any] = {
        "peers": args.peers,
        "calls": args.calls,
        "seeds": args.seeds,
        "load": os.getloadavg()[0],
        "seconds_and_dollars": table,
    }
    if not args.only:
        document["beside_the_default"] = {
            name: {
                key: round(row[key]["median"] / by_name["balanced, hedged 5 %"][key]["median"], 2)
                for key in ("p50", "p99", "cost")
            }
            for name, row in by_name.items()
        }
    print(json.dumps(document, indent=2, ensure_ascii=False))


if __name__ == "__main__":
    main()
