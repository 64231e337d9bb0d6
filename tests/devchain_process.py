"""A dev chain in its own process, for tests that need the real contract."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PROGRAM = """
import sys
from pathlib import Path
from ricochet_settlement.devchain.http import serve
serve(Path(sys.argv[1]), int(sys.argv[2]), lambda url: print(url, flush=True))
"""


class DevChainProcess:
    """Started by its constructor; `url` answers when it returns."""

    def __init__(self, state: Path, port: int = 0) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, str(state), str(port)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        if not self.url:
            self.end(signal.SIGKILL)
            raise AssertionError("the dev chain did not start; its error is above")

    def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Signal it and wait for its end."""
        self.process.send_signal(how)
        try:
            self.process.wait(timeout=20)
        finally:
            self.process.kill()
            if self.process.stdout is not None:
                self.process.stdout.close()


@contextmanager
def running_devchain(state: Path) -> Iterator[str]:
    """The URL of a dev chain that runs inside the context."""
    chain = DevChainProcess(state)
    try:
        yield chain.url
    finally:
        chain.end()
