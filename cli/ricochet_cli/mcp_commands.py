"""`ricochet mcp`: Ricochet in the chat of an editor, over the Model Context Protocol."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from ricochet_cli.console import print_json, say
from ricochet_cli.home import AsJson, Home
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
    context: typer.Context,
    home: Home,
    project: Project = None,
    tools: Tools = Tier.ALL,
    http: Annotated[
        bool,
        typer.Option("--http", help="Serve clients that connect by URL, on this machine only."),
    ] = False,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="With --http; 0: any that is free.")
    ] = 8791,
    as_json: AsJson = False,
) -> None:
    """Serve a client on standard input and output, until it closes them.

    With --http, stdout gets the URL; clients send the token in the home's mcp.token as
    `Authorization: Bearer TOKEN`. Ctrl-C ends it; runs go on.
    """
    if context.invoked_subcommand is not None:
        return
    home = home.absolute()
    if project is not None:
        os.chdir(project)
    if http:
        _serve_http(home, tools, port, as_json)
        return
    if sys.stdin.isatty():
        say("This speaks MCP on its standard input: an editor starts it. Ctrl-C ends it.")
    # Before the protocol's library, and all that it loads, could print.
    from ricochet_cli.mcp_server.wire import claimed

    reader, writer = claimed()
    from ricochet_cli.mcp_server.starting import serve_stdio

    serve_stdio(home, tools, reader, writer)


def _serve_http(home: Path, tools: Tier, port: int, as_json: bool) -> None:
    from ricochet_cli.mcp_server.starting import serve_http

    def ready(url: str, file: Path) -> None:
        if as_json:
            print_json({"url": url, "token_file": str(file)})
        else:
            typer.echo(url)
        say(f"clients send the token in {file}; Ctrl-C ends this, and runs go on")

    serve_http(home, tools, port, ready)
