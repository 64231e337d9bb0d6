"""The owner's limits: what they let through, what they refuse and until when, and what survives."""

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ricochet_node.counters import Counters, Debit
from ricochet_node.key_rules import Hours, KeyRules
from ricochet_node.limits import Limits, Outcome, Ticket
from ricochet_node.prices import Price
from ricochet_node.vault_request import Call, Refusal
from ricochet_protocol.errors import LocalFault
from ricochet_protocol.money import PricePerMillion, Units

ZONE = "Europe/Berlin"
NOON = datetime(2026, 11, 23, 12, tzinfo=ZoneInfo(ZONE)).timestamp()
DAY, MONTH = "2026-11-23", "2026-11"
PRICES = {"m": Price(PricePerMillion(1_000_000), PricePerMillion(2_000_000))}
CALL = Call(model="m", prompt=300, max_tokens=100)
"""At the prices above 300 + 200 units at worst, and 200 tokens by the estimate of tpm."""
DONE = Outcome(tokens=(50, 10))
"""70 units, 60 tokens."""


class Bench:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.now = NOON
        self.counters = Counters(path)
        self.limits = Limits(self.counters, lambda: self.now)

    def admit(self, rules: KeyRules, call: Call = CALL, key: str = "k") -> Ticket:
        return self.limits.admit(key, rules, call)

    def refused(self, rules: KeyRules, call: Call = CALL, key: str = "k") -> tuple[str, int | None]:
        with pytest.raises(Refusal) as caught:
            self.admit(rules, call, key)
        return caught.value.code, caught.value.retry_after

    def spent(self, period: str = DAY, key: str = "k") -> int:
        return self.counters.spent(key, period).amount

    def restart(self) -> None:
        """As a new process would find it."""
        self.counters.close()
        self.counters = Counters(self.path)
        self.limits = Limits(self.counters, lambda: self.now)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path / "keys.db")
    yield bench
    bench.counters.close()


def rules(**changes: object) -> KeyRules:
    return KeyRules(**{"time_zone": ZONE, "prices": PRICES, **changes})  # type: ignore[arg-type]


def test_calls_in_a_minute(bench: Bench) -> None:
    two = rules(rpm=2)
    bench.admit(two)
    bench.now += 10
    bench.admit(two)
    assert bench.refused(two) == ("rate", 50)
    bench.admit(two, key="other")
    bench.restart()
    assert bench.refused(two) == ("rate", 50)
    bench.now += 50
    bench.admit(two)
    assert bench.refused(two) == ("rate", 10)


def test_tokens_in_a_minute_count_as_reported_once_they_are(bench: Bench) -> None:
    limited = rules(tpm=450)
    first = bench.admit(limited)
    bench.now += 20
    bench.admit(limited)
    assert bench.refused(limited) == ("rate", 40)
    bench.limits.finish(first, DONE)
    assert bench.refused(limited, Call(model="m", prompt=300, max_tokens=200)) == ("rate", 60)
    bench.admit(limited, Call(model="m", prompt=300, max_tokens=90))
    assert bench.refused(limited, Call(model="m", prompt=300, max_tokens=9999)) == ("rate", None)


def test_calls_at_once(bench: Bench) -> None:
    one = rules(concurrency=1)
    ticket = bench.admit(one)
    assert bench.refused(one) == ("concurrency", None)
    bench.limits.finish(ticket, DONE)
    bench.admit(one)


def test_a_daily_cap_holds_at_the_worst_case(bench: Bench) -> None:
    capped = rules(per_day=Units(1_100))
    first, _ = bench.admit(capped), bench.admit(capped)
    assert bench.refused(capped) == ("cap_day", 12 * 3600)
    assert bench.limits.finish(first, DONE) == 70
    assert bench.spent() == 570
    bench.admit(capped)
    bench.restart()
    assert bench.refused(capped) == ("cap_day", 12 * 3600)
    bench.now += 12 * 3600
    bench.admit(capped)
    assert (bench.spent(), bench.spent("2026-11-24")) == (1_070, 500)
    assert bench.spent(MONTH) == 1_570


def test_a_monthly_cap_and_its_end(bench: Bench) -> None:
    capped = rules(per_month=Units(500), per_day=Units(10_000))
    bench.admit(capped)
    assert bench.refused(capped) == ("cap_month", 7 * 86400 + 12 * 3600)


def test_what_is_settled_later_counts_on_its_own_day(bench: Bench) -> None:
    ticket = bench.admit(rules())
    bench.now += 24 * 3600
    bench.limits.finish(ticket, DONE)
    assert (bench.spent(), bench.spent("2026-11-24")) == (70, 0)


def test_without_a_report_the_worst_stays(bench: Bench) -> None:
    assert bench.limits.finish(bench.admit(rules()), Outcome()) == 500
    assert bench.limits.finish(bench.admit(rules()), Outcome(unbilled=True)) == 0
    assert bench.limits.finish(bench.admit(rules()), Outcome(tokens=(9999, 1))) == 10_001
    assert bench.spent() == 10_501


def test_what_has_no_bound_is_refused_where_one_is_needed(bench: Bench) -> None:
    boundless = Call(model="m", prompt=300)
    for limited in (rules(tpm=10_000), rules(per_day=Units(10_000))):
        assert bench.refused(limited, boundless) == ("max_tokens", None)
    bench.admit(rules(rpm=5), boundless)
    unpriced = Call(model="other", prompt=3, max_tokens=1)
    assert bench.refused(rules(per_day=Units(10_000)), unpriced) == ("price", None)
    listing = Call()
    bench.admit(rules(tpm=1, per_day=Units(0)), listing)


def test_active_hours_are_the_owners(bench: Bench) -> None:
    night = rules(hours=Hours(22 * 60, 7 * 60))
    assert bench.refused(night) == ("hours", 10 * 3600)
    bench.now += 10 * 3600
    bench.admit(night)
    bench.now += 9 * 3600
    assert bench.refused(night) == ("hours", 15 * 3600)
    bench.admit(rules(hours=Hours(7 * 60, 22 * 60)))
    bench.admit(rules(hours=Hours(7 * 60, 22 * 60), time_zone="Asia/Tokyo"))
    bench.now = NOON
    assert bench.refused(rules(hours=Hours(0, 60), time_zone="Asia/Tokyo")) == ("hours", 4 * 3600)


def test_a_day_of_25_hours_is_waited_for(bench: Bench) -> None:
    bench.now = datetime(2026, 10, 25, 0, tzinfo=ZoneInfo(ZONE)).timestamp()
    assert bench.refused(rules(per_day=Units(0))) == ("cap_day", 25 * 3600)


def test_the_kill_switch_holds_for_every_process_at_once(bench: Bench) -> None:
    other = Counters(bench.path)
    with other.change():
        other.disable("k")
    assert bench.refused(rules()) == ("disabled", None)
    bench.admit(rules(), key="other")
    bench.restart()
    assert bench.refused(rules()) == ("disabled", None)
    with other.change():
        other.enable("k")
    bench.admit(rules())
    other.close()


def test_a_full_disk_refuses_and_never_forgets(bench: Bench) -> None:
    open_call = bench.admit(rules())
    (pages,) = bench.counters._db.execute("PRAGMA page_count").fetchone()
    bench.counters._db.execute(f"PRAGMA max_page_count = {pages}")
    passed = 1
    with pytest.raises(Refusal) as caught:
        while passed < 500:
            bench.admit(rules())
            passed += 1
    assert (caught.value.status, caught.value.code) == (503, "counters")
    assert bench.spent() == 500 * passed
    bench.limits.finish(open_call, Outcome())
    bench.restart()
    assert bench.spent() == 500 * passed
    bench.admit(rules())


def test_a_settlement_that_is_not_written_leaves_the_worst(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticket = bench.admit(rules())

    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(bench.counters, "settle", full)
    assert bench.limits.finish(ticket, DONE) == 500
    assert bench.spent() == 500


_DIES = """
import os, signal, sys
from ricochet_node.prices import Price
from pathlib import Path
from ricochet_node.counters import Counters
from ricochet_node.key_rules import KeyRules
from ricochet_node.limits import Limits
from ricochet_node.vault_request import Call
rules = KeyRules(prices={"m": Price(1_000_000, 2_000_000)}, time_zone="Europe/Berlin")
limits = Limits(Counters(Path(sys.argv[1])), lambda: float(sys.argv[2]))
limits.admit("k", rules, Call(model="m", prompt=300, max_tokens=100))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_debit_outlives_the_process_that_made_it(bench: Bench) -> None:
    subprocess.run([sys.executable, "-c", _DIES, str(bench.path), str(NOON)], timeout=60)
    assert bench.spent() == 500
    assert bench.refused(rules(rpm=1)) == ("rate", 60)


def test_old_calls_are_forgotten_and_a_clock_may_jump(bench: Bench) -> None:
    bench.admit(rules())
    bench.now += 3600
    bench.admit(rules())
    assert bench.counters._db.execute("SELECT count(*) FROM call").fetchone() == (1,)
    bench.now -= 3000
    bench.admit(rules(rpm=1))


def test_the_file_is_private_and_damage_is_named(tmp_path: Path, bench: Bench) -> None:
    bench.admit(rules())
    for file in tmp_path.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    damaged = tmp_path / "damaged.db"
    damaged.write_bytes(os.urandom(8192))
    with pytest.raises(LocalFault) as caught:
        Counters(damaged)
    assert caught.value.code == "counters_damaged"


def test_a_removed_key_leaves_nothing(bench: Bench) -> None:
    bench.admit(rules())
    with bench.counters.change():
        bench.counters.disable("k")
        bench.counters.forget("k")
    assert bench.spent() == 0
    bench.admit(rules(rpm=1))


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cap=st.integers(0, 3_000),
    steps=st.lists(st.tuples(st.integers(0, 400), st.integers(1, 300), st.booleans()), max_size=12),
)
def test_spending_never_passes_the_cap(
    tmp_path: Path, cap: int, steps: list[tuple[int, int, bool]]
) -> None:
    (tmp_path / "any.db").unlink(missing_ok=True)
    counters = Counters(tmp_path / "any.db")
    limits = Limits(counters, lambda: NOON)
    capped = rules(per_day=Units(cap))
    for prompt, generated, reported in steps:
        try:
            ticket = limits.admit("k", capped, Call(model="m", prompt=prompt, max_tokens=generated))
        except Refusal:
            continue
        assert counters.spent("k", DAY).amount <= cap
        used = (prompt // 2, generated // 2) if reported else None
        limits.finish(ticket, Outcome(tokens=used))
    assert counters.spent("k", DAY).amount <= cap
    counters.close()


def test_what_one_turn_of_a_loop_changes_is_one_write(bench: Bench) -> None:
    other = Counters(bench.path)

    async def scenario() -> None:
        bench.counters.share()
        capped = rules(per_day=Units(1_100))
        first, second = bench.admit(capped), bench.admit(capped)
        assert bench.refused(capped) == ("cap_day", 12 * 3600), "what is open counts at once"
        assert other.spent("k", DAY).amount == 0
        await asyncio.gather(bench.limits.secure(first), bench.limits.secure(second))
        assert other.spent("k", DAY).amount == 1_000
        assert bench.limits.finish(first, DONE) == 70
        bench.admit(capped)
        await asyncio.sleep(0)
        assert other.spent("k", DAY).amount == 1_070

    asyncio.run(scenario())
    other.close()


class NeverCommits:
    """A connection to a disk that is full when it comes to the point."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    @property
    def in_transaction(self) -> bool:
        return self._db.in_transaction

    @property
    def total_changes(self) -> int:
        return self._db.total_changes

    def execute(self, text: str) -> sqlite3.Cursor:
        if text == "COMMIT":
            raise sqlite3.OperationalError("database or disk is full")
        return self._db.execute(text)


def test_a_change_that_fails_takes_its_turn_with_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        bench.counters.share()
        first = bench.admit(rules())
        forgotten = bench.counters.settle

        def half(debit: Debit, tokens: int, amount: Units) -> None:
            forgotten(debit, tokens, amount)
            raise sqlite3.OperationalError("database or disk is full")

        monkeypatch.setattr(bench.counters, "settle", half)
        assert bench.limits.finish(first, DONE) == 500
        with pytest.raises(Refusal) as caught:
            await bench.limits.secure(first)
        assert caught.value.code == "counters"
        assert bench.spent() == 0
        second = bench.admit(rules())
        await bench.limits.secure(second)
        assert bench.spent() == 500, "the next turn is its own"

    asyncio.run(scenario())


def test_a_debit_that_is_not_written_after_all_is_refused_and_not_settled(bench: Bench) -> None:
    async def scenario() -> None:
        bench.counters.share()
        before = bench.admit(rules())
        await bench.limits.secure(before)
        assert bench.counters._turns is not None
        bench.counters._turns._db = NeverCommits(bench.counters._db)  # type: ignore[assignment]
        ticket = bench.admit(rules())
        with pytest.raises(Refusal) as caught:
            await bench.limits.secure(ticket)
        assert (caught.value.status, caught.value.code) == (503, "counters")
        assert bench.limits.finish(ticket, Outcome(unbilled=True)) == 0
        await asyncio.sleep(0)
        assert bench.spent() == 500, "the call before it stands"

    asyncio.run(scenario())
