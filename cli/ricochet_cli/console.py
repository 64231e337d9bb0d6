"""What commands print: data on stdout, all else on stderr, plain tables where people look.

English texts are translated here on their way to a person (`told`), and never on their way to a
program.
"""

import json
import os
import sys
from collections.abc import Sequence
from typing import Any

import typer

from ricochet_cli.language import t, told

_quiet = False


def print_json(value: Any) -> None:
    """One JSON document on stdout, alone."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def say(text: str, /, **values: object) -> None:
    """A line for the person at the terminal, on stderr; a template when it comes with values."""
    typer.echo(t(text, **values) if values else told(text), err=True)


def note(text: str, /, **values: object) -> None:
    """A line about work that goes on, as `say` has it; with --quiet there is none."""
    if not _quiet:
        say(text, **values)


def hush(wanted: bool) -> None:
    """Let work that goes on be told from now on, or not."""
    global _quiet
    _quiet = wanted


def hushed() -> bool:
    """Whether nothing is told of work that goes on."""
    return _quiet


def print_error(code: str, message: str, hint: str, as_json: bool) -> None:
    """An error on stderr: `error: …` and `hint: …`, or one JSON object for programs."""
    if as_json:
        document = {"error": {"code": code, "message": message, "hint": hint}}
        typer.echo(json.dumps(document, ensure_ascii=False), err=True)
        return
    typer.echo(f"{_red(t('error:'))} {told(message)}", err=True)
    if hint:
        typer.echo(t("hint: {hint}", hint=told(hint)), err=True)


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Aligned columns; those whose cells all look like numbers are right-aligned."""
    headers = [told(header) for header in headers]
    columns = list(zip(headers, *rows, strict=True))
    widths = [max(len(cell) for cell in column) for column in columns]
    right = [all(_numeric(cell) for cell in column[1:]) for column in columns]
    lines = [
        "  ".join(
            cell.rjust(width) if at_right else cell.ljust(width)
            for cell, width, at_right in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in [headers, *rows]
    ]
    lines.insert(1, "  ".join("─" * width for width in widths))
    return "\n".join(lines)


def _numeric(cell: str) -> bool:
    return cell.lstrip("$-").replace(",", "").replace(".", "").isdigit() or cell == "-"


def _red(text: str) -> str:
    plain = "NO_COLOR" in os.environ or not sys.stderr.isatty()
    return text if plain else f"\x1b[31m{text}\x1b[0m"
