"""kill -9 at random points: no completed call is made again, and the text is the same."""

from pathlib import Path

import pytest
from kills import kills


@pytest.mark.deep
@pytest.mark.timeout(600)
def test_ten_kills_at_random_points(tmp_path: Path) -> None:
    found = list(kills(tmp_path, 10))
    assert all(one.completed and one.identical for one in found)
    assert not any(one.repeated for one in found)
    assert any(one.alive and one.stored for one in found), "none was killed in the middle"
    assert any(one.lost for one in found), "none was killed while a call was out"
