"""The `ricochet` command, and the one place where errors become exit codes.

Each command is loaded when it is called (`command_table`), and every heavy module inside the
command that needs it, so that light commands start in about a tenth of a second. stdout carries
data only; everything a person reads besides goes to stderr.
"""

import gc
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Final

import typer

# typer 0.28, which pyproject.toml pins, carries its own copy of click and exports too few errors.
from typer._click import exceptions

from ricochet_cli.command_table import Commands
from ricochet_cli.completing import VARIABLE, answer_shells
from ricochet_cli.console import hush, print_error
from ricochet_cli.language import choose, t
from ricochet_protocol.errors import ExitCode, RicochetError

NEW_OBJECTS_A_COLLECTION: Final = 100_000
"""Imports make a million objects that all stay: the collector would walk them a hundred times."""

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Share language-model capacity peer to peer, and run chains of models over documents far "
    "larger than a model's window. Start with `ricochet demo`.",
    epilog="Exit codes: 0 ok, 1 failure, 2 usage, 3 configuration or authentication, 4 budget, "
    "5 partial, 130 interrupted.",
)


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
    """Run one command; its exit code. Errors are printed here and nowhere else.

    Programs get English, whatever the environment says.
    """
    as_json = "--json" in arguments
    choose({} if as_json else os.environ)
    hush(False)
    if VARIABLE in os.environ:
        answer_shells()
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
        hint = t("{where} --help shows what it takes", where=where)
        print_error("usage", error.format_message(), hint, as_json)
        return ExitCode.USAGE
    except (typer.Abort, KeyboardInterrupt):
        print_error("interrupted", "interrupted", "", as_json)
        return ExitCode.INTERRUPTED
    return result if isinstance(result, int) else ExitCode.OK


def run() -> None:
    """Console-script entry."""
    gc.set_threshold(NEW_OBJECTS_A_COLLECTION)
    sys.exit(main(sys.argv[1:]))
