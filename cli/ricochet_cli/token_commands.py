"""`ricochet node token`: who may use the node's local door."""

from typing import Annotated

import typer

from ricochet_cli.console import print_json, say, table
from ricochet_cli.home import AsJson, Home

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Tokens for your own OpenAI clients on this machine, which use the node's keys through "
    "its local door. Open the door with `door: 127.0.0.1:8788` in node.yaml.",
)


@app.command("new")
def new(
    home: Home,
    name: Annotated[str, typer.Argument(help="What the token is for, such as editor.")],
    as_json: AsJson = False,
) -> None:
    """Make a token and print it; it is stored as a hash and cannot be shown again."""
    import time

    from ricochet_node.door_tokens import DoorTokens

    token = DoorTokens(home).new(name, time.time())
    if as_json:
        print_json({"name": name, "token": token})
    else:
        typer.echo(token)
        say("keep it: it cannot be shown again. It is the API key of your OpenAI client.")


@app.command("list")
def listing(home: Home, as_json: AsJson = False) -> None:
    """List the tokens by name."""
    from datetime import UTC, datetime

    from ricochet_node.door_tokens import DoorTokens

    known = DoorTokens(home).list()
    if as_json:
        print_json([{"name": name, "made_at": made_at} for name, made_at in known])
        return
    if not known:
        say("there is no token yet: `ricochet node token new NAME` makes one")
        return
    dates = [(name, f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M}") for name, at in known]
    typer.echo(table(("token", "made at (UTC)"), dates))


@app.command("revoke")
def revoke(
    home: Home, name: Annotated[str, typer.Argument(help="Its name: ricochet node token list.")]
) -> None:
    """Make a token invalid at once, in a running node too."""
    from ricochet_node.door_tokens import DoorTokens

    DoorTokens(home).revoke(name)
    say("the token {name} opens nothing any more", name=name)
