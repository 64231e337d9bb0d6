"""`ricochet network`: which network this home belongs to."""

from pathlib import Path
from typing import Annotated

import typer

from ricochet_cli.console import say
from ricochet_cli.home import Home

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="The network this home belongs to."
)


@app.command("join")
def join(
    home: Home,
    file: Annotated[Path, typer.Argument(help="A network.json that its operator gave you.")],
) -> None:
    """Take over a network's addresses: chain, contract, token and first peers."""
    from ricochet_settlement.deployment import load_file, save

    deployment = load_file(file)
    save(home, deployment)
    say(f"joined {deployment.domain.network} through {deployment.rpc}")
