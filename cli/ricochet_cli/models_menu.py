"""How `ricochet models setup` asks: by menus on a real terminal, by numbers and names elsewhere.

Nothing is written before the last answer: Ctrl-C leaves everything as it was. Names of models come
from peers, so they are made printable on their way to the screen.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import typer

from ricochet_cli.console import say, table
from ricochet_cli.language import t
from ricochet_orchestrator.printing import printable

if TYPE_CHECKING:
    from prompt_toolkit.output import Output


class Choice(NamedTuple):
    """A model that can be chosen, and its row: model, peers, prices, window, first token."""

    model: str
    row: tuple[str, ...]


def ask(
    roles: Sequence[str],
    choices: Sequence[Choice],
    headers: Sequence[str],
    present: Mapping[str, str],
) -> dict[str, str]:
    """What a person chooses, by role; roles that stay as they are are not among them."""
    if sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb":
        return _by_menus(roles, choices, headers, present)
    return _by_lines(roles, choices, headers, present)


def _by_menus(
    roles: Sequence[str],
    choices: Sequence[Choice],
    headers: Sequence[str],
    present: Mapping[str, str],
) -> dict[str, str]:
    import questionary

    head, _, *lines = table(headers, [one.row for one in choices]).splitlines()
    entries = [
        questionary.Choice(title=line, value=one.model)
        for line, one in zip(lines, choices, strict=True)
    ]
    models: dict[str, str] = {}
    for role in roles:
        now = present.get(role)
        kept = t("keep {model}", model=printable(now)) if now else t("none of its own")
        answer: str = questionary.select(
            t("Model for {role}", role=role),
            choices=[
                questionary.Choice(title=kept, value=""),
                questionary.Separator(head),
                *entries,
            ],
            instruction=t("(arrows, Enter; Ctrl-C leaves all as it was)"),
            qmark="",
            output=_stderr(),
        ).unsafe_ask()
        if answer:
            models[role] = answer
    return models


def _stderr() -> "Output":
    """Menus are for people: stdout carries data only."""
    from prompt_toolkit.output import create_output

    return create_output(stdout=sys.stderr)


def _by_lines(
    roles: Sequence[str],
    choices: Sequence[Choice],
    headers: Sequence[str],
    present: Mapping[str, str],
) -> dict[str, str]:
    rows = [(str(number), *one.row) for number, one in enumerate(choices, 1)]
    say(table(("", *headers), rows))
    names = [one.model for one in choices]
    models: dict[str, str] = {}
    for role in roles:
        answer = _answer(role, names, present.get(role))
        if answer:
            models[role] = answer
    return models


def _answer(role: str, names: Sequence[str], now: str | None) -> str:
    question = t(
        "Model for {role} (number or name; Enter keeps {present})",
        role=role,
        present=printable(now) if now else t("none"),
    )
    while True:
        answer: Any = typer.prompt(question, default="", show_default=False, err=True).strip()
        if answer.isdecimal() and 0 < int(answer) <= len(names):
            return names[int(answer) - 1]
        if not answer or answer in names:
            return str(answer)
        say("a number from 1 to {count}, or one of these names", count=len(names))
