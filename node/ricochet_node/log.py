"""The node's log: one JSON object a line, for people with `jq` and for machines.

Fields are names, numbers and ids. Prompts, answers, keys and passphrases have no way in: what is
logged is what a caller names here, never an object or an exception's text from outside.
"""

import json
import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

Field = str | int | float | bool | None


class EventLog:
    """Writes to `stream`; a full disk or a closed terminal never stops the node."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.listener: Callable[[str, Mapping[str, Field]], None] = _nobody
        """Hears each event, after it was written."""

    def event(self, name: str, **fields: Field) -> None:
        """One line: time, event, fields."""
        line = json.dumps({"time": round(time.time(), 3), "event": name, **fields})
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            pass  # there is nowhere left to say that the log is gone
        self.listener(name, fields)


def _nobody(_: str, __: Mapping[str, Field]) -> None:
    """Nobody listens."""


@contextmanager
def open_log(path: Path | None) -> Iterator[EventLog]:
    """A log that appends to `path`, or to stderr; our libraries' warnings go there too."""
    if path is None:
        with _with_libraries(EventLog(sys.stderr)) as log:
            yield log
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600, exist_ok=True)
    with path.open("a", encoding="utf-8") as stream, _with_libraries(EventLog(stream)) as log:
        yield log


class _Forward(logging.Handler):
    """Our own packages log by type and place only; their lines become events."""

    def __init__(self, log: EventLog) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        self._log.event("warning", source=record.name, message=record.getMessage())


@contextmanager
def _with_libraries(log: EventLog) -> Iterator[EventLog]:
    handler = _Forward(log)
    loggers = [logging.getLogger(name) for name in ("ricochet_network", "ricochet_settlement")]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield log
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
