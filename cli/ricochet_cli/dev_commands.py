"""`ricochet dev`: the pieces of a network on one machine, for development and the demo."""

from pathlib import Path
from typing import Annotated

import typer

from ricochet_cli.console import say
from ricochet_cli.home import Home, models_folder

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="A whole network on one machine: chain, model, test money. Never for real funds.",
)


@app.command("chain")
def chain(
    state: Annotated[Path, typer.Option(dir_okay=False, help="File that keeps the chain.")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free port.")] = 8545,
) -> None:
    """Run an Ethereum chain on loopback; prints its RPC URL once it answers."""
    from ricochet_settlement.devchain.http import serve

    serve(state, port, typer.echo)


@app.command("model")
def model(
    keys_file: Annotated[
        Path, typer.Option(dir_okay=False, exists=True, help="API keys it accepts, one a line.")
    ],
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free port.")] = 0,
    weights_folder: Annotated[
        Path | None, typer.Option(file_okay=False, help="[default: in the user data folder]")
    ] = None,
) -> None:
    """Run the small default model behind an OpenAI-compatible server; prints its base URL."""
    import signal
    import threading

    from ricochet_node.local_model import serve
    from ricochet_node.weights import weights

    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    keys = [line.strip() for line in keys_file.read_text("utf-8").splitlines() if line.strip()]
    serve(weights(weights_folder or models_folder()), keys, port, typer.echo, stop)


@app.command("faucet")
def faucet(
    home: Home,
    account: Annotated[
        str | None, typer.Argument(help="Who gets it. [default: this home's wallet]")
    ] = None,
    dollars: Annotated[str, typer.Option(help="Test dollars to give.")] = "20",
) -> None:
    """Give an account test dollars and gas on a development chain."""
    import asyncio

    from ricochet_protocol.ids import address
    from ricochet_protocol.money import parse_dollars
    from ricochet_settlement.deployment import load
    from ricochet_settlement.faucet import WEI_PER_ETHER, give
    from ricochet_settlement.wallet import address_of

    target = address(account) if account else address_of(home / "wallet.json")
    asyncio.run(give(load(home), target, wei=WEI_PER_ETHER, units=parse_dollars(dollars)))
    say(f"{target} has ${dollars} more in test dollars, and gas")


@app.command("stop")
def stop(
    folder: Annotated[Path, typer.Argument(help="Folder that `ricochet demo --keep` printed.")],
) -> None:
    """Stop a network that `ricochet demo --keep` left running."""
    from ricochet_cli.demo.processes import stop_recorded

    for name in stop_recorded(folder):
        say(f"stopped {name}")
