"""`ricochet mcp`: Ricochet in the chat of an editor, over the Model Context Protocol."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from ricochet_cli.console import print_json, say
from ricochet_cli.home import AsJson, Home
from ricochet_cli.language import t, told
from ricochet_cli.mcp_server.editors import NAME, Editor, Scope
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
        say("clients send the token in {file}; Ctrl-C ends this, and runs go on", file=file)

    serve_http(home, tools, port, ready)


@app.command("install")
def install(
    home: Home,
    context: typer.Context,
    editor: Annotated[Editor, typer.Option(help="cursor, vscode, claude, windsurf or zed.")],
    user: Annotated[
        bool, typer.Option("--user", help="For all your projects, not for this folder's.")
    ] = False,
    name: Annotated[str, typer.Option(help="What the server is called there.")] = NAME,
    tools: Annotated[Tier | None, typer.Option(help="How many tools. [default: all]")] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace a server of that name.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would change; write nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Tell an editor of the server, in its settings; comments and all else in them stay.

    What cannot be read is left alone. Windsurf has settings of the user only.
    """
    from ricochet_cli.mcp_server import installing
    from ricochet_cli.mcp_server.editors import LAYOUTS, entry, scopes, settings_file

    scope = Scope.USER if user else scopes(editor)[0]
    path = settings_file(editor, scope, Path.cwd())
    made = entry(editor, scope, Path.cwd(), _unusual(home, context), tools)
    done = installing.change(
        installing.read(path), LAYOUTS[editor].key, name, made, replace=replace
    )
    if not dry_run:
        installing.apply(done)
    if as_json:
        print_json(
            {
                "editor": editor.value,
                "path": str(path),
                "name": name,
                "entry": made,
                "state": done.state,
                "written": not dry_run and done.state != "unchanged",
            }
        )
    elif dry_run:
        typer.echo(done.difference().rstrip("\n"))
    else:
        typer.echo(t("{state}: {name} in {path}", state=told(done.state), name=name, path=path))
        say(
            "restart {editor}; check it with: ricochet mcp doctor --editor {editor}",
            editor=editor.value,
        )


@app.command("doctor")
def doctor(
    editor: Annotated[
        list[Editor] | None,
        typer.Option(help="Which editor; may be repeated. [default: all that are told of it]"),
    ] = None,
    name: Annotated[str, typer.Option(help="What the server is called there.")] = NAME,
    as_json: AsJson = False,
) -> None:
    """Check what editors are told: start the server as they would, and list its tools.

    Ends with code 1 when something has to be mended.
    """
    import asyncio

    from ricochet_cli.findings_view import show_findings
    from ricochet_cli.mcp_server.checkup import examine

    found = asyncio.run(examine(tuple(editor or ()), Path.cwd(), name))
    show_findings({"editors": found}, as_json)


def _unusual(home: Path, context: typer.Context) -> Path | None:
    """The home, if it was named and is not the one that the server would take anyway."""
    from typer._click.core import ParameterSource

    source = context.get_parameter_source("home")
    return None if source is ParameterSource.DEFAULT else home
