"""TCP as libp2p reads it, a few bytes at a time, without asking the system for each of them.

Noise reads two bytes of length, then a message; each would be a system call and a pass through the
scheduler. Here a read takes what has arrived. Reads come from one task, and so do writes: yamux
writes one frame at a time.
"""

from typing import Final

import trio
from libp2p.io.abc import ReadWriteCloser
from libp2p.io.exceptions import ConnectionClosedError

READ: Final = 256 * 1024


class BufferedTcp(ReadWriteCloser):
    """A connected socket."""

    def __init__(self, tcp: trio.SocketStream) -> None:
        self._tcp = tcp
        self._arrived = b""
        self._at = 0

    async def read(self, n: int | None = None) -> bytes:
        """Up to `n` bytes, none at the end; waits only when nothing has arrived."""
        if self._at == len(self._arrived):
            try:
                self._arrived, self._at = await self._tcp.receive_some(READ), 0
            except trio.BrokenResourceError as error:
                raise _closed() from error
            except trio.ClosedResourceError:
                return b""
        start = self._at
        self._at = len(self._arrived) if n is None else min(start + n, len(self._arrived))
        return self._arrived[start : self._at]

    async def write(self, data: bytes) -> None:
        """Write everything."""
        try:
            await self._tcp.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise _closed() from error

    async def close(self) -> None:
        """Close the socket."""
        await self._tcp.aclose()

    def get_remote_address(self) -> tuple[str, int] | None:
        """The other side's, or None when it has gone."""
        try:
            host, port, *_ = self._tcp.socket.getpeername()
        except OSError:
            return None
        return str(host), int(port)


def _closed() -> ConnectionClosedError:
    return ConnectionClosedError("the connection is closed", transport="tcp")
