"""What was asked and answered, kept only where owner and subscriber both agreed to it.

The owner agrees in node.yaml (`monitoring: {content: true}`), the subscriber in each ask
(`allow_logging`). Without either nothing here is ever called, and prompts and answers reach no file
but the ledger, which keeps answers for replay. A call that no provider saw leaves nothing.

Files are `logs/content-YYYY-MM-DD.jsonl` (`day_files`), apart from the request log and with a
retention of their own that holds also after the owner has withdrawn his consent.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from ricochet_node.day_files import DayFiles, day_of, lines
from ricochet_node.request_log import ANY, Filter, RequestRecord
from ricochet_protocol.conversation import Tool, Turn
from ricochet_protocol.messages import Ask, CallPiece, Chunk

KEEP_DAYS: Final = 7
KEEP_BYTES: Final = 256 * 1024 * 1024
"""An ask has at most 4 MiB, so this is never fewer than sixty calls."""
_PREFIX: Final = "content"


class Called(msgspec.Struct, frozen=True):
    """A function that the model called, as far as the call was delivered."""

    name: str
    arguments: str


class ContentRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One call: `record` as in the request log, the prompt, and the answer as delivered."""

    record: RequestRecord
    turns: tuple[Turn, ...]
    tools: tuple[Tool, ...]
    text: str
    calls: tuple[Called, ...]


def content_of(
    record: RequestRecord, ask: Ask, pieces: Sequence[Chunk | CallPiece]
) -> ContentRecord:
    """The record of an ask and the pieces that its client got."""
    calls: list[Called] = []
    for piece in pieces:
        if not isinstance(piece, CallPiece):
            continue
        if piece.name:
            calls.append(Called(piece.name, piece.arguments))
        elif calls:
            calls[-1] = Called(calls[-1].name, calls[-1].arguments + piece.arguments)
    text = "".join(piece.text for piece in pieces if isinstance(piece, Chunk))
    return ContentRecord(record, ask.turns, ask.tools, text, tuple(calls))


class ContentLog:
    """Appends records under `home`; belongs to one process."""

    def __init__(self, home: Path, *, keep_days: int = KEEP_DAYS) -> None:
        self._files = DayFiles(home, _PREFIX, keep_days=keep_days, keep_bytes=KEEP_BYTES)
        self._pruned = ""

    @property
    def lost(self) -> int:
        """Records that could not be written since the start."""
        return self._files.lost

    def write(self, content: ContentRecord) -> None:
        """One line, in the file of the record's day; a full disk only raises `lost`."""
        self._files.write(content.record.time, _encode(content))

    def prune(self, now: float) -> None:
        """Once a day, delete what is older than its retention; also when nothing is written."""
        if (today := day_of(now)) != self._pruned:
            self._files.prune(now)
            self._pruned = today

    def close(self) -> None:
        """Release the file; may be called twice."""
        self._files.close()


def read(home: Path, wanted: Filter = ANY) -> Iterator[ContentRecord]:
    """Records in the order of their writing; a line that was cut short is skipped."""
    for line in lines(home, _PREFIX, wanted.since, wanted.until):
        try:
            content = _decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
        if wanted.takes(content.record):
            yield content


def last(home: Path, count: int, wanted: Filter = ANY) -> Sequence[ContentRecord]:
    """The newest `count` records, oldest first."""
    return list(deque(read(home, wanted), maxlen=count))


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(ContentRecord).decode
