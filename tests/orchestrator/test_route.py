from collections import Counter

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from routes import NEED, at, candidate, chosen, fail, serve

from ricochet_orchestrator.breaker import BUSY, LONGEST, Breaker, State
from ricochet_orchestrator.opinion import Mean, Opinion
from ricochet_orchestrator.route import DISTRUST_PROBES, STICKY, Candidate, Router
from ricochet_protocol.errors import RemoteCode
from ricochet_protocol.ids import PeerId


def steady(seed: int = 0, strategy: str = "balanced", **settings: float) -> Router:
    """A router that does not explore, so that each choice has one reason."""
    return Router(seed, strategy, explore=0.0, **settings)  # type: ignore[arg-type]  # as written


def test_every_peer_with_capacity_gets_work_before_any_gets_a_second_call() -> None:
    router = steady(1)
    peers = [candidate(name, limit=3, price=1000 * number) for number, name in enumerate("abcde")]
    first = []
    for _ in range(5):
        first.append(chosen(router, *peers))
        router.started(PeerId(str(first[-1])))
    assert sorted(map(str, first)) == list("abcde")
    for _ in range(10):
        again = chosen(router, *peers)
        router.started(PeerId(str(again)))
    assert chosen(router, *peers) is None


def test_room_in_an_advert_is_a_preference_and_starves_nobody() -> None:
    def shows(name: str, free: int, tokens_left: int | None = None) -> Candidate:
        one = candidate(name, limit=2)
        offer = msgspec.structs.replace(one.offer, free=free, tokens_left=tokens_left)
        return msgspec.structs.replace(one, offer=offer)

    router = steady()
    taken, free = shows("a", 0), shows("b", 1)
    assert {chosen(router, taken, free) for _ in range(20)} == {"b"}
    assert chosen(router, shows("a", 1, tokens_left=1), shows("b", 1, 10**6)) == "b"
    # What it shows as taken may be our own calls: up to its slots it gets them all the same.
    for _ in range(2):
        assert chosen(router, taken) == "a"
        router.started(PeerId("a"))
    assert chosen(router, taken) is None


def test_the_cheaper_of_two_equals_is_chosen() -> None:
    assert chosen(steady(), candidate("a", price=200_000), candidate("b")) == "b"


def test_what_a_node_bills_beyond_the_count_makes_it_dearer() -> None:
    wordy = msgspec.structs.replace(candidate("a", price=70_000), surplus=1.6)
    assert chosen(steady(), wordy, candidate("b")) == "b"
    fair = msgspec.structs.replace(wordy, surplus=1.0)
    assert chosen(steady(), fair, candidate("b")) == "a"


def test_the_quicker_of_two_equals_is_chosen() -> None:
    router = steady()
    serve(router, "a", first=9.0, seconds=10.0)
    serve(router, "b", first=0.1, seconds=1.1)
    assert chosen(router, candidate("a"), candidate("b")) == "b"


def test_the_one_that_writes_faster_is_chosen() -> None:
    router = steady()
    serve(router, "a", first=1.0, seconds=11.0)
    serve(router, "b", first=1.0, seconds=2.0)
    assert chosen(router, candidate("a"), candidate("b")) == "b"


def test_the_more_reliable_of_two_equals_is_chosen() -> None:
    router = steady()
    fail(router, "a", RemoteCode.DISCONNECTED)
    assert chosen(router, candidate("a"), candidate("b"), now=1000.0) == "b"


def test_a_failing_peer_is_left_alone_longer_each_time() -> None:
    router, only = steady(), candidate("a")
    now = 0.0
    for pause in (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0):
        fail(router, "a", RemoteCode.TIMEOUT, now)
        assert chosen(router, only, now=now + pause - 0.01) is None
        now += pause
        assert chosen(router, only, now=now) == "a"
    serve(router, "a", now=now)
    fail(router, "a", RemoteCode.TIMEOUT, now)
    assert chosen(router, only, now=now + 1.0) == "a", "success forgives"


def test_after_a_pause_one_call_tries_alone() -> None:
    router, only = steady(), candidate("a", limit=5)
    fail(router, "a", RemoteCode.TIMEOUT)
    assert chosen(router, only, now=1.0) == "a"
    router.started(PeerId("a"))
    assert chosen(router, only, now=1.0) is None
    router.served(at("a"), NEED, 2.0, (0.5, 1.0, 30))
    router.started(PeerId("a"))
    assert chosen(router, only, now=2.0) == "a"


def test_a_liar_is_left_alone_for_long_at_once() -> None:
    router, only = steady(), candidate("a")
    fail(router, "a", RemoteCode.GARBAGE)
    assert chosen(router, only, now=LONGEST - 0.01) is None
    assert chosen(router, only, now=LONGEST) == "a"


def test_a_full_peer_is_asked_again_soon_and_not_thought_worse_of() -> None:
    router, only = steady(), candidate("a")
    before = router.score(only, NEED)
    fail(router, "a", RemoteCode.BUSY)
    assert chosen(router, only, now=BUSY / 2) is None
    assert chosen(router, only, now=BUSY) == "a"
    assert router.score(only, NEED) == before


@pytest.mark.parametrize("code", [RemoteCode.BUSY, RemoteCode.UPSTREAM])
def test_nothing_goes_to_a_peer_before_the_wait_it_asked_for(code: str) -> None:
    router, only = steady(), candidate("a", limit=3)
    router.started(PeerId("a"))
    fail(router, "a", code, now=5.0, wait=90)
    router.served(at("a"), NEED, 6.0, (0.5, 1.0, 30))
    assert chosen(router, only, now=94.9) is None, "a success meanwhile changes nothing"
    assert chosen(router, only, now=95.0) == "a"


def test_a_peer_to_avoid_is_taken_only_when_there_is_no_other() -> None:
    router = steady()
    a, b = candidate("a", price=1), candidate("b")
    assert chosen(router, a, b, avoid="a") == "b"
    router.started(b.peer)
    assert chosen(router, a, b, avoid="a") is None, "wait for b"
    assert chosen(router, a, avoid="a") == "a"


def test_a_released_slot_is_free_again() -> None:
    router, only = steady(), candidate("a")
    router.started(only.peer)
    assert chosen(router, only) is None
    router.released(only.peer)
    assert chosen(router, only) == "a"


def test_a_peer_that_was_outrun_is_thought_slower() -> None:
    router, only = steady(), candidate("a")
    serve(router, "a", first=0.5)
    before = router.score(only, NEED)
    router.started(only.peer)
    router.outrun(at("a"), 30.0)
    assert chosen(router, only) == "a"
    assert router.score(only, NEED) > 2 * before


def test_equal_seeds_give_equal_choices_whatever_the_order_of_offers() -> None:
    def choices(seed: int, order: str) -> list[str | None]:
        router = Router(seed)
        return [chosen(router, *[candidate(name) for name in order]) for _ in range(30)]

    assert choices(5, "abcdef") == choices(5, "fbdeca")
    assert choices(5, "abcdef") != choices(6, "abcdef")


def test_bad_peers_are_tried_now_and_then_and_untried_ones_first() -> None:
    router = Router(3, explore=0.2)
    for name in "abc":
        serve(router, name, first=0.2, times=5)
    dear = [candidate(name, price=10**7) for name in "xyz"]
    counts = Counter(chosen(router, *map(candidate, "abc"), *dear) for _ in range(200))
    assert set(counts) == set("abcxyz")
    assert 20 <= counts["x"] + counts["y"] + counts["z"] <= 60


def test_two_are_drawn_among_the_good_ones_only() -> None:
    router = steady(3)
    dear = [candidate(name, price=10**7) for name in "xyz"]
    counts = Counter(chosen(router, *map(candidate, "abc"), *dear) for _ in range(100))
    assert set(counts) <= set("abc") and len(counts) > 1


def test_round_robin_asks_each_in_turn() -> None:
    router = steady(0, "round-robin")
    peers = [candidate(name, price=price) for name, price in (("c", 1), ("a", 900), ("b", 5))]
    assert [chosen(router, *peers) for _ in range(5)] == list("abcab")


def test_cheapest_and_fastest_look_at_one_thing() -> None:
    for strategy, expected in (("cheapest", "a"), ("fastest", "b")):
        router = steady(0, strategy)
        serve(router, "a", first=20.0, seconds=40.0, times=3)
        serve(router, "b", first=0.1, seconds=0.5, times=3)
        assert chosen(router, candidate("a"), candidate("b", price=300_000)) == expected


def test_cheap_failures_are_not_cheap() -> None:
    router = steady(0, "cheapest")
    for _ in range(20):
        fail(router, "a", RemoteCode.UPSTREAM)
    assert chosen(router, candidate("a", price=80_000), candidate("b"), now=1000.0) == "b"


def test_a_latency_ceiling_counts_once_something_is_known() -> None:
    router = steady(max_latency=2.0)
    slow = candidate("a")
    assert chosen(router, slow) == "a"
    serve(router, "a", first=3.0, seconds=4.0)
    assert chosen(router, slow) is None
    assert router.explain([slow], NEED, 0.0)[0].reason == "latency"


def test_a_prefix_stays_where_it_was_read_unless_that_is_much_worse() -> None:
    near = [candidate(name, limit=9) for name in "abcdef"]
    router = steady(7)
    serve(router, "c", prefix="p", first=1.0, seconds=2.0)
    assert {chosen(router, *near, prefix="p") for _ in range(30)} == {"c"}
    assert len({chosen(router, *near, prefix="q") for _ in range(30)}) > 1
    limits = [candidate(one.peer, 9, 10**7 if one.peer == "c" else 100_000) for one in near]
    assert router.score(limits[2], NEED) > STICKY * router.score(limits[0], NEED)
    assert "c" not in {chosen(router, *limits, prefix="p") for _ in range(30)}


def test_a_peer_whose_answers_do_not_pass_is_asked_no_more() -> None:
    router = steady()
    for _ in range(DISTRUST_PROBES - 1):
        router.probed(at("a"), 0.0, caught=True)
    for _ in range(20):
        router.probed(at("b"), 1.0, caught=False)
    assert chosen(router, candidate("a")) == "a", "too few to judge"
    assert chosen(router, candidate("a"), candidate("b", price=200_000)) == "b"
    router.probed(at("a"), 0.0, caught=True)
    assert chosen(router, candidate("a")) is None
    assert router.explain([candidate("a")], NEED, 0.0)[0].reason == "distrusted"


def test_what_nobody_can_answer_is_held_against_nobody() -> None:
    router = steady()
    for name in "abc":
        for _ in range(5):
            router.probed(at(name), 0.0, caught=True)
    assert chosen(router, *map(candidate, "abc")) is not None


def test_what_was_learnt_earlier_counts() -> None:
    router = steady()
    quick = Opinion(first_token=Mean(0.1, 5.0), success=Mean(1.0, 20.0), calls=20)
    open_until = Breaker(state=State.OPEN, trips=3, until=50.0)
    router.learn({at("b"): quick}, {PeerId("c"): open_until})
    assert chosen(router, candidate("a"), candidate("b")) == "b"
    assert chosen(router, candidate("c"), now=49.0) is None
    assert chosen(router, candidate("c"), now=50.0) == "c"


def test_an_explanation_has_every_peer_the_best_first_and_changes_nothing() -> None:
    router = Router(0)
    serve(router, "b", first=0.1, seconds=0.4, times=3)
    fail(router, "c", RemoteCode.UPSTREAM)
    fail(router, "d", RemoteCode.BUSY, wait=9)
    router.started(PeerId("e"))
    verdicts = router.explain([candidate(name) for name in "edcba"], NEED, 0.5)
    assert [(one.candidate.peer, one.reason) for one in verdicts[:2]] == [("b", ""), ("a", "")]
    assert {one.candidate.peer: one.reason for one in verdicts[2:]} == {
        "c": "open",
        "d": "waits",
        "e": "full",
    }
    assert verdicts[0].parts.score == router.score(candidate("b"), NEED)
    assert verdicts == router.explain([candidate(name) for name in "edcba"], NEED, 0.5)


@given(st.data())
def test_whatever_happens_limits_and_waits_are_kept(data: st.DataObject) -> None:
    router = Router(data.draw(st.integers(0, 9)), explore=0.3)
    peers = [candidate(name, limit=data.draw(st.integers(1, 3))) for name in "abcd"]
    open_calls: list[str] = []
    waits: dict[str, float] = {}
    now = 0.0
    for _ in range(data.draw(st.integers(1, 60))):
        now += data.draw(st.sampled_from([0.0, 0.3, 2.0]))
        if open_calls and data.draw(st.booleans()):
            name = open_calls.pop(data.draw(st.integers(0, len(open_calls) - 1)))
            match data.draw(st.integers(0, 4)):
                case 0:
                    router.served(at(name), NEED, now, (0.2, 0.9, 20))
                case 1:
                    router.failed(at(name), RemoteCode.UPSTREAM, now)
                case 2:
                    router.failed(at(name), RemoteCode.BUSY, now, 3.0)
                    waits[name] = max(now + 3.0, waits.get(name, 0.0))
                case 3:
                    router.released(PeerId(name))
                case 4:
                    router.outrun(at(name), 4.0)
            continue
        found = router.choose(peers, NEED, now)
        if found is not None:
            assert open_calls.count(found.peer) < found.limit
            assert waits.get(found.peer, 0.0) <= now
            router.started(found.peer)
            open_calls.append(found.peer)
