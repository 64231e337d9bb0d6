"""`ricochet node config`: what node.yaml says, whether it can be used, and one value at a time."""

import json
from typing import Annotated

import typer

from ricochet_cli.console import print_json, say
from ricochet_cli.home import AsJson, Home
from ricochet_cli.language import told

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Show, check and change node.yaml; a running node takes up most changes by itself.",
)


@app.command("show")
def show(
    home: Home,
    show_origin: Annotated[
        bool, typer.Option("--show-origin", help="Say for each value: file, or default.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show every value in effect, one a line."""
    from ricochet_node.config_edit import settings

    found = settings(home)
    if as_json:
        print_json([{"name": s.name, "value": s.value, "origin": s.origin} for s in found])
        return
    for one in found:
        origin = f"{one.origin:<9}" if show_origin else ""
        typer.echo(f"{origin}{one.name}: {json.dumps(one.value, ensure_ascii=False)}")


@app.command("check")
def check(home: Home, as_json: AsJson = False) -> None:
    """Check node.yaml as a start would; ends with code 3 and says file, field and fix."""
    from ricochet_node import config, config_edit

    config_edit.check(home)
    if as_json:
        print_json({"file": str(home / config.FILE_NAME), "ok": True})
    else:
        say("{home} can be used", home=home / config.FILE_NAME)


@app.command("set")
def set_one(
    home: Home,
    name: Annotated[
        str,
        typer.Argument(help="Such as claim.minimum, keys.openai.rpm or offers.MODEL.price_in."),
    ],
    value: Annotated[str, typer.Argument(help="As in YAML; amounts are dollars.")],
    as_json: AsJson = False,
) -> None:
    """Set one value; the file is checked first and replaced in one step.

    Comments in the file stay when the value was there before; otherwise they are lost. What is
    still missing, such as the price that a cap needs, is told as `node config check` does.
    """
    from ricochet_node.config_edit import missing, set_value

    kept = set_value(home, name, value)
    lack = missing(home)
    if as_json:
        told_lack = None if lack is None else {"message": lack.message, "hint": lack.hint}
        print_json({"name": name, "comments_kept": kept, "missing": told_lack})
        return
    if not kept:
        say("the file was written anew: its comments are gone")
    if lack is None:
        say("{name} is set; a running node says in its log if that needs a restart", name=name)
    else:
        say("{name} is set, but no node starts with the file as it is:", name=name)
        say(lack.message)
        say("hint: {hint}", hint=told(lack.hint))


@app.command("path")
def path(home: Home, as_json: AsJson = False) -> None:
    """Print where node.yaml is, whether or not it exists yet."""
    from ricochet_node.config import FILE_NAME

    if as_json:
        print_json({"path": str(home / FILE_NAME)})
    else:
        typer.echo(str(home / FILE_NAME))
