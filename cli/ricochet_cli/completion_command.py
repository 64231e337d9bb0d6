"""`ricochet completion`: the script with which a shell completes commands and options.

The script asks `ricochet` itself with `_RICOCHET_COMPLETE` set; `main` answers from the commands.
"""

from enum import StrEnum
from typing import Annotated

import typer

from ricochet_cli.completing import VARIABLE

_NAMES = ("ricochet", "ricochet-task")


class Shell(StrEnum):
    """Shells that can be completed in."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def completion(
    shell: Annotated[Shell, typer.Argument(help="Whose script: bash, zsh or fish.")],
) -> None:
    """Print the script that lets a shell complete commands and options.

    \b
    bash: add to ~/.bashrc      eval "$(ricochet completion bash)"
    zsh:  add to ~/.zshrc       eval "$(ricochet completion zsh)"  (after compinit)
    fish: once                  ricochet completion fish > ~/.config/fish/completions/ricochet.fish
    """
    from typer._completion_shared import get_completion_script

    for name in _NAMES:
        typer.echo(get_completion_script(prog_name=name, complete_var=VARIABLE, shell=shell.value))
