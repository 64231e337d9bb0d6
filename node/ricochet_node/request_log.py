"""Every request a node was asked to serve, one JSON object a line, one file a UTC day.

A record holds names, numbers and ids: who asked for which model, which key served it, what it used,
cost and brought, how long it took and how it ended. Prompts and answers have no field here; where
both sides agreed to keep them, they are in files of their own (`content_log`).

Files are `logs/requests-YYYY-MM-DD.jsonl` (`day_files`). A line that a crash or a full disk cut
short is skipped when read.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Literal

import msgspec

from ricochet_node.day_files import FOLDER, DayFiles, day_of, day_of_file, files, lines
from ricochet_protocol.ids import Address, ModelId, Period, RequestId
from ricochet_protocol.money import Units

KEEP_DAYS: Final = 90
KEEP_BYTES: Final = 256 * 1024 * 1024
"""About a million requests."""
OK: Final = "ok"
_PREFIX: Final = "requests"

Door = Literal["peer", "local"]


class RequestRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One request. `time` is Unix seconds of its arrival; `outcome` is "ok" or a fault's code.

    `income` is what the subscriber owes, before commission; `upstream_cost` what the provider asks
    of the owner by its own report, None where its price is not known; `upstream_risk` what it may
    ask beyond that for a call that ended without a report; all in units. `subscriber` is "" at the
    local door, `key` "" when no provider was asked. `first_token_ms` is None without a token.
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
    upstream_risk: Units = Units(0)


class RequestLog:
    """Appends records under `home`; belongs to one process."""

    def __init__(
        self, home: Path, *, keep_days: int = KEEP_DAYS, keep_bytes: int = KEEP_BYTES
    ) -> None:
        self._files = DayFiles(home, _PREFIX, keep_days=keep_days, keep_bytes=keep_bytes)

    @property
    def lost(self) -> int:
        """Records that could not be written since the start."""
        return self._files.lost

    def write(self, record: RequestRecord) -> None:
        """One line, in the file of the record's day; a full disk only raises `lost`."""
        self._files.write(record.time, _encode(record))

    def close(self) -> None:
        """Release the file; may be called twice."""
        self._files.close()


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
    for line in lines(home, _PREFIX, wanted.since, wanted.until):
        record = parse(line)
        if record is not None and wanted.takes(record):
            yield record


def last(home: Path, count: int, wanted: Filter = ANY) -> Sequence[RequestRecord]:
    """The newest `count` records, oldest first."""
    return list(deque(read(home, wanted), maxlen=count))


def follow(home: Path, now: float) -> "Follower":
    """Reads what is written from now on."""
    return Follower(home / FOLDER, day_of(now))


class Follower:
    """New records each time it is asked; goes on to the next day's file by itself."""

    def __init__(self, folder: Path, day: str) -> None:
        self._folder = folder
        self._places = {path: path.stat().st_size for path in files(folder, _PREFIX)}
        self._first = day

    def new(self) -> Iterator[RequestRecord]:
        """Whole lines that were added since the last look."""
        for path in sorted(files(self._folder, _PREFIX)):
            if day_of_file(path) < self._first:
                continue
            with path.open("rb") as stream:
                stream.seek(self._places.get(path, 0))
                for line in stream:
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
