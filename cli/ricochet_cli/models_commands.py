"""`ricochet models`: which model each role gets, chosen from what the network offers."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ricochet_cli.console import print_json, say, table
from ricochet_cli.home import AsJson, Home, Quiet
from ricochet_cli.language import t, told
from ricochet_protocol.errors import ConfigurationError, UsageError
from ricochet_protocol.ids import ModelId
from ricochet_protocol.money import Units, dollars

if TYPE_CHECKING:
    from ricochet_orchestrator.model_choice import ModelChoice
    from ricochet_orchestrator.role_models import Chosen

User = Annotated[
    bool, typer.Option("--user", help="For all projects of this home, not for this folder's.")
]
Role = Annotated[str, typer.Argument(help="main, research, fallback, analyzer, …")]
Origin = Annotated[bool, typer.Option("--show-origin", help="Say which file each comes from.")]

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Models by role. A flag counts before a chain's step, that before this project's "
    ".ricochet/models.json, that before the home's; a role without a model takes that of main.",
)


@app.command("setup")
def setup(
    home: Home,
    set_pairs: Annotated[
        list[str] | None, typer.Option("--set", help="ROLE=MODEL; may be repeated.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option(help='JSON such as {"roles": {"main": {"model": "…"}}}.')
    ] = None,
    no_input: Annotated[bool, typer.Option("--no-input", help="Ask nothing.")] = False,
    user: User = False,
    as_json: AsJson = False,
) -> None:
    """Choose a model for each role, from what peers offer now and this home's own node."""
    from ricochet_orchestrator import role_models

    models = _pairs(set_pairs or ())
    if file is not None:
        if not file.exists():
            raise UsageError("file_missing", f"{file} does not exist.", "Give a JSON file.")
        models = role_models.by_role([role_models.Layer("file", file, role_models.read(file))]) | (
            models
        )
    if not models:
        if no_input or as_json or not sys.stdin.isatty():
            raise UsageError(
                "no_terminal",
                "There is nobody to ask.",
                "Say it: ricochet models setup --set main=MODEL, or --file FILE",
            )
        models = _asked(home)
    _change(home, user, models)
    note_own_roles(home, models)
    _print_roles(home, as_json, origin=True)


def _asked(home: Path) -> dict[str, str]:
    """What a person chooses, role by role."""
    import asyncio

    from ricochet_cli.models_menu import Choice, ask
    from ricochet_orchestrator import model_choice, role_models
    from ricochet_orchestrator.chain_language import ROLES
    from ricochet_orchestrator.printing import printable

    found = asyncio.run(model_choice.on_network(home))
    names = {str(one.model) for one in found}
    choices = [Choice(one.model, _row(one)) for one in found]
    choices += [
        Choice(name, (printable(name), t("own node"), "", "", "", ""))
        for name in own_offers(home)
        if name not in names
    ]
    if not choices:
        raise UsageError(
            "no_offers", "Nobody offers a model now.", "See `ricochet peers list`, or use --set."
        )
    present = role_models.by_role(role_models.layers(home, Path.cwd()))
    return ask(ROLES, choices, _HEADERS, present)


@app.command("list")
def list_models(
    home: Home,
    available: Annotated[
        bool, typer.Option("--available", help="What peers offer now, instead of what is set.")
    ] = False,
    show_origin: Origin = False,
    as_json: AsJson = False,
) -> None:
    """Show the roles and their models; with --available, the models that can be chosen."""
    import asyncio

    if not available:
        _print_roles(home, as_json, show_origin)
        return
    from ricochet_orchestrator import model_choice

    found = asyncio.run(model_choice.on_network(home))
    own = own_offers(home)
    if as_json:
        import msgspec

        print_json([{**msgspec.to_builtins(one), "own": one.model in own} for one in found])
    elif found:
        typer.echo(table(_HEADERS, [_row(one) for one in found]))
    else:
        say("Nobody offers a model now: see `ricochet peers list`.")


@app.command("show")
def show(home: Home, role: Role, as_json: AsJson = False) -> None:
    """Show the model of one role, and where that is said."""
    from ricochet_orchestrator import role_models

    chosen = role_models.choose(role, role_models.layers(home, Path.cwd()))
    if as_json:
        print_json(_document(chosen))
    else:
        typer.echo(f"{chosen.model or t('what most peers offer')}  ({chosen.origin})")


@app.command("set")
def set_model(
    home: Home,
    pairs: Annotated[list[str], typer.Argument(metavar="ROLE=MODEL...")],
    user: User = False,
    as_json: AsJson = False,
) -> None:
    """Give roles their models."""
    models = _pairs(pairs)
    _change(home, user, models)
    note_own_roles(home, models)
    _print_roles(home, as_json, origin=True)


@app.command("unset")
def unset(
    home: Home,
    roles: Annotated[list[str], typer.Argument(metavar="ROLE...")],
    user: User = False,
    as_json: AsJson = False,
) -> None:
    """Take roles' models away."""
    from ricochet_orchestrator import role_models

    with role_models.changing(_file(home, user)) as held:
        held[0] = role_models.without_roles(held[0], roles)
    _print_roles(home, as_json, origin=True)


@app.command("test")
def test(
    home: Home,
    role: Role,
    model: Annotated[str | None, typer.Option(help="This model instead of the role's.")] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Make one small paid call to a role's model, and say what happened."""
    from ricochet_cli.chain_runner import run_with_view
    from ricochet_orchestrator import model_choice
    from ricochet_orchestrator.printing import printable

    wanted = None if model is None else ModelId(model)
    trial, chosen = model_choice.trial(home, role, wanted)
    result = run_with_view(home, trial)
    peer = result.peers[0] if result.peers else None
    document = {
        **_document(chosen),
        "status": result.status.value,
        "answer": result.output,
        "peer": None if peer is None else peer.peer,
        "first_token_seconds": None if peer is None else peer.first_token,
        "seconds": round(result.seconds, 3),
        "tokens_in": result.tokens_in,
        "tokens_out": result.tokens_out,
        "cost": result.cost,
    }
    if as_json:
        print_json(document)
    else:
        typer.echo(
            t(
                "{role}: {model} ({origin}) {status}, {seconds:.1f} s, {tokens_in} + "
                "{tokens_out} tokens, {cost}",
                role=role,
                model=chosen.model or t("what most peers offer"),
                origin=chosen.origin,
                status=told(result.status.value),
                seconds=result.seconds,
                tokens_in=result.tokens_in,
                tokens_out=result.tokens_out,
                cost=dollars(result.cost),
            )
        )
        answer = " ".join(printable(result.output).split())[:200]
        say("it said: {answer}", answer=answer or t("nothing"))
    if result.exit_code:
        raise typer.Exit(result.exit_code)


@app.command("import")
def import_models(
    home: Home,
    file: Annotated[Path | None, typer.Argument(help="[default: .taskmaster/config.json]")] = None,
    user: User = False,
    as_json: AsJson = False,
) -> None:
    """Take over the models of Task Master's config.json; what else is in it is kept."""
    from ricochet_orchestrator import taskmaster_config

    taskmaster_config.import_config(_file(home, user), file or taskmaster_config.FILE)
    _print_roles(home, as_json, origin=True)


@app.command("export")
def export_models(
    home: Home,
    file: Annotated[Path | None, typer.Argument(help="[default: .taskmaster/config.json]")] = None,
    base_url: Annotated[
        str | None, typer.Option(help="Where Task Master finds `ricochet serve`.")
    ] = None,
    user: User = False,
    as_json: AsJson = False,
) -> None:
    """Write the models into Task Master's config.json, merged with what is in it.

    Task Master calls them through `ricochet serve`; its key goes into Task Master's own .env.
    """
    from ricochet_orchestrator import role_models, taskmaster_config

    target = file or taskmaster_config.FILE
    settings = role_models.read(_file(home, user))
    taskmaster_config.export_config(settings, target, base_url or taskmaster_config.BASE_URL)
    if as_json:
        print_json({"path": str(target)})
    else:
        typer.echo(str(target))


def _change(home: Path, user: bool, models: dict[str, str]) -> None:
    from ricochet_orchestrator import role_models

    with role_models.changing(_file(home, user)) as held:
        held[0] = role_models.with_roles(held[0], models)


def note_own_roles(home: Path, roles: Iterable[str]) -> None:
    """Tell of roles that no chain here has: a chain of one's own may, or they are misspelt."""
    from ricochet_orchestrator.role_models import without_chain

    known, missing = without_chain(home, roles)
    for role in missing:
        say(
            "no chain here has the role {role}; roles that there are: {known}",
            role=role,
            known=", ".join(known),
        )


def _file(home: Path, user: bool) -> Path:
    from ricochet_orchestrator import role_models

    return role_models.user_file(home) if user else role_models.project_file(Path.cwd())


def _print_roles(home: Path, as_json: bool, origin: bool) -> None:
    from ricochet_orchestrator import role_models
    from ricochet_orchestrator.chain_language import ROLES

    found = role_models.layers(home, Path.cwd())
    roles = [*ROLES, *sorted(set(role_models.by_role(found)) - set(ROLES))]
    chosen = [role_models.choose(role, found) for role in roles]
    if as_json:
        print_json([_document(one) for one in chosen])
        return
    rows = [
        (one.role, one.model or t("what most peers offer"), *((one.origin,) if origin else ()))
        for one in chosen
    ]
    typer.echo(table(("role", "model", *(("from",) if origin else ())), rows))
    if all(one.model is None for one in chosen):
        say("Nothing is set: `ricochet models setup` chooses from what peers offer.")


def _document(chosen: "Chosen") -> dict[str, Any]:
    return {"role": chosen.role, "model": chosen.model, "origin": chosen.origin}


def _pairs(texts: "list[str] | tuple[()]") -> dict[str, str]:
    models: dict[str, str] = {}
    for text in texts:
        role, _, model = text.partition("=")
        if not role or not model or role in models:
            raise UsageError("models_bad", f"{text!r} is not ROLE=MODEL.", "Such as main=MODEL.")
        models[role] = model
    return models


def own_offers(home: Path) -> list[str]:
    """Models that this home's own node offers with its keys."""
    if not (home / "node.yaml").exists():
        return []
    from ricochet_node import config

    try:
        return [str(offer.model) for offer in config.load(home).offers]
    except ConfigurationError as error:
        say("left out: {message}", message=error.message)
        return []


_HEADERS = ("model", "peers", "$/M in", "$/M out", "window", "first token")


def _row(one: "ModelChoice") -> tuple[str, ...]:
    from ricochet_orchestrator.printing import printable

    delay = "" if one.first_token is None else f"{one.first_token:.2f} s"
    prices = (dollars(Units(one.price_in)), dollars(Units(one.price_out)))
    return (printable(one.model), str(one.peers), *prices, str(one.context), delay)
