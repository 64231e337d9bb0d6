"""`ricochet serve`: the subscriber's HTTP API, and the keys that open it."""

from typing import Annotated, Literal

import typer

from ricochet_cli.console import print_json, say, table
from ricochet_cli.home import AsJson, Home

app = typer.Typer(
    invoke_without_command=True,
    rich_markup_mode=None,
    help="Serve your subscription to any OpenAI client: give it the URL that this prints and a key "
    "from `ricochet serve keys new`. Ctrl-C once ends in order, twice at once.",
)
keys = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="API keys of this server, each with its budget. A running server follows every change.",
)
app.add_typer(keys, name="keys")


@app.callback()
def serve(
    context: typer.Context,
    home: Home,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 8790,
    listen: Annotated[
        str,
        typer.Option(
            help="Address to listen at. Beyond this machine, keys and texts are readable "
            "on their way: put a proxy with TLS before it."
        ),
    ] = "127.0.0.1",
    origin: Annotated[
        list[str] | None,
        typer.Option(
            help="A web page that may call it, such as http://localhost:3000; may be "
            "repeated. [default: none]"
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Serve until Ctrl-C; stdout gets the base URL for OpenAI clients."""
    if context.invoked_subcommand is not None:
        return
    from ricochet_cli.serve_runner import run_in_foreground

    run_in_foreground(home, listen, port, tuple(origin or ()), as_json)


@keys.command("new")
def new(
    home: Home,
    name: Annotated[str, typer.Argument(help="What the key is for, such as editor.")],
    budget: Annotated[
        str | None,
        typer.Option(help="Dollars it may spend. [default: what the subscription holds]"),
    ] = None,
    per: Annotated[
        Literal["period", "day"],
        typer.Option(help="What the budget is for: each period of the subscription, or UTC day."),
    ] = "period",
    days: Annotated[int | None, typer.Option(help="Days it is good for. [default: no end]")] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="A model or chain (ricochet/NAME) it may call; may be repeated. [default: all]"
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and print it; it is stored as a hash and cannot be shown again."""
    import time

    from ricochet_cli.values import amount
    from ricochet_orchestrator.api_keys import ApiKeys

    limit = None if budget is None else amount(budget, "--budget")
    secret = ApiKeys(home).new(name, time.time(), limit, per, days, tuple(model or ()))
    if as_json:
        print_json({"name": name, "key": secret})
    else:
        typer.echo(secret)
        say("keep it: it cannot be shown again. It is the API key of your OpenAI client.")


@keys.command("list")
def listing(home: Home, as_json: AsJson = False) -> None:
    """List the keys, their budgets and what they have spent in the current period or day."""
    from ricochet_orchestrator.views import spent_by_keys
    from ricochet_protocol.money import dollars

    known = spent_by_keys(home)
    if as_json:
        print_json(
            [
                {
                    "name": key.name,
                    "made_at": key.made_at,
                    "expires_at": key.expires_at,
                    "budget": key.budget,
                    "per": key.per,
                    "spent": spent,
                    "models": list(key.models),
                }
                for key, spent in known
            ]
        )
        return
    if not known:
        say("there is no key yet: `ricochet serve keys new NAME` makes one")
        return
    rows = [
        (
            key.name,
            _date(key.made_at),
            "-" if key.expires_at is None else _date(key.expires_at),
            "-" if key.budget is None else f"{dollars(key.budget)} a {key.per}",
            dollars(spent),
            ", ".join(key.models) or "all",
        )
        for key, spent in known
    ]
    typer.echo(table(("key", "made (UTC)", "expires", "budget", "spent", "models"), rows))


@keys.command("limit")
def limit(
    home: Home,
    name: Annotated[str, typer.Argument(help="Its name: ricochet serve keys list.")],
    budget: Annotated[
        str, typer.Argument(help="Dollars it may spend; none: what the subscription holds.")
    ],
    per: Annotated[
        Literal["period", "day"] | None,
        typer.Option(help="Each period of the subscription, or UTC day. [default: as it is]"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Give a key another budget, in a running server too; what it has spent counts."""
    from ricochet_cli.values import amount
    from ricochet_orchestrator.api_keys import ApiKeys
    from ricochet_protocol.money import dollars

    most = None if budget == "none" else amount(budget, "BUDGET")
    key = ApiKeys(home).limit(name, most, per)
    if as_json:
        print_json({"name": name, "budget": key.budget, "per": key.per})
    elif key.budget is None:
        say("the key {name} may spend what the subscription holds", name=name)
    elif key.per == "day":
        say("the key {name} may spend {budget} each day", name=name, budget=dollars(key.budget))
    else:
        say("the key {name} may spend {budget} each period", name=name, budget=dollars(key.budget))


@keys.command("revoke")
def revoke(
    home: Home, name: Annotated[str, typer.Argument(help="Its name: ricochet serve keys list.")]
) -> None:
    """Make a key invalid at once, in a running server too."""
    from ricochet_orchestrator.api_keys import ApiKeys

    ApiKeys(home).revoke(name)
    say("the key {name} opens nothing any more", name=name)


def _date(at: int) -> str:
    from datetime import UTC, datetime

    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M}"
