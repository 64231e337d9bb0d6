"""kill -9 at random points: no completed call is made again, and the text is the same."""

from pathlib import Path

import pytest
from kills import moments, point, whole


@pytest.mark.deep
@pytest.mark.timeout(600)
def test_ten_kills_at_random_points(tmp_path: Path) -> None:
    expected = whole(tmp_path / "whole")
    found = []
    for number, after in enumerate(moments(10)):
        folder = tmp_path / f"{number}"
        folder.mkdir()
        found.append(point(folder, after, expected))
    assert all(one.completed and one.identical for one in found)
    assert [one.repeated for one in found] == [0] * 10
    assert any(one.alive and one.stored for one in found), "none was killed in the middle"
