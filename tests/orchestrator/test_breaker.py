from hypothesis import given
from hypothesis import strategies as st

from ricochet_orchestrator.breaker import _TABLE, LONGEST, Breaker, Event, State


def test_the_table_has_a_row_for_everything_that_can_happen() -> None:
    assert set(_TABLE) == {(state, event) for state in State for event in Event}


def test_a_breaker_opens_tries_and_closes() -> None:
    opened = Breaker().failed(10.0)
    assert (opened.state, opened.admits(10.9, 0)) == (State.OPEN, False)
    assert opened.at(11.0).state is State.HALF_OPEN
    assert opened.admits(11.0, 0) and not opened.admits(11.0, 1)
    closed = opened.succeeded(11.0)
    assert (closed.state, closed.trips, closed.admits(11.0, 7)) == (State.CLOSED, 0, True)
    again = opened.failed(11.0)
    assert (again.state, again.admits(12.9, 0), again.admits(13.0, 0)) == (State.OPEN, False, True)


def test_an_old_success_does_not_close_it() -> None:
    assert Breaker().failed(10.0).succeeded(10.5).state is State.OPEN


def test_another_clock_moves_it_as_a_whole() -> None:
    moved = Breaker().failed(10.0).asked_to_wait(50.0).moved(1000.0)
    assert not moved.admits(1049.9, 0)
    assert moved.admits(1050.0, 0)


steps = st.lists(
    st.tuples(st.sampled_from(["success", "failure", "lie", "wait"]), st.floats(0.0, 30.0)),
    max_size=40,
)


@given(steps)
def test_pauses_are_bounded_and_waits_kept(events: list[tuple[str, float]]) -> None:
    breaker, now, wait = Breaker(), 0.0, 0.0
    for name, after in events:
        now += after
        match name:
            case "success":
                breaker = breaker.succeeded(now)
            case "wait":
                wait = max(wait, now + after)
                breaker = breaker.asked_to_wait(wait)
            case _:
                breaker = breaker.failed(now, lie=name == "lie")
                assert not breaker.admits(now, 0)
        assert now >= wait or not breaker.admits(now, 0)
        assert breaker.admits(max(now + LONGEST, wait), 0), "nobody is left alone for ever"
