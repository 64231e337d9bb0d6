"""Following a chain that reorganises, lags, refuses and lies: late at worst, never wrong."""

import asyncio
import sqlite3
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from ricochet_protocol.errors import ChainError, LocalFault
from ricochet_protocol.ids import Address, Period
from ricochet_settlement.index_source import Log
from ricochet_settlement.index_store import FILE_NAME, IndexStore
from ricochet_settlement.index_view import IndexView
from ricochet_settlement.indexer import KEPT, TIP, WIDEST, Indexer
from twins.log_chain import MemoryLogs, claimed, event, reserved, subscribed

ALICE, NODE, OTHER, DELEGATE = (Address("0x" + f"{n:02x}" * 20) for n in (0xA1, 0x0A, 0x0B, 0xDE))
FIRST = Period(1)


class Bench:
    """A chain, and an index that follows it in memory unless a home is given."""

    def __init__(self, home: Path | None = None) -> None:
        self.chain = MemoryLogs()
        self.store = IndexStore(home, "one")
        self.indexer = Indexer(self.chain, self.store)

    def sync(self) -> None:
        asyncio.run(self.indexer.sync())

    def refused(self) -> str:
        with pytest.raises(ChainError) as caught:
            self.sync()
        assert caught.value.hint
        return caught.value.code

    @property
    def view(self) -> IndexView:
        return IndexView(self.store)

    def committed(self, depth: int = 0) -> int:
        return IndexView(self.store, depth).commitment(ALICE, FIRST, NODE)[0]

    def rows(self) -> list[tuple[object, ...]]:
        return self.store.select("*", "ORDER BY block, position")


def test_reorganised_commitments_shrink_and_grow_again() -> None:
    bench = Bench()
    bench.chain.add(subscribed(ALICE, 1, 1000, DELEGATE))
    bench.chain.add(reserved(ALICE, NODE, 1, 100))
    bench.chain.add(reserved(ALICE, NODE, 1, 300))
    bench.sync()
    assert (bench.committed(), bench.committed(depth=1), bench.committed(depth=2)) == (300, 100, 0)
    bench.chain.undo(2)
    bench.chain.add()
    bench.chain.add(reserved(ALICE, NODE, 1, 50))
    bench.sync()
    assert (bench.committed(), bench.committed(depth=1)) == (50, 0)
    bench.chain.undo(3)
    bench.chain.grow(5)
    bench.sync()
    assert (bench.committed(), bench.rows()) == (0, [])


def test_a_shorter_chain_is_believed_at_once_and_nothing_is_read_twice() -> None:
    bench = Bench()
    bench.chain.grow(3)
    bench.chain.add(reserved(ALICE, NODE, 1, 100))
    bench.sync()
    bench.chain.lag = 2
    bench.sync()
    assert (bench.view.block, bench.committed()) == (2, 0)
    bench.chain.lag = 0
    bench.chain.asked.clear()
    bench.sync()
    assert (bench.view.block, bench.committed(), bench.chain.asked) == (4, 100, ["head"])
    bench.chain.undo(2)
    bench.sync()
    assert (bench.view.block, bench.committed()) == (2, 0)
    bench.chain.grow(4)
    bench.sync()
    assert (bench.view.block, bench.committed()) == (6, 0)


def test_a_long_chain_is_read_in_ranges_that_shrink_when_refused() -> None:
    bench = Bench()
    bench.chain.widest = 50
    for number in range(1, 400):
        bench.chain.add(reserved(ALICE, NODE, 1, number))
    bench.sync()
    assert bench.committed() == 399
    assert len(bench.rows()) == 399
    ranges = bench.chain.asked.count("logs_between")
    assert ranges < 2 * (400 - TIP) / 25 + WIDEST.bit_length()
    assert bench.chain.asked.count("logs_in") == TIP
    bench.chain.grow(2 * TIP)
    bench.chain.widest = 0
    assert bench.refused() == "chain_refused"
    bench.chain.widest = 1
    bench.sync()
    assert bench.view.block == 399 + 2 * TIP


def test_a_deep_reorganisation_is_found_by_few_questions_and_old_blocks_are_forgotten() -> None:
    bench = Bench()
    bench.chain.add(reserved(ALICE, NODE, 1, 7))
    for _ in range(3):
        bench.chain.grow(KEPT)
        bench.sync()
        bench.chain.grow(TIP)
        bench.sync()
    assert len(bench.store.marks_to(10**6)) < KEPT
    bench.chain.undo(2000)
    bench.chain.add(reserved(ALICE, NODE, 1, 9))
    bench.chain.asked.clear()
    bench.sync()
    assert bench.committed() == 9
    assert bench.chain.asked.count("block") < 200


@pytest.mark.parametrize("question", ["head", "block", "logs_in", "logs_between"])
def test_a_chain_that_reorganises_while_it_is_read_is_read_again(question: str) -> None:
    bench = Bench()
    bench.chain.grow(TIP)
    bench.chain.add(reserved(ALICE, NODE, 1, 100))
    bench.chain.grow(TIP)

    def once(asked: str) -> None:
        if asked == question:
            bench.chain.before = lambda asked: None
            bench.chain.undo(TIP + 10)
            bench.chain.add(reserved(ALICE, NODE, 1, 20))
            bench.chain.grow(TIP + 20)

    bench.chain.before = once
    try:
        bench.sync()
    except ChainError:
        bench.sync()
    assert bench.committed() == 20
    assert len(bench.rows()) == 1


def test_a_server_that_goes_away_leaves_whole_blocks() -> None:
    bench = Bench()
    bench.chain.add(reserved(ALICE, NODE, 1, 100))
    bench.chain.add(reserved(ALICE, NODE, 1, 200), reserved(ALICE, OTHER, 1, 5))
    bench.chain.add(reserved(ALICE, NODE, 1, 300))
    answers = iter(range(100))

    def leave(asked: str) -> None:
        bench.chain.reachable = next(answers) < 7

    bench.chain.before = leave
    assert bench.refused() == "chain_unreachable"
    assert bench.committed() == 200
    assert bench.view.commitment(ALICE, FIRST, OTHER)[0] == 5
    bench.chain.before = lambda asked: None
    bench.chain.reachable = True
    bench.sync()
    assert bench.committed() == 300


@pytest.mark.parametrize("far", [False, True])
def test_logs_of_another_fork_are_never_taken(far: bool) -> None:
    bench = Bench()
    bench.chain.add(reserved(ALICE, NODE, 1, 100))
    bench.chain.grow(2 * TIP if far else 1)
    foreign = bytes([9]) * 32

    def twist(logs: tuple[Log, ...]) -> tuple[Log, ...]:
        return tuple(replace(log, block_hash=foreign) for log in logs)

    bench.chain.twist = twist
    assert bench.refused() == "chain_moves"
    assert bench.rows() == []


def test_blocks_that_do_not_follow_each_other_are_an_error() -> None:
    bench = Bench()
    bench.chain.grow(3)
    block, logs = bench.chain.blocks[2]
    bench.chain.blocks[2] = replace(block, parent=bytes(32)), logs
    assert bench.refused() == "chain_moves"
    assert bench.view.block == 1


def test_a_server_before_the_first_block_is_told_from_an_empty_contract() -> None:
    bench = Bench()
    bench.chain.grow(3)
    bench.indexer = Indexer(bench.chain, bench.store, first=9)
    assert bench.refused() == "chain_lags"


@pytest.mark.parametrize(
    ("topics", "data"),
    [(1, b""), (4, b""), (3, b"\x01"), (3, b"\xff" * 64)],
)
def test_an_event_that_the_contract_cannot_have_written_is_refused(
    topics: int, data: bytes
) -> None:
    bench = Bench()
    (name, who, node), _ = reserved(ALICE, NODE, 1, 1)
    bench.chain.add((((name, who, node, node)[:topics]), data))
    assert bench.refused() == "chain_nonsense"
    assert bench.rows() == []


def test_unknown_events_and_registry_texts_that_are_none_hide_nothing() -> None:
    bench = Bench()
    (topic, who), data = event(
        "NodeRegistered", operator=NODE, peerId="x" * 3, multiaddrs=[], payout=OTHER
    )
    bench.chain.add(
        ((bytes(32),), b"?"),
        ((), b""),
        ((topic, who), data.replace(b"xxx", b"\xff\xfe\xfd")),
        reserved(ALICE, NODE, 1, 4),
    )
    bench.sync()
    assert bench.committed() == 4
    assert bench.view.nodes() == ()


def test_the_file_is_private_and_outlives_the_process(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.chain.add(reserved(ALICE, NODE, 1, 100))
    bench.sync()
    assert stat.S_IMODE((tmp_path / FILE_NAME).stat().st_mode) == 0o600
    again = IndexStore(tmp_path, "one")
    assert IndexView(again).commitment(ALICE, FIRST, NODE) == (100, 0)
    # Two followers of one file: the slower one finds that the faster one was there.
    other = Indexer(bench.chain, again)
    bench.chain.add(reserved(ALICE, NODE, 1, 150))

    async def both() -> None:
        await asyncio.gather(bench.indexer.sync(), other.sync())

    asyncio.run(both())
    assert len(bench.rows()) == 2
    again.close()
    bench.store.close()
    elsewhere = IndexStore(tmp_path, "two")
    assert elsewhere.head is None and elsewhere.select("*", "") == []
    elsewhere.close()


def test_a_file_that_is_no_index_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    path.write_text("somebody's notes\n" * 100)
    with pytest.raises(LocalFault) as caught:
        IndexStore(tmp_path, "one")
    assert caught.value.code == "index_damaged"
    assert path.read_text().startswith("somebody")
    with pytest.raises(LocalFault) as caught:
        IndexStore(path, "one")
    assert caught.value.code == "index_unwritable"


def test_a_write_that_fails_leaves_the_block_out(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.chain.add(reserved(ALICE, NODE, 1, 100), reserved(ALICE, NODE, 1, 200))
    other = sqlite3.connect(tmp_path / FILE_NAME)
    other.execute(
        "CREATE TRIGGER full BEFORE INSERT ON events WHEN NEW.amount = 200"
        " BEGIN SELECT RAISE(ABORT, 'disk full'); END"
    )
    with pytest.raises(sqlite3.IntegrityError):
        bench.sync()
    assert (bench.view.block, bench.rows()) == (0, [])
    other.execute("DROP TRIGGER full")
    other.close()
    bench.sync()
    assert bench.committed() == 200
    bench.store.close()


def test_sums_are_those_of_the_events() -> None:
    bench = Bench()
    bench.chain.add(subscribed(ALICE, 1, 1000, DELEGATE, start=1010))
    bench.chain.add(event("ToppedUp", subscriber=ALICE, period=1, amount=50))
    bench.chain.add(reserved(ALICE, NODE, 1, 100), claimed(ALICE, NODE, 1, 90, 63, 27))
    bench.chain.add(claimed(ALICE, NODE, 1, 100, 7, 3))
    bench.chain.add(event("AutoRenewChanged", subscriber=ALICE, autoRenew=True))
    bench.chain.add(event("DelegateChanged", subscriber=ALICE, replaced=DELEGATE, delegate=OTHER))
    bench.chain.add(subscribed(ALICE, 2, 500, OTHER, start=1110))
    bench.chain.add(event("Closed", subscriber=ALICE, period=1, refundable=950))
    bench.chain.add(event("Withdrawn", account=NODE, to=OTHER, amount=60))
    bench.sync()
    view = bench.view
    found = view.subscription(ALICE)
    assert found is not None
    assert (found.period, found.budget, found.committed, found.paid) == (1, 1050, 100, 100)
    assert (found.start, found.end, found.delegate) == (1010, 1110, OTHER)
    assert [one.period for one in view.periods(ALICE)] == [1, 2]
    assert view.subscription(NODE) is None
    assert view.earned(ALICE, NODE) == 100
    assert view.earned(ALICE, OTHER) == 0
    income = view.income(NODE)
    assert (income.shares, income.commission, income.withdrawn) == (70, 30, 60)
    assert view.auto_renew(ALICE) and not view.auto_renew(NODE)
    assert view.closed(ALICE) == {1}
    assert view.spending(ALICE, Period(2)) == ()


steps = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(1, 10**6)),
        st.tuples(st.just("grow"), st.integers(1, 90)),
        st.tuples(st.just("undo"), st.integers(1, 80)),
        st.tuples(st.just("lag"), st.integers(0, 5)),
        st.tuples(st.just("widest"), st.integers(1, 200)),
        st.tuples(st.just("sync"), st.just(0)),
    ),
    max_size=25,
)


@settings(max_examples=60)
@given(steps=steps)
def test_whatever_the_chain_did_the_index_is_that_of_a_fresh_reader(
    steps: list[tuple[str, int]],
) -> None:
    bench = Bench()
    for what, number in steps:
        match what:
            case "add":
                bench.chain.add(reserved(ALICE, NODE, 1, number))
            case "grow":
                bench.chain.grow(number)
            case "undo":
                bench.chain.undo(min(number, len(bench.chain.blocks) - 1))
            case "lag" | "widest":
                setattr(bench.chain, what, number)
            case "sync":
                bench.sync()
                totals = [
                    int.from_bytes(log.data[-32:], "big")
                    for _, logs in bench.chain._shown()
                    for log in logs
                ]
                assert bench.committed() == max(totals, default=0)
    bench.chain.lag = 0
    bench.sync()
    fresh = Bench()
    fresh.chain = bench.chain
    fresh.indexer = Indexer(bench.chain, fresh.store)
    fresh.sync()
    assert bench.rows() == fresh.rows()
    assert bench.store.head == fresh.store.head
