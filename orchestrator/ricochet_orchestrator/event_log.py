"""The event log of a run: what happened, one JSON object a line, for watching and for analysis.

Only the process that owns the run writes. Lines have a number, which a reader names to go on behind
it, and a time. They hold ids, counts, amounts and error codes; what a peer or a document says is
left out. The truth about a run is in the store, so lines are not forced to the disk, and one that a
crash cut off is skipped.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from ricochet_orchestrator.progress import (
    Event,
    PaymentDelayed,
    StepFailed,
    StepRefused,
    StepRetried,
)

LONGEST: Final = 64 * 1024
"""Bytes of a line; one that is longer was not written here."""


class Logged(msgspec.Struct, frozen=True):
    """One line. `at` is in Unix seconds."""

    seq: int
    at: float
    event: Event


_decode = msgspec.json.Decoder(Logged).decode


class EventLog:
    """Appends events to a file; call it from one thread, and close it."""

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._clock = clock
        self._seq = max((one.seq for one in read_events(path)), default=0)
        path.touch(mode=0o600)
        self._file = path.open("ab", buffering=0)
        if path.stat().st_size and not path.read_bytes().endswith(b"\n"):
            self._file.write(b"\n")

    def __call__(self, event: Event) -> None:
        """Write the event down, without words that are not ours."""
        self._seq += 1
        line = Logged(seq=self._seq, at=round(self._clock(), 3), event=without_words(event))
        self._file.write(msgspec.json.encode(line) + b"\n")

    def close(self) -> None:
        """Release the file."""
        self._file.close()


def without_words(event: Event) -> Event:
    """The event without what peers said; error codes stay."""
    if isinstance(event, StepRetried | StepRefused | StepFailed | PaymentDelayed):
        return msgspec.structs.replace(event, reason="")
    return event


def read_events(path: Path, after: int = 0) -> Iterator[Logged]:
    """The events with a number above `after`; none when there is no file. Damaged lines are
    skipped, and so is a last one that is not whole yet."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        for line in file:
            logged = _parsed(line)
            if logged is not None and logged.seq > after:
                yield logged


def _parsed(line: bytes) -> Logged | None:
    if not line.endswith(b"\n") or len(line) > LONGEST:
        return None
    try:
        return _decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


class Follower:
    """Reads a log that is being written, each event once."""

    def __init__(self, path: Path, after: int = 0) -> None:
        self._path = path
        self._after = after
        self._offset = 0

    def new(self) -> list[Logged]:
        """The events that came since the last call; `after` is passed over."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        found = (_parsed(line) for line in whole.splitlines(keepends=True))
        return [one for one in found if one is not None and one.seq > self._after]
