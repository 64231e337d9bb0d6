"""A run as it goes by, on stderr: a line for each answer, and a bar at the bottom of a terminal.

Without a terminal only the lines are printed, so that a log stays readable; with --quiet, nothing
is. Peers appear by the
end of their ids, which is where ids differ.
"""

import os
import sys
import time
from typing import TextIO

from ricochet_cli.console import hushed
from ricochet_cli.language import t, tn, told
from ricochet_orchestrator.progress import (
    Event,
    FirstToken,
    ModelReplaced,
    NoticeUndelivered,
    OffersAwaited,
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
        if hushed():
            return
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
                return self._started(event)
            case OffersAwaited(model=None):
                return t(
                    "waiting for a node that offers a model, {seconds:.0f} s at most",
                    seconds=event.seconds,
                )
            case OffersAwaited(model=str(model)):
                return t(
                    "waiting for a node that offers {model}, {seconds:.0f} s at most",
                    model=printable(model),
                    seconds=event.seconds,
                )
            case ModelReplaced():
                return t(
                    "nobody offers {model}: {by} answers {steps} (role fallback)",
                    model=printable(event.model),
                    by=printable(event.by),
                    steps=", ".join(event.steps),
                )
            case FirstToken():
                self._waits[event.step] = event.seconds
                return ""
            case StepFinished(cached=False):
                return self._finished(event)
            case StepRetried():
                why = event.reason or event.code
                return t(
                    "        {name:<12} {peer}  again: {why}",
                    name=event.name,
                    peer=short(event.peer),
                    why=why,
                )
            case StepFailed():
                return t(
                    "        {name:<12} given up: {why}",
                    name=event.name,
                    why=event.reason or event.code,
                )
            case PaymentDelayed():
                return t(
                    "        voucher for {peer} goes out later: {reason}",
                    peer=short(event.peer),
                    reason=event.reason,
                )
            case NoticeUndelivered():
                return t(
                    "        notice by {channel} was not delivered: {reason}",
                    channel=event.channel,
                    reason=event.reason,
                )
            case RunFinished():
                return t(
                    "run {run} {status} after {seconds:.1f} s",
                    run=event.run,
                    status=told(event.status.value),
                    seconds=event.seconds,
                )
            case _:
                return ""

    def _started(self, event: RunStarted) -> str:
        names = {
            "chain": event.chain,
            "document": printable(event.document),
            "run": event.run,
        }
        begin = (
            t("resuming {chain} over {document} as run {run}", **names)
            if event.resumed
            else t("running {chain} over {document} as run {run}", **names)
        )
        segments = tn("{count} segment", "{count} segments", event.segments)
        steps = tn("{count} step", "{count} steps", event.steps)
        return t(
            "{begin}: {segments}, {steps}, {done} done already",
            begin=begin,
            segments=segments,
            steps=steps,
            done=event.done,
        )

    def _finished(self, event: StepFinished) -> str:
        progress = self._progress
        wait = self._waits.pop(event.step, event.seconds)
        return t(
            "[{done:>3}/{total}] {name:<12} {peer}  {tokens_in:>6,} → "
            "{tokens_out:>4,} tokens  {cost:<10}  first token {wait:.2f} s, all "
            "{seconds:.2f} s{left}",
            done=progress.done,
            total=progress.total,
            name=event.name,
            peer=short(event.peer),
            tokens_in=event.tokens_in,
            tokens_out=event.tokens_out,
            cost=dollars(event.cost),
            wait=wait,
            seconds=event.seconds,
            left=self._left(),
        )

    def _left(self) -> str:
        left = self._progress.seconds_left(self._now - self._start)
        return "" if left is None else t("  ETA {left:.0f} s", left=left)

    def _bar_text(self) -> str:
        progress = self._progress
        full = _BAR * progress.done // max(progress.total, 1)
        share = 100 * progress.done // max(progress.total, 1)
        return t(
            "[{bar}] {share}%  {count} running  {tokens:,} tokens  {cost}{left}",
            bar="▓" * full + "-" * (_BAR - full),
            share=share,
            count=len(progress.running),
            tokens=progress.tokens_in + progress.tokens_out,
            cost=dollars(progress.cost),
            left=self._left(),
        )


def short(peer: PeerId) -> str:
    """The last characters of a peer id, for lines that people read."""
    return f"…{peer[-6:]}"
