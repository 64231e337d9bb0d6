"""A run as it goes by, on stderr: a line for each answer, and a bar at the bottom of a terminal.

Without a terminal only the lines are printed, so that a log stays readable. Peers appear by the
end of their ids, which is where ids differ.
"""

import os
import sys
import time
from typing import TextIO

from ricochet_orchestrator.progress import (
    Event,
    FirstToken,
    NoticeUndelivered,
    PaymentDelayed,
    Progress,
    RunFinished,
    RunStarted,
    StepFailed,
    StepFinished,
    StepRetried,
    printable,
)
from ricochet_protocol.ids import PeerId
from ricochet_protocol.money import dollars

_BAR = 24
_CLEAR = "\r\x1b[2K"


class ProgressView:
    """Shows each event once; call it from one thread. `at` is the time of an earlier event."""

    def __init__(self, out: TextIO = sys.stderr) -> None:
        self._out = out
        self._bar = out.isatty() and os.environ.get("TERM") != "dumb"
        self._progress = Progress()
        self._start = self._now = time.time()
        self._waits: dict[str, float] = {}

    def __call__(self, event: Event, at: float | None = None) -> None:
        self._now = time.time() if at is None else at
        if isinstance(event, RunStarted):
            self._start = self._now
        self._progress = self._progress.after(event)
        line = self._line(event)
        if self._bar:
            self._out.write(_CLEAR)
        if line:
            self._out.write(line + "\n")
        if self._bar and not isinstance(event, RunFinished):
            self._out.write(self._bar_text())
        self._out.flush()

    def _line(self, event: Event) -> str:
        match event:
            case RunStarted():
                verb = "resuming" if event.resumed else "running"
                return (
                    f"{verb} {event.chain} over {printable(event.document)} as run {event.run}: "
                    f"{event.segments} segments, {event.steps} steps, {event.done} done already"
                )
            case FirstToken():
                self._waits[event.step] = event.seconds
                return ""
            case StepFinished(cached=False):
                return self._finished(event)
            case StepRetried():
                why = event.reason or event.code
                return f"        {event.name:<12} {short(event.peer)}  again: {why}"
            case StepFailed():
                return f"        {event.name:<12} given up: {event.reason or event.code}"
            case PaymentDelayed():
                return f"        voucher for {short(event.peer)} goes out later: {event.reason}"
            case NoticeUndelivered():
                return f"        notice by {event.channel} was not delivered: {event.reason}"
            case RunFinished():
                return f"run {event.run} {event.status.value} after {event.seconds:.1f} s"
            case _:
                return ""

    def _finished(self, event: StepFinished) -> str:
        progress = self._progress
        wait = self._waits.pop(event.step, event.seconds)
        return (
            f"[{progress.done:>3}/{progress.total}] {event.name:<12} {short(event.peer)}"
            f"  {event.tokens_in:>6,} → {event.tokens_out:>4,} tokens  {dollars(event.cost):<10}"
            f"  first token {wait:.2f} s, all {event.seconds:.2f} s{self._left()}"
        )

    def _left(self) -> str:
        left = self._progress.seconds_left(self._now - self._start)
        return "" if left is None else f"  ETA {left:.0f} s"

    def _bar_text(self) -> str:
        progress = self._progress
        full = _BAR * progress.done // max(progress.total, 1)
        share = 100 * progress.done // max(progress.total, 1)
        return (
            f"[{'▓' * full}{'-' * (_BAR - full)}] {share}%  {len(progress.running)} running"
            f"  {progress.tokens_in + progress.tokens_out:,} tokens  {dollars(progress.cost)}"
            f"{self._left()}"
        )


def short(peer: PeerId) -> str:
    """The last characters of a peer id, for lines that people read."""
    return f"…{peer[-6:]}"
