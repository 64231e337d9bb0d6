"""Writes docs/commands.md, the help of every command, as `ricochet … --help` shows it."""

import os
from collections.abc import Iterator
from pathlib import Path

from typer._click import Command, Context
from typer.core import TyperGroup
from typer.main import get_command

from ricochet_cli.command_table import TABLE
from ricochet_cli.main import app

PATH = Path(__file__).resolve().parents[1] / "docs" / "commands.md"
WIDTH = 100
HEAD = """# Commands

What `ricochet … --help` says of every command. Written by `python tests/command_reference.py`; a
test compares it with the program.
"""


def commands(
    command: Command | None = None, name: str = "ricochet"
) -> Iterator[tuple[str, Command]]:
    """Every command with its whole name, groups before what is in them."""
    command = command or get_command(app)
    yield name, command
    if isinstance(command, TyperGroup):
        for below in command.list_commands(Context(command)):
            yield from commands(command.commands[below], f"{name} {below}")


def context(name: str, command: Command) -> Context:
    return Context(command, info_name=name, terminal_width=WIDTH, max_content_width=WIDTH)


def described() -> str:
    """The page, in English whatever the language of the machine."""
    os.environ["RICOCHET_LANG"] = "en"
    parts = [HEAD]
    for title, entries in TABLE.items():
        links = ", ".join(f"[{name}](#ricochet-{name})" for name in entries)
        parts.append(f"{title}: {links}\n")
    for name, command in commands():
        text = command.get_help(context(name, command)).rstrip()
        parts.append(f"{'#' * min(len(name.split()) + 1, 4)} {name}\n\n```text\n{text}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    PATH.write_text(described(), "utf-8")
