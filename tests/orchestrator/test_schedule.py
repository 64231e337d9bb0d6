"""What may run when, and that a long plan costs no more a step than a short one."""

from hypothesis import given
from hypothesis import strategies as st

from ricochet_orchestrator.chain_language import ChainStep
from ricochet_orchestrator.plan import Source, Step, StepId
from ricochet_orchestrator.schedule import Schedule
from ricochet_protocol.ids import ModelId


def step(number: int, reads: tuple[int, ...] = (), name: str = "a") -> Step:
    spec = ChainStep(name, "r", "map", "segments", "{text}", 9)
    made = StepId(str(number))
    sources = tuple(Source(str(one), 9, (), 0, step=StepId(str(one))) for one in reads)
    return Step(made, made, spec, ModelId("m"), number, sources, ())


def test_a_step_is_ready_once_all_it_reads_has_passed_and_earlier_ones_come_first() -> None:
    schedule = Schedule()
    schedule.add([step(2, (0, 1, 0), "b"), step(1), step(0)])
    assert [one.id for one in schedule.ready()] == ["0", "1"]
    first = schedule.take("a")
    assert first is not None and first.id == "0"
    schedule.passed(StepId("0"))
    schedule.passed(StepId("0"))
    assert schedule.lanes() == ["a"]
    schedule.passed(StepId("1"))
    assert schedule.lanes() == ["a", "b"]
    schedule.put_back(StepId("0"))
    assert [one.id for one in schedule.ready()] == ["0", "1", "2"]
    assert schedule.take("none") is None


def test_a_step_added_after_its_inputs_passed_is_ready_at_once() -> None:
    schedule = Schedule()
    schedule.passed(StepId("0"))
    schedule.add([step(1, (0,))])
    assert [one.id for one in schedule.ready()] == ["1"]


@given(st.lists(st.lists(st.integers(0, 30), max_size=4), min_size=1, max_size=30), st.randoms())
def test_everything_runs_once_and_after_what_it_reads(
    reads: list[list[int]], chance: object
) -> None:
    steps = [
        step(number, tuple({one % number for one in inputs}) if number else ())
        for number, inputs in enumerate(reads)
    ]
    schedule = Schedule()
    schedule.add(chance.sample(steps, len(steps)))  # type: ignore[attr-defined]  # random.Random
    done: list[StepId] = []
    while (taken := schedule.take("a")) is not None:
        assert set(taken.inputs) <= set(done)
        done.append(taken.id)
        schedule.passed(taken.id)
    assert sorted(done) == sorted(one.id for one in steps)
