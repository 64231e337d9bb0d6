"""Every request a node was asked to serve, one JSON object a line, one file a UTC day.

A record holds names, numbers and ids: who asked for which model, which key served it, what it used,
cost and brought, how long it took and how it ended. Prompts and answers have no field here.

Files are `requests-YYYY-MM-DD.jsonl` under `logs/` of the home, readable by their owner only. The
oldest go first, by age and by total size. A line that a crash or a full disk cut short is skipped
when read. The log never stops a node: what cannot be written is counted and told once.
"""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Literal

import msgspec

from ricochet_protocol.ids import Address, ModelId, Period, RequestId
from ricochet_protocol.money import Units

FOLDER: Final = "logs"
KEEP_DAYS: Final = 90
KEEP_BYTES: Final = 256 * 1024 * 1024
"""About a million requests."""
OK: Final = "ok"
_PREFIX: Final = "requests-"
_SUFFIX: Final = ".jsonl"

Door = Literal["peer", "local"]


class RequestRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One request. `time` is Unix seconds of its arrival; `outcome` is "ok" or a fault's code.

    `income` is what the subscriber owes, before commission; `upstream_cost` what the provider asks
    of the owner, None where its price is not known; both in units. `subscriber` is "" at the local
    door, `key` "" when no provider was asked. `first_token_ms` is None without a token.
    """

    time: float
    door: Door
    request_id: RequestId
    subscriber: Address | Literal[""]
    period: Period
    model: ModelId
    key: str
    outcome: str
    tokens_in: int
    tokens_out: int
    exact: bool
    income: Units
    upstream_cost: Units | None
    first_token_ms: int | None
    ms: int
    replayed: bool = False


class RequestLog:
    """Appends records under `home`; belongs to one process."""

    def __init__(
        self, home: Path, *, keep_days: int = KEEP_DAYS, keep_bytes: int = KEEP_BYTES
    ) -> None:
        self._folder = home / FOLDER
        self._keep_days = keep_days
        self._keep_bytes = keep_bytes
        self._day = ""
        self._file = -1
        self.lost = 0
        """Records that could not be written since the start."""

    def write(self, record: RequestRecord) -> None:
        """One line, in the file of the record's day; a full disk only raises `lost`."""
        try:
            self._open(_day(record.time))
            line = _encode(record) + b"\n"
            if os.write(self._file, line) < len(line):
                self.lost += 1
        except OSError:
            self.lost += 1

    def close(self) -> None:
        """Release the file; may be called twice."""
        if self._file >= 0:
            os.close(self._file)
        self._file, self._day = -1, ""

    def _open(self, day: str) -> None:
        if day == self._day:
            return
        self.close()
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._prune(day)
        path = self._folder / f"{_PREFIX}{day}{_SUFFIX}"
        # In appending mode each line is written whole at the end, also beside an older process.
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._day = day
        if os.fstat(self._file).st_size and not _ends_a_line(path):
            os.write(self._file, b"\n")

    def _prune(self, today: str) -> None:
        oldest = (datetime.fromisoformat(today) - timedelta(days=self._keep_days)).date()
        kept = 0
        for path in sorted(_files(self._folder), reverse=True):
            kept += path.stat().st_size
            if _day_of(path) < oldest.isoformat() or kept > self._keep_bytes:
                path.unlink(missing_ok=True)


class Filter(msgspec.Struct, frozen=True):
    """Which records; None means any. `outcome` is "ok", "failed" or a fault's code.

    `since` (included) and `until` (not included) are Unix seconds.
    """

    since: float | None = None
    until: float | None = None
    model: str | None = None
    key: str | None = None
    subscriber: str | None = None
    outcome: str | None = None

    def takes(self, record: RequestRecord) -> bool:
        """Whether the record is one of them."""
        return (
            (self.since is None or record.time >= self.since)
            and (self.until is None or record.time < self.until)
            and self.model in (None, record.model)
            and self.key in (None, record.key)
            and self.subscriber in (None, record.subscriber)
            and self._takes_outcome(record.outcome)
        )

    def _takes_outcome(self, outcome: str) -> bool:
        return self.outcome in (None, outcome) or (self.outcome == "failed" and outcome != OK)


ANY: Final = Filter()


def read(home: Path, wanted: Filter = ANY) -> Iterator[RequestRecord]:
    """Records in the order of their writing; nothing when there is no log yet."""
    for path in sorted(_files(home / FOLDER)):
        day = _day_of(path)
        if wanted.since is not None and day < _day(wanted.since):
            continue
        if wanted.until is not None and day > _day(wanted.until):
            continue
        with path.open("rb") as lines:
            for line in lines:
                record = parse(line)
                if record is not None and wanted.takes(record):
                    yield record


def last(home: Path, count: int, wanted: Filter = ANY) -> Sequence[RequestRecord]:
    """The newest `count` records, oldest first."""
    return list(deque(read(home, wanted), maxlen=count))


def follow(home: Path, now: float) -> "Follower":
    """Reads what is written from now on."""
    return Follower(home / FOLDER, _day(now))


class Follower:
    """New records each time it is asked; goes on to the next day's file by itself."""

    def __init__(self, folder: Path, day: str) -> None:
        self._folder = folder
        self._places = {path: path.stat().st_size for path in _files(folder)}
        self._first = day

    def new(self) -> Iterator[RequestRecord]:
        """Whole lines that were added since the last look."""
        for path in sorted(_files(self._folder)):
            if _day_of(path) < self._first:
                continue
            with path.open("rb") as lines:
                lines.seek(self._places.get(path, 0))
                for line in lines:
                    if not line.endswith(b"\n"):
                        break
                    self._places[path] = self._places.get(path, 0) + len(line)
                    record = parse(line)
                    if record is not None:
                        yield record


def parse(line: bytes) -> RequestRecord | None:
    """A line's record; None for one that was cut short or is no record."""
    try:
        return _decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(RequestRecord).decode


def _day(time: float) -> str:
    return datetime.fromtimestamp(time, UTC).date().isoformat()


def _files(folder: Path) -> list[Path]:
    return list(folder.glob(f"{_PREFIX}????-??-??{_SUFFIX}"))


def _day_of(path: Path) -> str:
    return path.name.removeprefix(_PREFIX).removesuffix(_SUFFIX)


def _ends_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
