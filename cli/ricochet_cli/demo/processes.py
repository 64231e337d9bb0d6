"""Child processes of the demo: started with a log, awaited until ready, stopped to the last one.

A child says that it is ready by printing one line on stdout; both its streams go to files, so that
it can outlive the demo (`--keep`). Children run in sessions of their own: Ctrl-C reaches only the
demo, which then stops them in order. What runs is recorded at every change, with the kernel's start
time, so that `stop_recorded` cleans up after a demo that was kept or killed, and never ends a
stranger that was given the same pid later.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ricochet_cli.language import t
from ricochet_protocol.errors import LocalFault, UsageError

READY_SECONDS: Final = 60.0
STOP_SECONDS: Final = 15.0
_POLL_SECONDS: Final = 0.03
_RECORD: Final = "processes.json"
_TAIL_LINES: Final = 6


@dataclass
class Child:
    """One running process; `out` and `log` are the files of its stdout and stderr."""

    name: str
    process: subprocess.Popen[bytes]
    out: Path
    log: Path

    async def ready(self, seconds: float = READY_SECONDS) -> str:
        """Its first line on stdout; LocalFault with the end of its log when it ends or is late."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            line, end, _ = self.out.read_text("utf-8", errors="replace").partition("\n")
            if end:
                return line
            if self.process.poll() is not None:
                raise self._failed(
                    t("ended with code {returncode}", returncode=self.process.returncode)
                )
            await asyncio.sleep(_POLL_SECONDS)
        raise self._failed(t("was not ready after {seconds:.0f} s", seconds=seconds))

    def _failed(self, what: str) -> LocalFault:
        lines = self.log.read_text("utf-8", errors="replace").strip().splitlines()
        said = "; ".join(lines[-_TAIL_LINES:]) or t("it said nothing")
        return LocalFault("process_failed", f"{self.name} {what}: {said}", f"its log: {self.log}")

    async def stopped(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Ask it to stop, wait, and kill it when it does not."""
        deadline = time.monotonic() + STOP_SECONDS
        if self.process.poll() is None:
            self.process.send_signal(number)
        while self.process.poll() is None:
            if time.monotonic() > deadline:
                self.process.kill()
            await asyncio.sleep(_POLL_SECONDS)


@dataclass
class Children:
    """All children of one demo, with files under `folder`."""

    folder: Path
    running: list[Child] = field(default_factory=list)

    def start(self, name: str, arguments: Sequence[str], environment: Mapping[str, str]) -> Child:
        """Start `ricochet ARGUMENTS…`."""
        logs = self.folder / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        out, log = logs / f"{name}.out", logs / f"{name}.log"
        with out.open("wb") as out_file, log.open("ab") as log_file:
            process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [sys.executable, "-m", "ricochet_cli", *arguments],
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=out_file,
                stderr=log_file,
                start_new_session=True,
            )
        child = Child(name, process, out, log)
        self.running.append(child)
        self._record()
        return child

    def kill(self, name: str) -> None:
        """SIGKILL, as a power cut would: nothing of its own runs any more."""
        child = next(child for child in self.running if child.name == name)
        child.process.kill()
        child.process.wait()
        self.running.remove(child)
        self._record()

    async def stop(self) -> None:
        """Stop all, newest first, so that nodes can still reach the chain while they stop."""
        nodes = [child for child in self.running if child.name.startswith("node-")]
        await asyncio.gather(*(child.stopped() for child in nodes))
        await asyncio.gather(*(child.stopped() for child in self.running))
        self.running.clear()
        (self.folder / _RECORD).unlink(missing_ok=True)

    def _record(self) -> None:
        """Write down what runs, for `stop_recorded`: also when the demo itself is killed."""
        entries = [
            {"name": child.name, "pid": child.process.pid, "started": _started(child.process.pid)}
            for child in self.running
        ]
        (self.folder / _RECORD).write_text(json.dumps(entries), "utf-8")


def stop_recorded(folder: Path) -> list[str]:
    """Stop what `Children.record` wrote down and still runs; the names that were stopped."""
    try:
        entries = json.loads((folder / _RECORD).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(
            "no_network",
            f"{folder} holds no network that was kept running",
            "give the folder that `ricochet demo --keep` printed",
        ) from error
    alive = [entry for entry in entries if _started(entry["pid"]) == entry["started"]]
    alive.sort(key=lambda entry: not entry["name"].startswith("node-"))
    for entry in alive:
        os.kill(entry["pid"], signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while _started(entry["pid"]) == entry["started"]:
            if time.monotonic() > deadline:
                os.kill(entry["pid"], signal.SIGKILL)
            time.sleep(_POLL_SECONDS)
    (folder / _RECORD).unlink()
    return [entry["name"] for entry in alive]


def _started(pid: int) -> int | None:
    """The process's start in clock ticks since boot, None when it does not run (or is a zombie)."""
    import psutil

    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return int(process.create_time() * 100)
    except psutil.NoSuchProcess:
        return None
