"""How shells ask this program for completions: with a variable set, which `main` looks for."""

from typing import Final

VARIABLE: Final = "_RICOCHET_COMPLETE"
"""The name that the library makes of the program's."""


def answer_shells() -> None:
    """Let the program answer a shell that asks for completions."""
    from typer._completion_classes import completion_init

    completion_init()
