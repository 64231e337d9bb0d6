"""A relay of bytes on uvloop: `python relay.py PORT` passes on what either side sends.

It reads nothing, checks nothing and counts nothing, so what it costs is what the sockets and the
loop cost: below that no gateway of this kind can come. Its port is the one line on stdout.
"""

import asyncio
import sys
from typing import cast

import uvloop


class _Side(asyncio.Protocol):
    """One of two connections; what it gets goes to the other."""

    def __init__(self, other: asyncio.Transport | None) -> None:
        self._other = other
        self._early = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def join(self, other: asyncio.Transport) -> None:
        """The other side stands now."""
        self._other = other
        if self._early:
            other.write(self._early)

    def data_received(self, data: bytes) -> None:
        if self._other is None:
            self._early += data
        else:
            self._other.write(data)

    def connection_lost(self, error: Exception | None) -> None:
        if self._other is not None:
            self._other.close()


class _Client(_Side):
    def __init__(self, port: int) -> None:
        self._port = port
        super().__init__(None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._task = asyncio.get_running_loop().create_task(self._connect())

    async def _connect(self) -> None:
        provider, _ = await asyncio.get_running_loop().create_connection(
            lambda: _Side(self.transport), "127.0.0.1", self._port
        )
        self.join(provider)


async def main() -> None:
    """Relay until ended."""
    port = int(sys.argv[1])
    server = await asyncio.get_running_loop().create_server(lambda: _Client(port), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
