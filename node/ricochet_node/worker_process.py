"""Starts the litellm worker and stops it: the parent's side of `litellm_worker.py`."""

import asyncio
import contextlib
from typing import Final

from ricochet_node.isolated import start_isolated
from ricochet_node.worker_frames import FromWorker, ToWorker, encode, read_untrusted

_VARIABLES: Final = {
    # Tables that litellm would fetch from the internet at import and at the first call.
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
    # Else it reads a `.env` of the folder it happens to run in.
    "LITELLM_MODE": "PRODUCTION",
    "LITELLM_LOG": "ERROR",
}
_STOP_SECONDS: Final = 2
"""It has nothing to save."""


class WorkerProcess:
    """Implements `worker_upstream.Link` with a process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None and process.stdout is not None
        self._process = process
        self._input = process.stdin
        self._output = process.stdout

    @classmethod
    async def start(cls) -> "WorkerProcess":
        """The process; it takes frames at once and serves them when litellm is imported."""
        return cls(await start_isolated("ricochet_node.litellm_worker", _VARIABLES))

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, frame: ToWorker) -> None:
        """Queue a frame; nothing happens when the process is gone, which `receive` tells."""
        if not self._input.is_closing():
            self._input.write(encode(frame))

    async def receive(self) -> FromWorker | None:
        """The next frame, None at the end; BadFrame."""
        return await read_untrusted(self._output)

    async def stop(self) -> None:
        """End it, cutting calls still open; may be called twice."""
        self._input.close()
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await self._process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
