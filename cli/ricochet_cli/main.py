"""The `ricochet` command: groups of commands, and the one place where errors become exit codes.

Every heavy module is imported inside the command that needs it, so that `--help` and the light
commands start in about a tenth of a second. stdout carries data only; everything a person reads
besides goes to stderr.
"""

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

# typer 0.28, which pyproject.toml pins, carries its own copy of click and exports too few errors.
from typer._click import exceptions

from ricochet_cli import (
    chain_commands,
    contracts_commands,
    demo_command,
    dev_commands,
    keys_commands,
    logs_commands,
    models_commands,
    monitor_command,
    network_commands,
    node_commands,
    peers_commands,
    policy_commands,
    route_commands,
    serve_commands,
    stats_chain_command,
    subscribe_command,
    subscription_commands,
    tasks_commands,
    tasks_model_commands,
    wallet_commands,
)
from ricochet_cli.console import print_error
from ricochet_protocol.errors import ExitCode, RicochetError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Share language-model capacity peer to peer, and run chains of models over documents far "
    "larger than a model's window. Start with `ricochet demo`.",
    epilog="Exit codes: 0 ok, 1 failure, 2 usage, 3 configuration or authentication, 4 budget, "
    "5 partial, 130 interrupted.",
)
app.command("demo")(demo_command.demo)
app.command("subscribe")(subscribe_command.subscribe)
app.add_typer(subscription_commands.app, name="subscription")
app.add_typer(chain_commands.app, name="chain")
app.add_typer(models_commands.app, name="models")
app.add_typer(tasks_commands.app, name="tasks")
app.command("add-task", help="Short for `ricochet tasks add`.")(tasks_commands.add)
app.command("edit-task", help="Short for `ricochet tasks edit`.")(tasks_commands.edit)
app.command("delete-task", help="Short for `ricochet tasks delete`.")(tasks_commands.delete)
app.command("analyze-complexity", help="Short for `ricochet tasks analyze-complexity`.")(
    tasks_model_commands.analyze
)
app.add_typer(route_commands.app, name="route")
app.add_typer(peers_commands.app, name="peers")
app.add_typer(serve_commands.app, name="serve")
app.command("monitor")(monitor_command.monitor)
app.add_typer(stats_chain_command.app, name="stats")
app.add_typer(node_commands.app, name="node")
app.add_typer(keys_commands.app, name="keys")
app.add_typer(policy_commands.app, name="policy")
app.command("add-key", help="Short for `ricochet keys add`.")(keys_commands.add)
app.add_typer(logs_commands.app, name="logs")
app.add_typer(wallet_commands.app, name="wallet")
app.add_typer(network_commands.app, name="network")
app.add_typer(contracts_commands.app, name="contracts")
app.add_typer(dev_commands.app, name="dev")


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(version("ricochet-network"))
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """The group's own options; `--version` ends the command in its callback."""


def main(arguments: Sequence[str]) -> int:
    """Run one command; its exit code. Errors are printed here and nowhere else."""
    as_json = "--json" in arguments
    try:
        result = app(args=list(arguments), prog_name="ricochet", standalone_mode=False)
    except RicochetError as error:
        print_error(error.code, error.message, error.hint, as_json)
        return error.exit_code
    except exceptions.NoArgsIsHelpError as error:
        typer.echo(error.format_message())
        return ExitCode.OK
    except exceptions.UsageError as error:
        where = error.ctx.command_path if error.ctx else "ricochet"
        print_error("usage", error.format_message(), f"{where} --help shows what it takes", as_json)
        return ExitCode.USAGE
    except (typer.Abort, KeyboardInterrupt):
        print_error("interrupted", "interrupted", "", as_json)
        return ExitCode.INTERRUPTED
    return result if isinstance(result, int) else ExitCode.OK


def run() -> None:
    """Console-script entry."""
    sys.exit(main(sys.argv[1:]))
