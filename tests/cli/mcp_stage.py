"""The MCP server for tests: in this process for most, as a command for what only that shows."""

import asyncio
import os
import sys
import tempfile
from collections.abc import Awaitable, Callable
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar

from mcp import Client, MCPError, StdioServerParameters

from live import environment
from ricochet_cli.mcp_server.server import Server, make_server
from ricochet_cli.mcp_server.toolbox import Tier
from ricochet_settlement import wallet

T = TypeVar("T")
Mode = Literal["auto", "legacy"]
MODES: tuple[Mode, ...] = ("auto", "legacy")
"""The protocol of 2026-07-28, and the one before it."""
SECONDS = 150


def talk(
    server: Server | StdioServerParameters | Any,
    scene: Callable[[Client], Awaitable[T]],
    mode: Mode = "auto",
    **settings: Any,
) -> T:
    """Play a scene with a client of the SDK; an MCPError of it comes out as itself."""

    async def all_of_it() -> T | MCPError:
        async with asyncio.timeout(SECONDS), Client(server, mode=mode, **settings) as client:
            try:
                return await scene(client)
            except MCPError as error:
                return error

    try:
        result = asyncio.run(all_of_it())
    finally:
        if isinstance(server, Server):
            server.runs.close()
    if isinstance(result, MCPError):
        raise result
    return result


def called(home: Path, tool: str, /, **arguments: Any) -> Any:
    """What one tool returns, as (structured content, text); errors as (error, "")."""

    async def scene(client: Client) -> Any:
        return result_of(await client.call_tool(tool, arguments))

    return talk(server_of(home), scene)


@cache
def server_of(home: Path, tier: Tier = Tier.ALL) -> Server:
    """A server keeps nothing between calls, so one will do for a test."""
    return make_server(home, tier)


def result_of(result: Any) -> Any:
    text = result.content[0].text
    if result.is_error:
        import json

        assert result.structured_content is None, "clients hold it against the schema"
        error = json.loads(text)["error"]
        assert set(error) == {"code", "message", "hint"} and error["message"] and error["hint"]
        return error, ""
    return result.structured_content, text


def command(home: Path, project: Path, *arguments: str, **extra: str) -> StdioServerParameters:
    """`ricochet mcp` as an editor starts it."""
    return StdioServerParameters(
        command=sys.executable,
        args=["-m", "ricochet_cli", "mcp", "--project", str(project), *arguments],
        env=environment(home, **extra),
        cwd=os.sep,
    )


def joined(home: Path) -> Path:
    """A home that has joined a network which nobody answers for."""
    home.mkdir(parents=True, exist_ok=True)
    (home / "network.json").write_text(
        '{"rpc": "http://127.0.0.1:1", "chain_id": 1, "contract": "0x' + "11" * 20 + '",'
        ' "token": "0x' + "22" * 20 + '"}'
    )
    (home / "wallet.json").write_bytes(_wallet())
    (home / "wallet.json").chmod(0o600)
    return home


@cache
def _wallet() -> bytes:
    """Made once: its passphrase is stretched for a second."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "wallet.json"
        wallet.create(path, "correct horse battery staple")
        return path.read_bytes()
