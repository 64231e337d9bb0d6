"""Processes of a benchmark: pinned to a core, measured through /proc, and ended with the run."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import psutil

SIDE: Final = 1
"""The core of load, upstream and chain, where there are two or more; the gateway has the first."""
_CORES: Final = sorted(os.sched_getaffinity(0))
"""What this program may use, read before it is pinned itself: a child's core is none of its own."""
_END_SECONDS: Final = 15


@contextlib.contextmanager
def on_core(core: int) -> Iterator[None]:
    """What is started inside runs on that core only, and so do its children and threads."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {_CORES[min(core, len(_CORES) - 1)]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextlib.contextmanager
def process(
    arguments: Sequence[str],
    log: Path,
    core: int,
    environment: Mapping[str, str] | None = None,
    *,
    piped: bool = True,
) -> Iterator[subprocess.Popen[str]]:
    """A process with its stderr in `log` and its stdout piped, or there too; it is ended."""
    with log.open("a", encoding="utf-8") as stderr, on_core(core):
        child = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if piped else stderr,
            stderr=stderr,
            env={**os.environ, **(environment or {})},
            text=True,
            start_new_session=True,
        )
    try:
        yield child
    finally:
        end(child)


def end(child: subprocess.Popen[str]) -> None:
    """Ask it to stop, wait, and kill it with all that it has started when it does not."""
    family = tree(child.pid)
    if child.poll() is None:
        child.send_signal(signal.SIGTERM)
    _, alive = psutil.wait_procs(family, timeout=_END_SECONDS)
    for one in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    child.wait()
    if child.stdout is not None:
        child.stdout.close()


def tree(pid: int) -> list[psutil.Process]:
    """A process and its descendants."""
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def cpu_seconds(pid: int) -> dict[str, float]:
    """CPU time of each process of the tree so far, in seconds, by its pid."""
    return {str(p.pid): sum(p.cpu_times()[:2]) for p in tree(pid)}


def rss_bytes(pid: int) -> int:
    """Resident memory of the tree; pages that two processes share count twice."""
    return sum(p.memory_info().rss for p in tree(pid))
