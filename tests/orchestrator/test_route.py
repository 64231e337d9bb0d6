from collections import Counter

import msgspec

from ricochet_orchestrator.route import BUSY, LONGEST, Candidate, Router
from ricochet_protocol.advert import Advert, SignedAdvert
from ricochet_protocol.errors import RemoteCode
from ricochet_protocol.ids import Address, NetworkId, PeerId
from ricochet_protocol.money import PricePerMillion
from twins.scripted_node import OFFER


def candidate(name: str, limit: int = 1, price: int = 100_000) -> Candidate:
    advert = Advert(
        peer=PeerId(name),
        addresses=("/memory",),
        operator=Address("0x" + "00" * 20),
        network=NetworkId("n"),
        models=(),
        region="",
        version="",
        seq=1,
        issued_at=0,
        ttl=60,
    )
    offer = msgspec.structs.replace(OFFER, price_in=PricePerMillion(price))
    return Candidate(SignedAdvert(advert, b""), offer, limit)


def chosen(router: Router, *candidates: Candidate, now: float = 0.0, avoid: str = "") -> str | None:
    found = router.choose(candidates, 1000, 90, now, {PeerId(avoid)})
    return found.peer if found else None


def test_every_peer_with_capacity_gets_work_before_any_gets_a_second_call() -> None:
    router = Router(1)
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


def test_the_cheaper_of_two_equals_is_chosen() -> None:
    assert chosen(Router(0), candidate("a", price=200_000), candidate("b")) == "b"


def test_what_a_node_bills_beyond_the_count_makes_it_dearer() -> None:
    wordy = msgspec.structs.replace(candidate("a", price=70_000), surplus=1.6)
    assert chosen(Router(0), wordy, candidate("b")) == "b"
    fair = msgspec.structs.replace(wordy, surplus=1.0)
    assert chosen(Router(0), fair, candidate("b")) == "a"


def test_the_quicker_of_two_equals_is_chosen() -> None:
    router = Router(0)
    for peer, delay in (("a", 9.0), ("b", 0.1)):
        router.started(PeerId(peer))
        router.served(PeerId(peer), delay)
    assert chosen(router, candidate("a"), candidate("b")) == "b"


def test_the_more_reliable_of_two_equals_is_chosen() -> None:
    router = Router(0)
    router.started(PeerId("a"))
    router.failed(PeerId("a"), RemoteCode.DISCONNECTED, now=0.0)
    assert chosen(router, candidate("a"), candidate("b"), now=1000.0) == "b"


def test_a_failing_peer_is_left_alone_longer_each_time() -> None:
    router, only = Router(0), candidate("a")
    now = 0.0
    for pause in (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0):
        router.started(only.peer)
        router.failed(only.peer, RemoteCode.TIMEOUT, now)
        assert chosen(router, only, now=now + pause - 0.01) is None
        now += pause
        assert chosen(router, only, now=now) == "a"
    router.started(only.peer)
    router.served(only.peer, 1.0)
    router.started(only.peer)
    router.failed(only.peer, RemoteCode.TIMEOUT, now)
    assert chosen(router, only, now=now + 1.0) == "a", "success forgives"


def test_a_liar_is_left_alone_for_long_at_once() -> None:
    router, only = Router(0), candidate("a")
    router.started(only.peer)
    router.failed(only.peer, RemoteCode.GARBAGE, 0.0)
    assert chosen(router, only, now=LONGEST - 0.01) is None
    assert chosen(router, only, now=LONGEST) == "a"


def test_a_full_peer_is_asked_again_soon_and_not_thought_worse_of() -> None:
    router, only = Router(0), candidate("a")
    before = router.score(only, 1000, 90)
    router.started(only.peer)
    router.failed(only.peer, RemoteCode.BUSY, 0.0)
    assert chosen(router, only, now=BUSY / 2) is None
    assert chosen(router, only, now=BUSY) == "a"
    assert router.score(only, 1000, 90) == before


def test_a_peer_to_avoid_is_taken_only_when_there_is_no_other() -> None:
    router = Router(0)
    a, b = candidate("a", price=1), candidate("b")
    assert chosen(router, a, b, avoid="a") == "b"
    router.started(b.peer)
    assert chosen(router, a, b, avoid="a") is None, "wait for b"
    assert chosen(router, a, avoid="a") == "a"


def test_a_released_slot_is_free_again() -> None:
    router, only = Router(0), candidate("a")
    router.started(only.peer)
    assert chosen(router, only) is None
    router.released(only.peer)
    assert chosen(router, only) == "a"


def test_equal_seeds_give_equal_choices_whatever_the_order_of_offers() -> None:
    def choices(seed: int, order: str) -> list[str | None]:
        router = Router(seed)
        return [chosen(router, *[candidate(name) for name in order]) for _ in range(30)]

    assert choices(5, "abcdef") == choices(5, "fbdeca")
    assert choices(5, "abcdef") != choices(6, "abcdef")


def test_all_peers_are_explored() -> None:
    router = Router(3)
    peers = [candidate(name) for name in "abcdef"]
    counts = Counter(chosen(router, *peers) for _ in range(100))
    assert len(counts) >= 5
