"""Options that many commands have; above all `--home`, which folder a command works in.

Without it that is `RICOCHET_HOME`, else the user data folder.
"""

from pathlib import Path
from typing import Annotated

import typer

from ricochet_cli.console import hush


def _default() -> Path:
    from platformdirs import user_data_path

    return user_data_path("ricochet") / "home"


Home = Annotated[
    Path,
    typer.Option(
        "--home",
        envvar="RICOCHET_HOME",
        default_factory=_default,
        file_okay=False,
        show_default=False,
        help="Folder of your wallet, keys and runs. [default: RICOCHET_HOME or user data folder]",
    ),
]

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]

Quiet = Annotated[
    bool,
    typer.Option("--quiet", callback=hush, help="Tell no progress: only results and errors."),
]


def models_folder() -> Path:
    """Where downloaded weights are kept, for all homes of this user."""
    from platformdirs import user_data_path

    return user_data_path("ricochet") / "models"
