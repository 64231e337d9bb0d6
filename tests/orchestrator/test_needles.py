"""What is said once in a long text reaches the end of `questions`, wherever segments are cut."""

from pathlib import Path

from needles import hay, look

from ricochet_orchestrator.checkpoint import RunStatus

WINDOW = 4096


def test_every_needle_reaches_the_final_prompt(tmp_path: Path) -> None:
    placed = hay(7_000, 8, WINDOW)
    assert placed.cut, "where no cut goes through a needle, nothing is shown"
    found = look(tmp_path, placed, WINDOW)
    assert found.result.status is RunStatus.COMPLETED
    assert set(found.reached) == set(placed.needles)
