"""Lines in one file a UTC day under `logs/` of a home, readable by their owner only.

The oldest files go first, by age and by total size. A line that a crash or a full disk cut short is
left behind as it is, and the next one begins on a line of its own. Writing never raises: what
cannot be written is counted, for a log must not stop what it watches.
"""

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Final

FOLDER: Final = "logs"
_SUFFIX: Final = ".jsonl"
_DAY: Final = 86_400


class DayFiles:
    """Appends to `PREFIX-YYYY-MM-DD.jsonl` under `home`; belongs to one process."""

    def __init__(self, home: Path, prefix: str, *, keep_days: int, keep_bytes: int) -> None:
        self._folder = home / FOLDER
        self._prefix = prefix
        self._keep_days = keep_days
        self._keep_bytes = keep_bytes
        self._day = ""
        self._file = -1
        self.lost = 0
        """Lines that could not be written whole since the start."""

    def write(self, time: float, line: bytes) -> None:
        """One line, in the file of that moment's day; a full disk only raises `lost`."""
        try:
            self._open(day_of(time))
            if os.write(self._file, line + b"\n") <= len(line):
                self.lost += 1
        except OSError:
            self.lost += 1

    def close(self) -> None:
        """Release the file; may be called twice."""
        if self._file >= 0:
            os.close(self._file)
        self._file, self._day = -1, ""

    def prune(self, time: float) -> None:
        """Delete what is too old or too much on that moment's day."""
        today = datetime.fromisoformat(day_of(time))
        oldest = (today - timedelta(days=self._keep_days)).date().isoformat()
        kept = 0
        for path in sorted(files(self._folder, self._prefix), reverse=True):
            kept += path.stat().st_size
            if day_of_file(path) < oldest or kept > self._keep_bytes:
                path.unlink(missing_ok=True)

    def _open(self, day: str) -> None:
        if day == self._day:
            return
        self.close()
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.prune(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp())
        path = self._folder / f"{self._prefix}-{day}{_SUFFIX}"
        # In appending mode each line is written whole at the end, also beside an older process.
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.fchmod(self._file, 0o600)
        self._day = day
        if os.fstat(self._file).st_size and not _ends_a_line(path):
            os.write(self._file, b"\n")


def files(folder: Path, prefix: str) -> list[Path]:
    """The files of that prefix, in no order; none when there is no folder."""
    return list(folder.glob(f"{prefix}-????-??-??{_SUFFIX}"))


def lines(
    home: Path, prefix: str, since: float | None = None, until: float | None = None
) -> Iterator[bytes]:
    """Lines in the order of their writing, of the days that `since` and `until` touch."""
    for path in sorted(files(home / FOLDER, prefix)):
        day = day_of_file(path)
        if since is not None and day < day_of(since):
            continue
        if until is not None and day > day_of(until):
            continue
        with path.open("rb") as stream:
            yield from stream


def day_of(time: float) -> str:
    """The UTC day of a moment in Unix seconds, as YYYY-MM-DD."""
    return _day(int(time // _DAY))


@lru_cache(64)
def _day(number: int) -> str:
    return datetime.fromtimestamp(number * _DAY, UTC).date().isoformat()


def day_of_file(path: Path) -> str:
    """The day in a file's name."""
    return path.name.removesuffix(_SUFFIX)[-len("YYYY-MM-DD") :]


def _ends_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
