"""Help in the language spoken: help texts are written in English, and translated as they are shown.

So a command's decorator, docstring and options stay as they would be without translation. typer's
own words (headings, `[required]`, `[default: …]`) are messages of our catalogue as well.
"""

from collections.abc import Sequence

# typer 0.28, which pyproject.toml pins, carries its own copy of click.
from typer._click import Command, Context, HelpFormatter
from typer.core import TyperGroup

from ricochet_cli.language import flowing, t, told, told_help


class _Formatter(HelpFormatter):
    """Writes what it is given in English in the language spoken."""

    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        super().write_usage(prog, args, t("Usage: ") if prefix is None else prefix)

    def write_heading(self, heading: str) -> None:
        super().write_heading(told(heading))

    def write_text(self, text: str) -> None:
        super().write_text(told_help(text))

    def write_dl(
        self, rows: Sequence[tuple[str, str]], col_max: int = 30, col_spacing: int = 2
    ) -> None:
        told_rows = [(name, _described(text)) for name, text in rows]
        super().write_dl(told_rows, col_max, col_spacing)


class SpokenContext(Context):
    """The context of a command whose help is translated."""

    formatter_class = _Formatter


def speak(command: Command) -> None:
    """Translate the help of a command and of those below it, however short it is cut later."""
    command.context_class = SpokenContext
    if command.help:
        command.help = told_help(command.help)
    if isinstance(command, TyperGroup):
        for one in command.commands.values():
            speak(one)


def _described(text: str) -> str:
    """An option's help, and what typer adds to it: two spaces, then facts in brackets."""
    if (whole := told_help(text)) != flowing(text):
        return whole
    if text.startswith("["):
        words, facts = "", text
    else:
        words, gap, facts = text.rpartition("  [")
        if not gap:
            return told_help(text)
        facts = f"[{facts}"
    inside = "; ".join(told(fact) for fact in facts.strip("[]").split("; "))
    return f"{told_help(words)}  [{inside}]".strip()
