"""`ricochet config`: every setting of this machine and folder, by name, with where it comes from.

`routing.`, `privacy.` and `models.` are of the working folder's `.ricochet/` or, with --user, of
the home; `node.` is node.yaml, as `ricochet node config` has it; `network.` came with the network.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ricochet_cli.console import print_json, say, table
from ricochet_cli.home import AsJson, Home
from ricochet_protocol.errors import UsageError

if TYPE_CHECKING:
    from ricochet_orchestrator.settings import Scope, Setting

Name = Annotated[
    str, typer.Argument(metavar="NAME", help="Such as routing.strategy, from `config list`.")
]
User = Annotated[
    bool, typer.Option("--user", help="For all projects of this home, not for this folder's.")
]

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Settings by name, each with where it comes from. Options of a command go before the "
    "environment (RICOCHET_*), that before this folder's .ricochet, that before the home's files.",
)


@app.command("list")
def list_all(home: Home, as_json: AsJson = False) -> None:
    """Show every value in effect: from which file it comes, or that it is a default."""
    found = _all(home)
    if as_json:
        print_json([_document(one) for one in found])
        return
    rows = [(one.name, _text(one.value), one.origin, one.path or "") for one in found]
    typer.echo(table(("name", "value", "from", "file"), rows))


@app.command("get")
def get(home: Home, name: Name, as_json: AsJson = False) -> None:
    """Print one value."""
    found = _all(home)
    one = next((one for one in found if one.name == name), None)
    if one is None:
        raise _unknown(name, found)
    if as_json:
        print_json(_document(one))
    else:
        typer.echo(_text(one.value))


@app.command("set")
def set_one(
    home: Home,
    name: Name,
    value: Annotated[str, typer.Argument(help="As in YAML: fastest, 0.50, [email, phone].")],
    user: User = False,
    as_json: AsJson = False,
) -> None:
    """Set one value; the file is checked first and replaced in one step."""
    from ricochet_orchestrator import settings

    area, _, rest = name.partition(".")
    if area == "network":
        raise _of_network(name)
    if area == "node":
        from ricochet_node.config import FILE_NAME
        from ricochet_node.config_edit import set_value

        set_value(home, rest, value)
        path = home / FILE_NAME
    else:
        path = settings.set_value(home, Path.cwd(), name, value, _scope(user))
        if area == settings.MODELS:
            from ricochet_cli.models_commands import note_own_roles

            note_own_roles(home, [rest])
    _told(name, path, as_json)


@app.command("unset")
def unset(home: Home, name: Name, user: User = False, as_json: AsJson = False) -> None:
    """Take one value out of its file, so that what comes next in order holds."""
    from ricochet_orchestrator import settings

    area = name.partition(".")[0]
    if area == "network":
        raise _of_network(name)
    if area == "node":
        raise UsageError(
            "bad_setting",
            f"{name}: values of node.yaml are set, not taken out",
            "`ricochet config set` gives it another value; `ricochet node config path` names "
            "the file.",
        )
    _told(name, settings.unset(home, Path.cwd(), name, _scope(user)), as_json)


@app.command("path")
def path(home: Home, as_json: AsJson = False) -> None:
    """Show the files that settings come from, whether or not they exist yet."""
    from ricochet_orchestrator import settings

    rows: list[tuple[str, str, Path]] = [
        (kind, scope, settings.path_of(kind, scope, home, Path.cwd()))
        for kind in settings.kinds()
        for scope in (_scope(False), _scope(True))
    ]
    rows += [("node", "user", home / "node.yaml"), ("network", "user", home / "network.json")]
    if as_json:
        print_json(
            [
                {"settings": kind, "scope": scope, "path": str(file), "exists": file.exists()}
                for kind, scope, file in rows
            ]
        )
        return
    shown = [(kind, scope, "yes" if f.exists() else "no", str(f)) for kind, scope, f in rows]
    typer.echo(table(("settings", "of", "exists", "file"), shown))


def _all(home: Path) -> "list[Setting]":
    import msgspec

    from ricochet_orchestrator.settings import Setting, listed

    found = [Setting("home", str(home), "user", None), *listed(home, Path.cwd())]
    if (home / "network.json").exists():
        from ricochet_settlement import deployment

        file = str(home / "network.json")
        joined = msgspec.to_builtins(deployment.load(home))
        found += [Setting(f"network.{name}", one, "user", file) for name, one in joined.items()]
    if (home / "node.yaml").exists():
        from ricochet_node.config_edit import settings

        file = str(home / "node.yaml")
        found += [
            Setting(
                f"node.{one.name}",
                one.value,
                "user" if one.origin == "file" else one.origin,
                file if one.origin == "file" else None,
            )
            for one in settings(home)
        ]
    return found


def _scope(user: bool) -> "Scope":
    return "user" if user else "project"


def _unknown(name: str, found: "list[Setting]") -> UsageError:
    from ricochet_orchestrator.settings import names, unknown

    if name in names():  # a role that has no model
        return UsageError("not_set", f"{name} is not set", f"`ricochet config set {name} VALUE`")
    return unknown(name, [*names(), *(one.name for one in found)])


def _of_network(name: str) -> UsageError:
    return UsageError(
        "bad_setting",
        f"{name} came with the network and is the same for all who joined it",
        "`ricochet network join FILE` takes over another description of it.",
    )


def _told(name: str, file: Path, as_json: bool) -> None:
    if as_json:
        print_json({"name": name, "path": str(file)})
    else:
        say("{name}: {file} is written", name=name, file=file)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _document(one: "Setting") -> dict[str, Any]:
    return {"name": one.name, "value": one.value, "origin": one.origin, "path": one.path}
