"""The other process of a measurement: it serves, and is told what to do by lines of JSON.

Each line on its stdin is `[command, argument…]`, each answer one line on its stdout. It ends with
its stdin, so it cannot outlive the program that started it.
"""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Final

LONGEST: Final = 600.0
"""Seconds for one answer."""
Commands = Mapping[str, Callable[..., Awaitable[Any]]]


class Other:
    """The running process, as its starter sees it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None and process.stdout is not None
        self._process = process
        self._stdin, self._stdout = process.stdin, process.stdout

    async def ask(self, command: str, *arguments: Any) -> Any:
        """Have it do something; its answer."""
        self._stdin.write(json.dumps([command, *arguments]).encode() + b"\n")
        async with asyncio.timeout(LONGEST):
            line = await self._stdout.readline()
        if not line:
            raise SystemExit(f"the other process ended while it did {command!r}")
        return json.loads(line)

    async def end(self) -> None:
        """Close its stdin and wait; kill it when it does not end."""
        self._stdin.close()
        try:
            async with asyncio.timeout(10):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


@contextlib.asynccontextmanager
async def other(module: str, *arguments: str) -> AsyncIterator[Other]:
    """A program of this package in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", f"benchmarks.network.{module}", *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    running = Other(process)
    try:
        yield running
    finally:
        await running.end()


async def obey(commands: Commands) -> None:
    """Carry out what stdin says until it ends."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    while line := await reader.readline():
        command, *arguments = json.loads(line)
        print(json.dumps(await commands[command](*arguments)), flush=True)
