"""What faults and answers do to a key: the table, its properties, and what survives on disk."""

import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ricochet_node import key_states
from ricochet_node.faults import Blame, ProviderFault, Reason, fault_of_status
from ricochet_node.key_state import READY, Standing, State, after_answer, after_fault, anchored
from ricochet_node.key_states import KeyStates
from ricochet_protocol.errors import LocalFault

NOW = 1_000_000.0
FAR = 10**6
"""The longest Retry-After that is read."""


def after(reason: Reason, retry_after: int | None = None, standing: Standing = READY) -> Standing:
    return after_fault(standing, ProviderFault(reason, retry_after=retry_after), NOW, NOW)


@pytest.mark.parametrize(
    ("reason", "state", "wait"),
    [
        (Reason.RATE, State.COOLING, 2),
        (Reason.OVERLOADED, State.COOLING, 2),
        (Reason.QUOTA, State.EXHAUSTED, 600),
        (Reason.MODEL_UNKNOWN, State.UNKNOWN, 600),
        (Reason.KEY_REFUSED, State.REFUSED, float("inf")),
        *((reason, State.READY, 0) for reason in (Reason.FAILED, Reason.BROKEN, Reason.SILENT)),
        *((reason, State.READY, 0) for reason in (Reason.LIMIT, Reason.TOO_LONG, Reason.REFUSED)),
    ],
)
def test_each_fault_leads_to_its_state(reason: Reason, state: State, wait: float) -> None:
    standing = after(reason)
    assert (standing.state, standing.wait(NOW)) == (state, wait)


def test_every_reason_that_does_not_blame_the_ask_leaves_a_trace() -> None:
    for reason in Reason:
        blames_ask = ProviderFault(reason).blame is Blame.ASK
        assert (after(reason) == READY) is (blames_ask or reason is Reason.LIMIT), reason


def test_a_wait_that_the_provider_names_is_kept_to_the_second() -> None:
    standing = after(Reason.RATE, 7)
    assert not standing.lets(NOW + 6.999, probing=False)
    assert standing.lets(NOW + 7, probing=True)
    assert after(Reason.FAILED, 3).wait(NOW) == 3, "even for a first failure"
    assert after(Reason.QUOTA, 3).wait(NOW) == 600, "an empty account is not a rate"
    assert after(Reason.QUOTA, 3600).wait(NOW) == 3600


def test_waits_double_up_to_a_bound_and_an_answer_ends_them() -> None:
    standing, now, waits = READY, NOW, []
    for _ in range(12):
        standing = after_fault(standing, ProviderFault(Reason.RATE), now, now)
        waits.append(standing.wait(now))
        now = standing.until
    assert waits == [2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300, 300]
    assert after_answer(standing, now) == READY


def test_failures_are_forgiven_until_the_third_in_a_row() -> None:
    standing = after(Reason.FAILED, standing=after(Reason.BROKEN))
    assert standing.state is State.READY
    assert after(Reason.SILENT, standing=standing).wait(NOW) == 1
    assert after(Reason.SILENT, standing=after_answer(standing, NOW)).state is State.READY


def test_an_exhausted_key_lets_one_call_through_to_find_out() -> None:
    fault = fault_of_status(429, b'{"error": {"code": "insufficient_quota"}}', 1)
    standing = after_fault(READY, fault, NOW, NOW)
    assert not standing.lets(NOW + 599, probing=False)
    assert standing.lets(NOW + 600, probing=False)
    assert not standing.lets(NOW + 600, probing=True)
    again = after_fault(standing, fault, NOW + 600, NOW + 601)
    assert again.wait(NOW + 601) == 1200
    assert after_answer(standing, NOW + 600) == READY


def test_what_calls_from_before_a_state_say_makes_nothing_better() -> None:
    cooling = after_fault(READY, ProviderFault(Reason.RATE, retry_after=60), NOW - 1, NOW)
    late = after_fault(cooling, ProviderFault(Reason.RATE, retry_after=5), NOW - 1, NOW + 1)
    assert (late.until, late.strikes) == (NOW + 60, 1)
    assert after_answer(cooling, NOW - 1) == cooling
    assert after_fault(cooling, ProviderFault(Reason.FAILED), NOW - 1, NOW + 1) == cooling
    worse = after_fault(cooling, ProviderFault(Reason.KEY_REFUSED), NOW - 1, NOW + 1)
    assert worse.state is State.REFUSED
    assert after_fault(worse, ProviderFault(Reason.RATE), NOW - 1, NOW + 2) == worse


STANDINGS = st.builds(
    Standing,
    st.sampled_from(State),
    st.floats(NOW - FAR, NOW),
    st.floats(NOW, NOW + FAR),
    st.integers(0, 50),
    st.sampled_from(Reason),
)
FAULTS = st.builds(
    lambda reason, wait: ProviderFault(reason, retry_after=wait),
    st.sampled_from(Reason),
    st.none() | st.integers(0, FAR),
)


@given(STANDINGS, FAULTS, st.floats(NOW - FAR, NOW))
def test_a_named_wait_is_never_cut_short(
    standing: Standing, fault: ProviderFault, began: float
) -> None:
    new = after_fault(standing, fault, began, NOW)
    named = fault.retry_after
    if named and fault.blame is not Blame.ASK and fault.reason is not Reason.LIMIT:
        better = new.state is standing.state is State.READY
        assert better or not new.lets(NOW + named - 0.5, probing=False) or new == standing
        if standing.state is State.READY:
            assert not new.lets(NOW + named - 0.5, probing=False)
    if standing.state is State.REFUSED and began <= standing.since:
        assert new.state is State.REFUSED


@given(st.lists(FAULTS, max_size=20))
def test_every_state_but_refused_ends_by_itself(faults: list[ProviderFault]) -> None:
    standing, now = READY, NOW
    for fault in faults:
        standing = after_fault(standing, fault, now, now)
        now += 1
    if standing.state is State.REFUSED:
        assert not standing.lets(now + 10**9, probing=False)
    else:
        assert standing.lets(now + max(FAR, 6 * 3600), probing=False)


@given(STANDINGS, st.floats(0, 2 * NOW))
def test_a_clock_that_jumps_lengthens_no_wait(standing: Standing, now: float) -> None:
    moved = anchored(standing, now)
    if standing.state is not State.REFUSED:
        assert moved.wait(now) <= max(standing.until - standing.since, 0) + 1e-3
    assert moved.state is standing.state


def states(path: Path, mark: str = "a", now: float = NOW) -> KeyStates:
    return KeyStates(path / key_states.FILE_NAME, {"k": mark, "other": "b"}, now)


def test_states_survive_and_end_with_the_record_they_belong_to(tmp_path: Path) -> None:
    first = states(tmp_path)
    refused = after(Reason.KEY_REFUSED)
    first.put("k", "", refused)
    first.put("other", "m", after(Reason.MODEL_UNKNOWN))
    first.close()
    assert (tmp_path / key_states.FILE_NAME).stat().st_mode & 0o077 == 0
    again = states(tmp_path)
    assert again.of("k") == refused
    assert again.of("other", "m").state is State.UNKNOWN
    again.put("other", "m", READY)
    again.close()
    replaced = states(tmp_path, mark="new")
    assert replaced.of("k") == READY == replaced.of("other", "m")
    replaced.close()


def test_a_command_makes_a_key_ready_for_a_running_node(tmp_path: Path) -> None:
    running = states(tmp_path)
    running.put("k", "", after(Reason.KEY_REFUSED))
    running.put("other", "", after(Reason.RATE))
    assert running.refresh(NOW) == frozenset()
    assert key_states.read(tmp_path, {"k": "a"})["k", ""].reason is Reason.KEY_REFUSED
    key_states.forget(tmp_path, "k")
    assert running.refresh(NOW) == {"k"}
    assert (running.of("k"), running.of("other").state) == (READY, State.COOLING)
    running.close()


def test_what_a_command_learns_of_a_key_holds_for_a_running_node(tmp_path: Path) -> None:
    running = states(tmp_path)
    key_states.keep(tmp_path, "k", "another record", after(Reason.KEY_REFUSED))
    assert (running.refresh(NOW), running.of("k")) == (frozenset(), READY)
    key_states.keep(tmp_path, "k", "a", after(Reason.KEY_REFUSED))
    assert (running.refresh(NOW), running.of("k").state) == ({"k"}, State.REFUSED)
    assert running.refresh(NOW) == frozenset()
    running.close()


def test_a_clock_set_back_by_a_year_locks_no_key(tmp_path: Path) -> None:
    first = states(tmp_path)
    first.put("k", "", after(Reason.RATE, 7))
    first.refresh(NOW - 365 * 86400)
    assert first.of("k").wait(NOW - 365 * 86400) == 7
    first.close()
    again = states(tmp_path, now=NOW - 30 * 86400)
    assert again.of("k").wait(NOW - 30 * 86400) == 7
    again.close()


KILLED = """
import os, signal, sys
from pathlib import Path
from ricochet_node.faults import ProviderFault, Reason
from ricochet_node.key_state import READY, after_fault
from ricochet_node.key_states import KeyStates
states = KeyStates(Path(sys.argv[1]), {"k": "a"}, 0.0)
states.put("k", "", after_fault(READY, ProviderFault(Reason.RATE, retry_after=60), 5.0, 5.0))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_kill_9_keeps_the_states(tmp_path: Path) -> None:
    path = tmp_path / key_states.FILE_NAME
    ended = subprocess.run([sys.executable, "-c", KILLED, str(path)], timeout=60)
    assert ended.returncode == -signal.SIGKILL
    again = KeyStates(path, {"k": "a"}, 10.0)
    assert (again.of("k").state, again.of("k").wait(10.0)) == (State.COOLING, 55)
    again.close()


def test_a_damaged_file_is_named_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / key_states.FILE_NAME
    path.write_bytes(b"rubbish" * 1000)
    with pytest.raises(LocalFault, match="cannot be used") as caught:
        states(tmp_path)
    assert caught.value.code == "pool_damaged" and "move the file away" in caught.value.hint
    path.unlink()
    states(tmp_path).close()
    with sqlite3.connect(path) as db:
        db.execute("INSERT INTO standing VALUES ('k', '', 'a', 'happy', 0, 0, 0, '')")
    for read in (lambda: states(tmp_path), lambda: key_states.read(tmp_path, {"k": "a"})):
        with pytest.raises(LocalFault, match="no version writes"):
            read()
