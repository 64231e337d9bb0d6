"""Checks what editors are told of the server: starts it as they would, and lists its tools.

Every editor's settings are looked at where they are, of this project and of the user. What is in
them is other people's: only the entry of the server's name is started.
"""

import asyncio
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client

from ricochet_cli.mcp_server.editors import Editor, scopes
from ricochet_cli.mcp_server.entries import Entry, Launch, entries, installation
from ricochet_cli.mcp_server.toolbox import TOOLS
from ricochet_protocol.findings import Finding

SECONDS: Final = 30.0
SLOW: Final = 5.0
"""Seconds from which a start is worth a word: some editors wait ten."""
WORDS: Final = 300
"""Characters of what a server said on stderr that are shown."""


async def examine(
    wanted: Sequence[Editor], project: Path, name: str, seconds: float = SECONDS
) -> tuple[Finding, ...]:
    """A finding for each entry of that name, and for each file that cannot be read; for an editor
    that was asked for, also that it has none."""
    found: list[Finding] = []
    for editor in wanted or tuple(Editor):
        here = [
            one if isinstance(one, Finding) else await _tried(one, project, seconds)
            for one in entries((editor,), project, name)
        ]
        if not here and wanted:
            here.append(_missing(editor, name))
        found += here
    if not found:
        found.append(
            Finding(
                "editors",
                "warn",
                f"no editor is told of a server {name!r}",
                "ricochet mcp install --editor cursor (or vscode, claude, windsurf, zed)",
            )
        )
    return tuple(found)


def _missing(editor: Editor, name: str) -> Finding:
    mend = installation(editor, scopes(editor)[0], name)
    return Finding(editor.value, "fail", f"it is not told of a server {name!r}", mend)


async def _tried(entry: Entry, project: Path, seconds: float) -> Finding:
    about, path, again = entry.about, entry.path, entry.again
    try:
        launch = entry.launch(project)
    except ValueError as error:
        return Finding(about, "fail", f"{path}: {error}", again)
    begin = time.monotonic()
    with tempfile.TemporaryFile("w+", errors="replace") as log:
        try:
            names = await _tools(launch, log, seconds)
        except Exception as error:
            # The client raises groups of whatever its tasks met; all of it means the same here.
            log.seek(0)
            said = " ".join(log.read(64 * 1024).split())[-WORDS:]
            what = "it did not answer in time" if isinstance(error, TimeoutError) else _cause(error)
            words = f"{what}; it said: {said}" if said else what
            return Finding(about, "fail", f"{launch.command}: {words}", again)
    took = time.monotonic() - begin
    text = f"{path}: {len(names)} tools in {took:.1f} s"
    if not set(names) & set(TOOLS):
        return Finding(about, "fail", f"{text}, none of them Ricochet's", again)
    if took > SLOW:
        mend = "Is the machine busy? Fewer tools start a little faster: --tools core."
        return Finding(about, "warn", text, mend)
    return Finding(about, "ok", text)


async def _tools(launch: Launch, log: Any, seconds: float) -> list[str]:
    parameters = StdioServerParameters(
        command=launch.command,
        args=launch.args,
        env={**os.environ, **launch.env},
        cwd=launch.folder,
    )
    async with (
        asyncio.timeout(seconds),
        Client(stdio_client(parameters, errlog=log)) as client,
    ):
        return [one.name for one in (await client.list_tools()).tools]


def _cause(error: BaseException) -> str:
    """The first thing that went wrong, in a few words."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, FileNotFoundError):
        return "there is no such program"
    return f"{type(error).__name__}: {error}"[:WORDS]
