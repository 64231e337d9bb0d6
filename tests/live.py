"""Real processes for the command-line tests: a provider double, and a network left running.

Everything a test starts lives under one folder of its own, which makes it findable: a process that
names that folder in its arguments or environment belongs to the test.
"""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[1]
COMMAND_SECONDS = 110
KEPT_DELAY = 0.1
"""Seconds that a call takes the provider of a network that is kept."""
KEYS = (
    "sk-alice-b1946ac92492d2347c6235b4d2611184",
    "sk-bob-591785b794601e212b260e25925636fd",
    "sk-carol-6f1ed002ab5595859014ebf0951522d9",
)


def environment(home: Path | None = None, **extra: str) -> dict[str, str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("RICOCHET_", "PYTEST_"))}
    homes = {} if home is None else {"RICOCHET_HOME": str(home)}
    return clean | {"NO_COLOR": "1"} | homes | extra


def start(*arguments: str, home: Path | None = None, **extra: str) -> subprocess.Popen[str]:
    """A `ricochet` process with piped streams; the test stops it."""
    return subprocess.Popen(
        [sys.executable, "-m", "ricochet_cli", *arguments],
        env=environment(home, **extra),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ricochet(
    *arguments: str, home: Path | None = None, stdin: str = "", **extra: str
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "ricochet_cli", *arguments],
        env=environment(home, **extra),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
    )


def until(condition: Callable[[], bool], what: str, seconds: float = 40.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.02)


def processes_of(folder: Path) -> list[str]:
    """Command lines of the processes that name `folder`."""
    found = []
    for process in psutil.process_iter():
        try:
            words = [*process.cmdline(), *process.environ().values()]
        except (psutil.AccessDenied, psutil.NoSuchProcess):
            continue
        if process.pid != os.getpid() and any(str(folder) in word for word in words):
            found.append(" ".join(process.cmdline()))
    return found


@dataclass(frozen=True)
class Provider:
    """The provider double of `tests/doubles/upstream.py`, in a process of its own."""

    url: str
    keys_file: Path

    def calls(self) -> int:
        with urllib.request.urlopen(self._control("/_calls"), timeout=10) as reply:
            return int(json.load(reply)["total"])

    def fault(self, fault: Mapping[str, Any]) -> None:
        self._post("/_fault", fault)

    @contextmanager
    def slow(self, seconds: float, usual: float = KEPT_DELAY) -> Iterator[None]:
        """Each call takes so long inside the context."""
        self._post("/_delay", {"seconds": seconds})
        try:
            yield
        finally:
            self._post("/_delay", {"seconds": usual})

    def _post(self, path: str, body: Mapping[str, Any]) -> None:
        request = urllib.request.Request(
            self._control(path),
            data=json.dumps(body).encode(),
            headers={"content-type": "application/json"},
        )
        urllib.request.urlopen(request, timeout=10).close()

    def _control(self, path: str) -> str:
        return self.url.removesuffix("/v1") + path


def run_provider(folder: Path, delay_ms: int) -> Iterator[Provider]:
    keys_file = folder / "keys"
    keys_file.write_text("\n".join(KEYS))
    double = ROOT / "tests" / "doubles" / "upstream.py"
    process = subprocess.Popen(
        [sys.executable, str(double), "--keys-file", str(keys_file), "--delay-ms", str(delay_ms)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield Provider(process.stdout.readline().strip(), keys_file)
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)


@dataclass(frozen=True)
class Kept:
    """A network that `ricochet demo --keep` left running."""

    folder: Path
    report: dict[str, Any]
    provider: Provider
    demo_calls: int
    printed: str

    @property
    def network_file(self) -> Path:
        return self.folder / "subscriber" / "network.json"

    def passphrase_file(self, person: str) -> str:
        return str(self.folder / person / "passphrase")


def failed(done: subprocess.CompletedProcess[str], code: int, error: str) -> str:
    """The hint of a command that must end with this exit code and `--json` error code."""
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    assert done.stdout == ""
    document = json.loads(done.stderr.strip().splitlines()[-1])["error"]
    assert document["code"] == error, document
    assert document["message"]
    hint: str = document["hint"]
    return hint
