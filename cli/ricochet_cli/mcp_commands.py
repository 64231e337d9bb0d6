"""`ricochet mcp`: Ricochet in the chat of an editor, over the Model Context Protocol."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from ricochet_cli.console import say
from ricochet_cli.home import Home
from ricochet_cli.mcp_server.toolbox import Tier

app = typer.Typer(
    invoke_without_command=True,
    rich_markup_mode=None,
    help="An MCP server for editors (Cursor, VS Code, Claude Code, Windsurf, Zed): without a "
    "subcommand it serves one client on standard input and output.",
)
Project = Annotated[
    Path | None,
    typer.Option(
        file_okay=False, exists=True, help="The project's folder. [default: the working folder]"
    ),
]
Tools = Annotated[
    Tier,
    typer.Option(
        envvar="RICOCHET_MCP_TOOLS",
        help="How many tools to show: core, standard or all. Each costs context in every chat.",
    ),
]


@app.callback()
def serve(
    context: typer.Context, home: Home, project: Project = None, tools: Tools = Tier.ALL
) -> None:
    """Serve a client on standard input and output, until it closes them."""
    if context.invoked_subcommand is not None:
        return
    if sys.stdin.isatty():
        say("This speaks MCP on its standard input: an editor starts it. Ctrl-C ends it.")
    # Before the protocol's library, and all that it loads, could print.
    from ricochet_cli.mcp_server.wire import claimed

    reader, writer = claimed()
    if project is not None:
        os.chdir(project)
    from ricochet_cli.mcp_server.starting import serve_stdio

    serve_stdio(home.absolute(), tools, reader, writer)
