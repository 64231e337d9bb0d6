"""A secured connection between two ends of one test, which takes bytes in parts or not at all."""

from collections.abc import Iterator
from typing import Any, Final

import trio

PART: Final = 5_000
"""Bytes of a write that are taken at once; one that is cut off has written some of its parts."""


class End:
    """What yamux needs of `ISecureConn`; `other` is the far end."""

    other: "End"

    def __init__(self, initiator: bool) -> None:
        self.is_initiator = initiator
        self.stalled = False
        self.written = 0
        self.taken = 0
        self._send, self._arriving = trio.open_memory_channel[bytes](float("inf"))

    async def read(self, n: int | None = None) -> bytes:
        assert n is None
        try:
            data = await self._arriving.receive()
        except trio.EndOfChannel:
            return b""
        self.taken += len(data)
        return data

    async def write(self, data: bytes) -> None:
        for at in range(0, len(data), PART):
            while self.stalled:  # noqa: ASYNC110 - the virtual clock makes it one step
                await trio.sleep(1)
            await trio.lowlevel.checkpoint()
            part = data[at : at + PART]
            self.other.feed(part)
            self.written += len(part)

    def feed(self, data: bytes) -> None:
        """Let bytes arrive here."""
        self._send.send_nowait(data)

    def hang_up(self) -> None:
        """Let the connection end here."""
        self._send.close()

    def said(self) -> bytes:
        """What has arrived here and was not read, taken away."""
        return b"".join(self._drain())

    def _drain(self) -> Iterator[bytes]:
        try:
            while True:
                yield self._arriving.receive_nowait()
        except trio.WouldBlock:
            return


def secured_pair() -> tuple[Any, Any]:
    """Two ends: the dialling one first."""
    here, there = End(True), End(False)
    here.other, there.other = there, here
    return here, there
