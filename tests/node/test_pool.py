"""The pool: which key a call goes to, when it moves on, and what an advert promises of it."""

import asyncio
import itertools
import json
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from node_bench import NoLimits, eventually, offer

from ricochet_node import key_states
from ricochet_node.advertise import BURST, FREE_GAP, GAP, REFRESH, Pace
from ricochet_node.capacity import Capacity, rounded
from ricochet_node.counters import Counters
from ricochet_node.faults import ProviderFault, Reason
from ricochet_node.key_room import Room, Rooms, VaultRooms, words
from ricochet_node.key_rules import Hours, KeyRules
from ricochet_node.key_state import READY, after_fault
from ricochet_node.key_states import KeyStates
from ricochet_node.log import EventLog
from ricochet_node.offer import Balance, Offer, Source
from ricochet_node.offers import OfferBook
from ricochet_node.pool import Pool
from ricochet_node.spread import Spread
from ricochet_node.upstream import Piece, Usage, Whole
from ricochet_protocol.advert import ModelOffer
from ricochet_protocol.errors import RemoteCode, RemoteFault
from ricochet_protocol.ids import ModelId, Period, RequestId
from ricochet_protocol.messages import Ask, Chunk, Turn
from ricochet_protocol.money import Units

ASK = Ask(RequestId("0" * 32), Period(1), ModelId("m"), (Turn("user", "x"),), 10, 60)


@dataclass
class Script:
    """A provider for every key: answers, unless a fault is set for the key; notes who was asked."""

    faults: dict[str, ProviderFault] = field(default_factory=dict)
    late: bool = False
    """Whether a fault comes after the first piece."""
    asked: list[str] = field(default_factory=list)
    hold: asyncio.Event | None = None

    async def whole(self, key_id: str, model: str, ask: Ask) -> Whole:
        pieces = [piece async for piece in self.stream(key_id, model, ask)]
        usage = pieces.pop()
        assert isinstance(usage, Usage)
        return Whole(tuple(one for one in pieces if not isinstance(one, Usage)), usage)

    async def stream(self, key_id: str, model: str, ask: Ask) -> AsyncGenerator[Piece, None]:
        self.asked.append(key_id)
        fault = self.faults.get(key_id)
        if fault and not self.late:
            raise fault
        yield Chunk(text="word")
        if self.hold:
            await self.hold.wait()
        if fault:
            raise fault
        yield Usage(finish="stop", tokens=(1, 1))


@dataclass
class SetRooms:
    rooms: dict[str, Room] = field(default_factory=dict)

    def of(self, key: str) -> Room:
        return self.rooms.get(key, Room())


class Scene:
    """A pool over scripts, at a time that stands still."""

    def __init__(self, path: Path, *offers: Offer, rooms: Rooms | None = None) -> None:
        self.now = 1_000_000.0
        self.script = Script()
        self.text = StringIO()
        self.book = OfferBook(offers)
        keys = {key: "mark" for one in offers for key in one.keys}
        self.states = KeyStates(path / key_states.FILE_NAME, keys, self.now)
        clock: Callable[[], float] = lambda: self.now  # noqa: E731 - one line says it
        log = EventLog(self.text)
        self.pool = Pool(self.book, self.script, self.states, rooms or NoLimits(), clock, log)
        self.capacity = Capacity(self.book, self.pool, clock)
        self.book.open()
        self.tried: list[tuple[str, bool]] = []

    async def call(self, which: Offer) -> list[Piece]:
        deadline = asyncio.get_running_loop().time() + 5
        stream = self.pool.stream(
            which,
            ASK,
            deadline,
            lambda source, missed: self.tried.append((source.key, bool(missed))),
        )
        async with aclosing(stream):
            return [piece async for piece in stream]

    def asked_of(self, which: Offer, times: int = 1) -> list[str]:
        """The keys that calls went to, one after the other; faults are swallowed."""

        async def calls() -> None:
            for _ in range(times):
                await asyncio.gather(self.call(which), return_exceptions=True)

        self.script.asked.clear()
        asyncio.run(calls())
        return self.script.asked

    def fault_of(self, which: Offer) -> RemoteFault:
        with pytest.raises(RemoteFault) as caught:
            asyncio.run(self.call(which))
        return caught.value

    def shown(self) -> list[tuple[str, int, int]]:
        return [(one.id, one.slots, one.free) for one in self.capacity.shown()]

    def events(self, name: str) -> int:
        lines = map(json.loads, self.text.getvalue().splitlines())
        return [line["event"] for line in lines].count(name)


def of(*keys: str, balance: Balance = "round-robin", slots: int = 8) -> Offer:
    sources = tuple(Source(key, "real", provider=key) for key in keys)
    return msgspec.structs.replace(offer(slots=slots), sources=sources, balance=balance)


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=6),
    st.integers(1, 200),
    st.sampled_from(["weighted", "round-robin"]),
)
def test_calls_are_within_one_of_their_share(
    weights: list[int], calls: int, balance: Balance
) -> None:
    sources = [Source(f"k{n}", "m", weight) for n, weight in enumerate(weights)]
    spread, counts = Spread(), Counter[str]()
    for number in range(1, calls + 1):
        counts[spread.choose(sources, balance, lambda _: 0).key] += 1
        for source in sources:
            part = source.weight if balance == "weighted" else 1
            whole = sum(weights) if balance == "weighted" else len(sources)
            assert abs(counts[source.key] - number * part / whole) <= 1
    if balance == "round-robin":
        assert max(counts.values()) - min(counts[one.key] for one in sources) <= 1


def test_heavy_sources_do_not_come_in_a_row() -> None:
    sources = [Source("a", "m", 5), Source("b", "m", 1), Source("c", "m", 1)]
    spread = Spread()
    got = "".join(spread.choose(sources, "weighted", lambda _: 0).key for _ in range(7))
    assert got == "aabacaa"


def test_a_source_that_was_away_does_not_catch_up() -> None:
    a, b = Source("a", "m"), Source("b", "m")
    spread = Spread()
    for _ in range(50):
        spread.choose([a], "round-robin", lambda _: 0)
    got = [spread.choose([a, b], "round-robin", lambda _: 0).key for _ in range(6)]
    assert abs(got.count("a") - got.count("b")) <= 1


def test_the_least_loaded_key_comes_first(tmp_path: Path) -> None:
    which = of("a", "b", "c", balance="least-loaded")
    scene = Scene(tmp_path, which)

    async def scenario() -> None:
        scene.script.hold = asyncio.Event()
        calls = [asyncio.create_task(scene.call(which)) for _ in range(7)]
        await eventually(lambda: len(scene.script.asked) == 7)
        assert Counter(scene.script.asked) == {"a": 3, "b": 2, "c": 2}
        assert [scene.pool.open_calls(key) for key in "abc"] == [3, 2, 2]
        scene.script.hold.set()
        await asyncio.gather(*calls)
        assert [scene.pool.open_calls(key) for key in "abc"] == [0, 0, 0]

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "reason", [reason for reason in Reason if ProviderFault(reason).blame != "ask"]
)
def test_a_call_moves_on_until_its_first_piece(tmp_path: Path, reason: Reason) -> None:
    which = of("a", "b")
    scene = Scene(tmp_path, which)
    scene.script.faults["a"] = ProviderFault(reason)
    assert scene.asked_of(which) == ["a", "b"]
    assert scene.tried == [("a", False), ("b", True)]
    scene.script.late = True
    scene.script.asked.clear()
    scene.now += 10**6
    both = of("a")
    if reason is not Reason.KEY_REFUSED:
        assert scene.fault_of(both).code == ProviderFault(reason).code
        assert scene.script.asked == ["a"], "half an answer is not begun anew"


def test_an_ask_that_is_to_blame_goes_nowhere_else(tmp_path: Path) -> None:
    which = of("a", "b")
    scene = Scene(tmp_path, which)
    scene.script.faults["a"] = ProviderFault(Reason.TOO_LONG)
    assert scene.fault_of(which).code == RemoteCode.TOO_LONG
    assert scene.script.asked == ["a"]
    assert scene.asked_of(which, 2) == ["b", "a"], "the key stays in turn"


def test_every_source_is_tried_at_most_once_and_the_best_fault_is_told(tmp_path: Path) -> None:
    which = of("a", "b", "c")
    scene = Scene(tmp_path, which)
    scene.script.faults = {
        "a": ProviderFault(Reason.KEY_REFUSED),
        "b": ProviderFault(Reason.RATE, retry_after=30),
        "c": ProviderFault(Reason.FAILED),
    }
    fault = scene.fault_of(which)
    assert scene.script.asked == ["a", "b", "c"]
    assert (fault.code, fault.wait) == (RemoteCode.BUSY, 30)


def test_after_a_failing_provider_another_one_is_asked(tmp_path: Path) -> None:
    sources = tuple(Source(key, "m", provider=key[0]) for key in ("x1", "x2", "x3", "y1"))
    which = msgspec.structs.replace(offer(), sources=sources)
    scene = Scene(tmp_path, which)
    scene.script.faults["x1"] = ProviderFault(Reason.OVERLOADED)
    assert scene.asked_of(which) == ["x1", "y1"]


def test_nothing_is_sent_before_retry_after_also_by_another_process(tmp_path: Path) -> None:
    which = of("a", "b")
    scene = Scene(tmp_path, which)
    scene.script.faults["a"] = ProviderFault(Reason.RATE, retry_after=40)
    scene.asked_of(which)
    scene.script.faults.clear()
    scene.now += 39.99
    assert scene.asked_of(which, 4) == ["b"] * 4
    scene.states.close()
    again = Scene(tmp_path, which)
    again.now = scene.now
    assert again.asked_of(which, 2) == ["b"] * 2
    again.now += 0.02
    assert set(again.asked_of(which, 2)) == {"a", "b"}
    assert again.events("key_state") == 1, "back by itself, with the first answer"


def test_a_stalled_source_ends_with_the_deadline(tmp_path: Path) -> None:
    which = of("a", "b")
    scene = Scene(tmp_path, which)

    async def scenario() -> None:
        scene.script.hold = asyncio.Event()
        stream = scene.pool.stream(
            which, ASK, asyncio.get_running_loop().time() + 0.01, lambda source, missed: None
        )
        async with aclosing(stream):
            await anext(stream)
            with pytest.raises(RemoteFault) as caught:
                await anext(stream)
        assert caught.value.code == RemoteCode.TIMEOUT
        assert scene.script.asked == ["a"] and scene.pool.open_calls("a") == 0

    asyncio.run(scenario())


def test_a_refused_key_is_told_and_the_offer_goes_with_the_last_one(tmp_path: Path) -> None:
    which = of("a", "b")
    scene = Scene(tmp_path, which)
    scene.script.faults = {"a": ProviderFault(Reason.KEY_REFUSED)}
    assert scene.asked_of(which, 3) == ["a", "b", "b", "b"]
    assert (scene.events("key_refused"), scene.events("offer_withdrawn")) == (1, 0)
    scene.script.faults["b"] = ProviderFault(Reason.KEY_REFUSED)
    assert scene.fault_of(which).code == RemoteCode.UPSTREAM_AUTH
    assert (scene.events("key_refused"), scene.events("offer_withdrawn")) == (2, 1)
    assert scene.fault_of(which).code == RemoteCode.NO_MODEL
    assert scene.shown() == []
    scene.script.faults.clear()
    key_states.forget(tmp_path, "b")
    scene.pool.look()
    assert scene.shown() == [("m", 8, 8)]
    assert scene.asked_of(which) == ["b"]


def test_a_key_that_a_command_found_refused_serves_no_more(tmp_path: Path) -> None:
    which = of("a")
    scene = Scene(tmp_path, which)
    assert scene.asked_of(which) == ["a"]
    refused = after_fault(READY, ProviderFault(Reason.KEY_REFUSED), scene.now, scene.now)
    key_states.keep(tmp_path, "a", "mark", refused)
    scene.pool.look()
    assert (scene.events("key_refused"), scene.events("offer_withdrawn")) == (1, 1)
    assert scene.fault_of(which).code == RemoteCode.NO_MODEL


def test_a_model_that_one_key_does_not_know_leaves_its_others_alone(tmp_path: Path) -> None:
    which = of("a", "b")
    other = msgspec.structs.replace(offer(id="n"), sources=(Source("a", "second"),))
    scene = Scene(tmp_path, which, other)
    scene.script.faults["a"] = ProviderFault(Reason.MODEL_UNKNOWN)
    assert scene.asked_of(which, 3) == ["a", "b", "b", "b"]
    scene.script.faults.clear()
    assert scene.asked_of(other) == ["a"]


def test_what_can_serve_nobody_is_not_shown_and_comes_back(tmp_path: Path) -> None:
    which = of("a")
    scene = Scene(tmp_path, which)
    scene.script.faults["a"] = ProviderFault(Reason.RATE, retry_after=40)
    scene.asked_of(which)
    assert scene.shown() == []
    fault = scene.fault_of(which)
    assert (fault.code, fault.wait) == (RemoteCode.BUSY, 40)
    scene.now += 30
    assert scene.shown() == [("m", 8, 0)], "for so short a time it stays"
    scene.now += 10
    assert scene.shown() == [("m", 8, 8)]
    scene.script.faults["a"] = ProviderFault(Reason.QUOTA)
    assert scene.fault_of(which).code == RemoteCode.UPSTREAM
    assert scene.shown() == []
    scene.now += 600
    assert scene.shown() == [("m", 1, 1)], "one call finds out"
    scene.script.faults.clear()
    scene.asked_of(which)
    assert scene.shown() == [("m", 8, 8)]


def test_an_advert_promises_what_ready_keys_and_their_limits_leave(tmp_path: Path) -> None:
    which = of("a", "b", slots=5)
    limits = SetRooms({"a": Room(at_once=2, tokens_left=12_345), "b": Room(at_once=1)})
    scene = Scene(tmp_path, which, rooms=limits)
    assert scene.shown() == [("m", 3, 3)]
    assert scene.capacity.shown()[0].tokens_left is None, "one of them has no limit"
    limits.rooms["b"] = Room(at_once=1, tokens_left=1_000)
    assert scene.capacity.shown()[0].tokens_left == 13_000
    limits.rooms["b"] = Room(closed="hours", wait=3600)
    assert scene.shown() == [("m", 2, 2)]
    assert scene.asked_of(which, 2) == ["a", "a"]
    limits.rooms["a"] = Room(closed="disabled")
    assert scene.shown() == []
    assert scene.fault_of(which).code in (RemoteCode.BUSY, RemoteCode.UPSTREAM)

    async def taken() -> None:
        scene.script.hold = asyncio.Event()
        scene.script.asked.clear()
        limits.rooms = {"a": Room(at_once=1), "b": Room(at_once=1)}
        calls = [asyncio.create_task(scene.call(which)) for _ in range(2)]
        await eventually(lambda: len(scene.script.asked) == 2)
        assert scene.shown() == [("m", 2, 0)], (
            "slots tell what it serves at once, free what is left"
        )
        with pytest.raises(ProviderFault, match="concurrency"):
            scene.pool.check(which)
        scene.script.hold.set()
        await asyncio.gather(*calls)

    asyncio.run(taken())


def test_room_is_read_from_the_vaults_counters(tmp_path: Path) -> None:
    now = [1_000_000.0]
    rules = {
        "k": KeyRules(rpm=2, tpm=100, concurrency=3, time_zone="UTC"),
        "capped": KeyRules(per_day=Units(10), time_zone="UTC"),
        # 1,000,000 s are 13:46:40 UTC.
        "night": KeyRules(hours=Hours(22 * 60, 60), time_zone="UTC"),
    }
    vault = Counters(tmp_path / "keys.db")
    rooms = VaultRooms(tmp_path / "keys.db", rules, lambda: now[0])

    def use(key: str, tokens: int, amount: int) -> None:
        with vault.change():
            vault.debit(key, now[0], tokens, Units(amount), ("1970-01-12", "1970-01"))
        now[0] += 1

    assert rooms.of("k") == Room(at_once=3, tokens_left=100)
    use("k", 30, 0)
    assert rooms.of("k") == Room(at_once=3, tokens_left=70)
    use("k", 0, 0)
    assert rooms.of("k") == Room(closed="rate", wait=58)
    assert words(rooms.of("k"), now[0]) == "at its rate limit for 58 s"
    now[0] += 58
    assert rooms.of("k") == Room(at_once=3, tokens_left=100)
    assert rooms.of("capped") == Room()
    use("capped", 0, 10)
    closed = rooms.of("capped")
    assert closed.closed == "cap" and closed.wait == 86400 - (now[0] % 86400)
    assert words(closed, now[0]).startswith("at its spending cap until 1970-01-1")
    assert rooms.of("night").closed == "hours"
    with vault.change():
        vault.disable("k")
    now[0] += 1
    assert rooms.of("k") == Room(closed="disabled")
    now[0] -= 10**6
    assert rooms.of("night").closed in ("", "hours"), "a clock that was set back is no error"
    rooms.close()
    vault.close()


def paced(changes: Sequence[tuple[float, tuple[ModelOffer, ...]]]) -> list[float]:
    pace, current, sent = Pace(0.0), changes[0][1], []
    for now, shown in changes:
        if pace.due(current, shown, now):
            current = shown
            sent.append(now)
    return sent


def test_adverts_follow_at_a_bounded_pace() -> None:
    plain, none = (offer(slots=2).shown,), ()
    busy = (offer(slots=2, free=1).shown,)
    looks = [second / 2 for second in range(1, 200)]
    flapping = paced([(now, plain if index % 2 else none) for index, now in enumerate(looks)])
    assert len(flapping) <= BURST + 100 / GAP + 1
    assert len([now for now in flapping if now < GAP]) <= BURST
    free = paced([(now, busy if index % 2 else plain) for index, now in enumerate(looks)])
    assert min(b - a for a, b in itertools.pairwise(free)) >= FREE_GAP
    moving = [now for now in looks if now < GAP]
    pace = Pace(0.0)
    assert sum(pace.due(plain, plain, now, moved=True) for now in moving) == BURST
    quiet = paced([(float(now), plain) for now in range(0, 1000, 2)])
    assert [b - a for a, b in itertools.pairwise(quiet)] == [REFRESH] * 7


def test_tokens_left_are_rounded_down() -> None:
    assert [rounded(n) for n in (0, 7, 99, 101, 12_999)] == [0, 7, 99, 100, 12_000]
